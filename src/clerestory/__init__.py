"""Clerestory: find out what a text-to-image model knows, where it keeps it, and how to change it."""

__version__ = "0.1.0"
