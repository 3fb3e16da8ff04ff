// Templates and what Jinja2 3.1 makes of them in Hugging Face's environment (trim_blocks, lstrip_blocks, sandbox, its tojson).
#ifndef QN_TEST_TEMPLATE_ROWS_H
#define QN_TEST_TEMPLATE_ROWS_H

typedef struct {
    const char *source, *expected;
} row;

// clang-format off
static const char variables_json[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi <|im_start|>\"}, {\"role\": \"assistant\", \"content\": \"  Ünï 日本 🙂 \"}], \"s\": \"Hello, World\", \"u\": \"Ünï ßé\", \"n\": 5, \"f\": 2.5, \"neg\": -7, \"l\": [3, 1, 2], \"ls\": [\"b\", \"A\", \"c\", \"B\"], \"d\": {\"b\": 1, \"A\": 2, \"items\": 3, \"x\": {\"y\": [1, {\"z\": null}]}}, \"objs\": [{\"n\": \"x\", \"v\": 2, \"on\": true}, {\"n\": \"Y\", \"v\": 1, \"on\": false}, {\"n\": \"a\", \"v\": 3}], \"ml\": \"a\\nb\\r\\nc\\n\\nd\", \"big\": 1e+22, \"i64\": 9007199254740993}";

static const row expressions[] = {
    {"{{ [1 + 2 * 3, 7 // 2, -7 // 2, 7 % -3, -7 % 3, 7 / 2, 6 / 2, 1 ~ 2 * 3, -2 ** 2, 2 ** 3 ** 2, 2 ** -1, -10 % 3.5, 7.5 // 2] }}", "[7, 3, -4, -2, 2, 3.5, 3.0, '16', 4, 64, 0.5, 0.5, 3.0]"},
    {"{{ [1e15, 1e16, 1e22, 0.1 + 0.2, 1 / 3, 100.0, 1e-5, 0.0001, 5e-324, 1.7976931348623157e308, -0.0, 123456789012345680.0] }}", "[1000000000000000.0, 1e+16, 1e+22, 0.30000000000000004, 0.3333333333333333, 100.0, 1e-05, 0.0001, 5e-324, 1.7976931348623157e+308, -0.0, 1.2345678901234568e+17]"},
    {"{{ [2.5 | round, 3.5 | round, 42.55 | round(1), 42.55 | round(1, 'floor'), 1250 | round(-2), 12.5 | round | int] }}", "[2.0, 4.0, 42.5, 42.5, 1200, 12]"},
    {"{{ [1_000, 0x1F, 0b101, 0o17, 1_0.5_0, '\\x41\\u00e9\\n\\101\\q'] }}", "[1000, 31, 5, 15, 10.5, 'Aé\\nA\\\\q']"},
    {"{{ 1 < 2 < 3 and not 1 < 3 < 2 and 3 in l and 4 not in l and 'ell' in s and 'b' in d and 5 not in d }}", "True"},
    {"{{ [true == 1, 1 == 1.0, '1' == 1, 'a' < 'b', [1, 2] < [1, 3], i64 == 9007199254740992.0, none is none, undef == undef] }}", "[True, True, False, True, True, False, True, True]"},
    {"{{ 0 or 2 and 'x' ~ 1 if n > 3 else 'b' }}", "x1"},
    {"{{ 'a' ~ none ~ true ~ 1.5 ~ [1, 'x'] ~ undef }}", "aNoneTrue1.5[1, 'x']"},
    {"{{ [1, 'a', none, true, {'a': 1, 2: 'b', none: (1,)}, (), (1, 2)] + [\"it's\", 'say \"x\"', 'both \\' \"', '\\n\\t\\\\\\x00\\u200bé🙂'] }}", "[1, 'a', None, True, {'a': 1, 2: 'b', None: (1,)}, (), (1, 2), \"it's\", 'say \"x\"', 'both \\' \"', '\\n\\t\\\\\\x00\\u200bé🙂']"},
    {"{{ [s[0], s[-1], s[1:3], s[::-1], s[::2], s[-3:], s[10:2], s[5:2:-1], u[::-1], l[::-1], l[-100:100], range(10)[2:8:3]] }}", "['H', 'd', 'el', 'dlroW ,olleH', 'Hlo ol', 'rld', '', ',ol', 'éß ïnÜ', [2, 1, 3], [3, 1, 2], range(2, 8, 3)]"},
    {"{{ [d.b, d['items'], d.get('zz', 7), d.x.y[1].z, d.zz is defined, l[9] is defined, l.0, messages[-1].role] }}", "[1, 3, 7, None, False, False, 3, 'assistant']"},
    {"{{ [d.keys(), d.items() | list, d | items | list, d | list, d | length, u | length] }}", "[dict_keys(['b', 'A', 'items', 'x']), [('b', 1), ('A', 2), ('items', 3), ('x', {'y': [1, {'z': None}]})], [('b', 1), ('A', 2), ('items', 3), ('x', {'y': [1, {'z': None}]})], ['b', 'A', 'items', 'x'], 4, 6]"},
    {"{{ [u.upper(), u.lower(), u.title(), u | capitalize, \"they're bill's-x (y)\" | title, s.swapcase()] }}", "['ÜNÏ SSÉ', 'ünï ßé', 'Ünï Ssé', 'Ünï ßé', \"They're Bill's-X (Y)\", 'hELLO, wORLD']"},
    {"{{ ['  x '.strip(), 'xxaxx'.strip('x'), s.split(','), ' a b  c '.split(), s.split('l', 1), ' a b  c '.rsplit(none, 1), ''.split(',')] }}", "['x', 'a', ['Hello', ' World'], ['a', 'b', 'c'], ['He', 'lo, World'], [' a b', 'c'], ['']]"},
    {"{{ [ml.splitlines(), s.partition(', '), s.rpartition('zz'), ', '.join(ls), s.find('l', 4), u.find('é'), s.rfind('l'), s.count('l')] }}", "[['a', 'b', 'c', '', 'd'], ('Hello', ', ', 'World'), ('', '', 'Hello, World'), 'b, A, c, B', 10, 5, 10, 3]"},
    {"{{ [s.startswith(('x', 'He')), s.startswith('ell', 1), s.endswith('ld'), s.replace('l', 'L', 2), s.replace('', '-', 3), s.removeprefix('Hello')] }}", "[True, True, True, 'HeLLo, World', '-H-e-llo, World', ', World']"},
    {"{{ ['7'.zfill(3), 'ab'.center(7, '*'), 'ab'.rjust(4), '12'.isdigit(), ' '.isspace(), '{} {x}'.format(1, x=2)] }}", "['007', '***ab**', '  ab', True, True, '1 2']"},
    {"{{ ['%s-%05d|%-4d|%.2f' % ('a', 5, 2, 3.14159), '%x %r %%' % (255, 'q'), '%(a)s' % {'a': 1}, '%s %s' | format('a', none)] }}", "['a-00005|2   |3.14', \"ff 'q' %\", '1', 'a None']"},
    {"{{ [l | sort, ls | sort, ls | sort(reverse=true), ls | sort(case_sensitive=true), objs | sort(attribute='v') | map(attribute='n') | list] }}", "[[1, 2, 3], ['A', 'b', 'B', 'c'], ['c', 'b', 'B', 'A'], ['A', 'B', 'b', 'c'], ['Y', 'x', 'a']]"},
    {"{{ [l | min, l | max, l | sum, objs | sum(attribute='v'), l | first, l | last, s | first, l | reverse | list, l | join(', '), ls | unique | list] }}", "[1, 3, 6, 6, 3, 2, 'H', [2, 1, 3], '3, 1, 2', ['b', 'A', 'c']]"},
    {"{{ [l | select('odd') | list, l | reject('gt', 1) | list, objs | selectattr('on') | map(attribute='n') | list, objs | rejectattr('v', 'equalto', 2) | list | length] }}", "[[3, 1], [1], ['x'], 2]"},
    {"{{ [ls | map('upper') | join('-'), ls | map('replace', 'b', 'X') | list, objs | map(attribute='on', default='?') | list, l | batch(2, 0) | list, l | slice(2) | list] }}", "['B-A-C-B', ['X', 'A', 'c', 'B'], [True, False, '?'], [[3, 1], [2, 0]], [[3, 1], [2]]]"},
    {"{{ [undef | default('x'), '' | d('x', true), none | default('x'), '42.9' | int, 'ff' | int(0, 16), 'x' | int(7), -3.99 | int, '1.5' | float, -5 | abs] }}", "['x', 'x', None, 42, 255, 7, -3, 1.5, 5]"},
    {"{{ [ml | indent(2), '' ~ ('a<b>&\"\\'' | escape), 'a-b c_d é' | wordcount, '  x ' | trim, 5 | replace('5', '6'), d | dictsort(by='key') | first] }}", "['a\\n  b\\n  c\\n\\n  d', 'a&lt;b&gt;&amp;&#34;&#39;', 4, 'x', '6', ('A', 2)]"},
    {"{{ d | tojson ~ [1.0, big, 1e-7, i64, true, none, '\"\\\\/\\n\\x01\\x7fé🙂'] | tojson }}", "{\"b\": 1, \"A\": 2, \"items\": 3, \"x\": {\"y\": [1, {\"z\": null}]}}[1.0, 1e+22, 1e-07, 9007199254740993, true, null, \"\\\"\\\\/\\n\\u0001\177é🙂\"]"},
    {"{{ d | tojson(indent=2) ~ {'b': [], 'a': {}} | tojson(sort_keys=true, separators=(',', ':')) ~ u | tojson(ensure_ascii=true) }}", "{\n  \"b\": 1,\n  \"A\": 2,\n  \"items\": 3,\n  \"x\": {\n    \"y\": [\n      1,\n      {\n        \"z\": null\n      }\n    ]\n  }\n}{\"a\":{},\"b\":[]}\"\\u00dcn\\u00ef \\u00df\\u00e9\""},
    {"{{ [n is number, true is integer, f is float, d is mapping, l is mapping, s is sequence, undef is iterable, n is divisibleby 5, n is not none, n is in l, 'ABC' is upper, range is callable] }}", "[True, False, True, True, False, True, True, True, True, False, True, True]"},
    {"{{ [range(5) | list, range(5, 0, -2) | list, range(3), dict(a=1, b=2), namespace(a=1).a, (1 if false) is defined] }}", "[[0, 1, 2, 3, 4], [5, 3, 1], range(0, 3), {'a': 1, 'b': 2}, 1, False]"},
    {"{{ [(s | safe) + '<&', ('<' | e) ~ '<', '<' + (s | escape), (s | safe) is escaped] }}", "[Markup('Hello, World&lt;&amp;'), '&lt;<', Markup('&lt;Hello, World'), True]"},
    {"{{ tools is none and documents is none and add_generation_prompt is false }}", "True"},
};

static const row statements[] = {
    {"{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}-{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.changed(i > 1) }}|{% endfor %}", "103TrueFalse3-1aTrue|212FalseFalse33-2bTrue|321FalseTrue31-aTrue|"},
    {"{% for k, v in d.items() if k != 'x' %}{{ k }}={{ v }};{% else %}none{% endfor %}{% for a, (b, c) in [[1, [2, 3]]] %}{{ a + b + c }}{% endfor %}", "b=1;A=2;items=3;6"},
    {"{% for i in l %}{% if i == 1 %}{% continue %}{% elif i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}{% for i in [] %}x{% else %}empty{% endfor %}", "3empty"},
    {"{% set x = 0 %}{% for i in l %}{% set x = x + i %}{{ x }},{% endfor %}{{ x }}", "3,1,2,0"},
    {"{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{% set a, b = 1, 2 %}{{ a ~ b }}", "612"},
    {"{% set x %}a{{ n }}b{% endset %}{{ x ~ x | length }}{% set y | upper %}abc{% endset %}{{ y }}{% filter replace('a', 'b') | upper %}abc{% endfilter %}", "a5b3ABCBBC"},
    {"{% macro m(a, b=2, c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=4, a=5) }}{{ m() }}", "[121][131][545][2]"},
    {"{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=4) }}{% macro f(n) %}{% if n %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "1(2,){'x': 4}54321"},
    {"{% macro m(x) %}{{ caller(x, 2) }}{% endmacro %}{% call(a, b=9) m(1) %}<{{ a }}{{ b }}{{ n }}>{% endcall %}", "<125>"},
    {"{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}{% with x=3, y=n %}{{ x }}{{ y }}{% endwith %}{{ x }}", "2352"},
    {"{% set g = l | map('string') %}{{ g | first }}{{ g | list }}{{ g | list }}", "3['1', '2'][]"},
    {"{% generation %}a{{ n }}{% endgeneration %}{% raw %}{{ x }}{% endraw %}{# comment #}", "a5{{ x }}"},
    {"a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"},
    {"a {%- if true -%} b {%- endif -%} c", "abc"},
    {"  {%+ if 1 %}x{% endif %}\n y", "  x y"},
    {"a{% if 1 +%}\nb{% endif %}\n\n", "a\nb"},
    {"{# c #}\nx\n  {# d #}  \ny {#- e -#}  z", "x\n  \nyz"},
    {"a\r\nb\rc\n\n", "a\nb\nc\n"},
    {"  {% raw %}\n {{ x }}\n  {% endraw %}\nq", "\n {{ x }}\nq"},
    {"{%- raw -%}\n  a \n{%- endraw -%}  b", "ab"},
    {"a \n {{- 1 }}  \n{{ 2 -}} \n x\n", "a1  \n2x"},
    {"a\n\t {% set x = 1 %}\t\nb", "a\n\t\nb"},
    {"{{ '{{' }}{{ '%}' }}{{ {'a': {}} }}", "{{%}{'a': {}}"},
    {"x{% set y = 1 %}  \n  {% set z = 2 %}\nb", "x  \nb"},
};
// clang-format on

#endif
