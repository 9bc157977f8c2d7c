"""Classifier kinds, one file each; the prefix of a name (`lancet:`) selects the kind."""
