"""The commands of `clerestory lancet`."""
