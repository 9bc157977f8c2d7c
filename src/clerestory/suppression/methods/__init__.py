"""Suppression methods, one file each."""
