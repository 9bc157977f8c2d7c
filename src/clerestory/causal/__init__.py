"""Causal."""

from clerestory.causal.results import Causes, Control, Effect
from clerestory.causal.trace import trace
from clerestory.causal.verify import verify

__all__ = [
    "Causes",
    "Control",
    "Effect",
    "trace",
    "verify",
]
