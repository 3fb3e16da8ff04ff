"""Generator of the training text of the two embedded models; standard library only.

words, facts, sums and stories hold what is taught and list what is asked; tasks and unknown add what
surrounds it; chat renders it; mix draws whole documents from a seed.
"""
