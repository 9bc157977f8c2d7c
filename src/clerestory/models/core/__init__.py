"""Core of models."""
