"""Opens the model that was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clerestory.recordings.plan import ModelIdentity, check_model

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["open_recorded_model"]


def open_recorded_model(recorded: ModelIdentity) -> Model:
    """Load the model that was recorded; nothing is fetched.

    Args:
        recorded: What was recorded of it.

    Returns:
        The model.

    Raises:
        ModelError: It is not on this machine.
        RecordingError: The model of this name is another one now.
    """
    from clerestory.models import load

    options: dict[str, Any] = dict(recorded.load_options)
    model = load(recorded.name, fetch=False, **options)
    # Another model has other units. Precision may differ between the machine that recorded and
    # this one.
    check_model(model, recorded, any_dtype=True)
    return model
