"""Formats of dictionaries; one file holds one."""
