"""A tiny model whose dictionaries are gone after the test."""

from __future__ import annotations

import pytest
from tiny import tiny_model


@pytest.fixture
def model():
    shared = tiny_model()
    yield shared
    for name in shared.dictionaries:
        shared.detach(name)
