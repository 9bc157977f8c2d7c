"""The command line: one file per command; each parses, calls a verb and prints.

clerestory draw "a stained glass of a cat" --out cats
"""
