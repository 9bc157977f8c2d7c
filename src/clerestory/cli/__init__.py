"""The command line: one file a command, each of which parses, calls a verb and prints.

clerestory draw "a stained glass of a cat" --out cats
"""
