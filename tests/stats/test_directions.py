from __future__ import annotations

import numpy as np
import pytest

from clerestory.errors import EvidenceError
from clerestory.stats import logistic_direction


def test_a_direction_of_an_empty_arm_is_refused() -> None:
    with pytest.raises(EvidenceError, match="empty"):
        logistic_direction(np.ones((0, 3)), np.ones((2, 3)))
