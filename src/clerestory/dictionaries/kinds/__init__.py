"""Kinds of dictionaries by their activation functions; one file holds one."""
