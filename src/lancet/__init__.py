"""Lancet, the embedded model: its world, its training, its weights."""
