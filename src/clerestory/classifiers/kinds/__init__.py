"""The kinds of classifiers, one file each, known by what stands before the colon."""
