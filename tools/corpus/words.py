"""The closed word lists from which stories, sums and requests are made.

Stories draw on these lists alone, so that a story's words can be checked against them.
"""

ANIMALS = ("ant bear bee cat cow crow deer dog donkey duck elephant fox frog goat goose hedgehog hen "
           "horse lamb lion monkey mouse otter owl penguin pig rabbit robin sheep squirrel swan tiger "
           "turtle wolf").split()

GIRLS = "Ada Anna Bella Clara Daisy Ella Emma Lily Lucy Mia Molly Nina Rosa Ruby Sara Zoe".split()
BOYS = "Adam Ben Finn Henry Jack Leo Max Noah Oliver Oscar Otto Peter Pip Sam Tim Tom".split()

TRAITS = "brave cheerful clever curious gentle kind little lively playful quiet shy small young".split()

TOYS = "ball bell blanket book button drum flute hat kite lamp ring scarf spoon top umbrella whistle".split()

COLOURS = "black blue brown green grey orange pink purple red white yellow".split()

PLACES = ("barn bridge farm field forest garden hill lake market meadow mill orchard park pond river "
          "village").split()

# What one can share: singular and plural.
FOODS = [("apple", "apples"), ("bun", "buns"), ("cake", "cakes"), ("carrot", "carrots"),
         ("cherry", "cherries"), ("cookie", "cookies"), ("nut", "nuts"), ("pancake", "pancakes"),
         ("peach", "peaches"), ("pear", "pears"), ("pie", "pies"), ("plum", "plums")]

# What a sum can count: plural only.
COUNTED = ("apples balls books buttons cakes coins cookies cups eggs flowers kites marbles nuts pears "
           "pencils shells stamps stars stickers stones").split()

FLOWERS = "daisy lily poppy rose sunflower tulip violet".split()

WEATHER = "bright cold cool sunny warm windy".split()

TIMES = "morning afternoon evening".split()

FEELINGS_LOW = "lonely sad tired unhappy upset worried".split()
FEELINGS_HIGH = "cheerful glad happy proud thankful".split()

# What a hero learns: infinitive, place to practise, and what goes wrong at first.
SKILLS = [("swim", "pond", "swallowed a lot of water"), ("dance", "barn", "fell over"),
          ("sing", "garden", "made a terrible noise"), ("whistle", "field", "made no sound at all"),
          ("skate", "lake", "slipped on the ice"), ("paint", "mill", "spilled the paint"),
          ("bake", "village", "burned the bread"), ("juggle", "market", "dropped every plum"),
          ("climb", "orchard", "slid down the tree"), ("row", "river", "went around in circles")]

GAMES = [("played", "hide and seek"), ("played", "tag"), ("flew", "a kite"), ("built", "a little boat"),
         ("told", "funny jokes"), ("sang", "old songs"), ("picked", "sweet berries"),
         ("drew", "pictures in the sand")]

SMALL_NUMBERS = "two three four five six seven eight nine ten".split()


def article(noun):
    """'a' or 'an' for a noun or adjective of these lists."""
    return "an" if noun[0].lower() in "aeiou" else "a"
