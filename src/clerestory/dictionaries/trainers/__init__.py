"""Trainers of dictionaries; one file trains one kind of network of sae-lens."""
