"""Opens the model that was recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clerestory.models.provenance import check_dictionaries, dictionary_digests
from clerestory.recordings.plan import ModelIdentity, check_model

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["open_recorded_model"]


def open_recorded_model(
    recorded: ModelIdentity, prepare: Callable[[Model], object] | None = None
) -> Model:
    """Load the model that was recorded; nothing is fetched.

    Args:
        recorded: What was recorded of it.
        prepare: Called with the model before it is compared, to attach dictionaries. Those whose
            latents were recorded may be left out where only other units are used.

    Returns:
        The model.

    Raises:
        ModelError: It is not on this machine.
        RecordingError: The model of this name is another one now.
        DictionaryError: A dictionary of a recorded name is another one.
    """
    from clerestory.models import load

    options: dict[str, Any] = dict(recorded.load_options)
    model = load(recorded.name, fetch=False, **options)
    if prepare is not None:
        prepare(model)
    attached = dictionary_digests(model)
    dictionaries = {
        address: digest for address, digest in recorded.dictionaries.items() if address in attached
    }
    check_dictionaries(model, dictionaries, "What was recorded")
    # Another model has other units. Precision may differ between the machine that recorded and
    # this one.
    check_model(model, replace(recorded, dictionaries=dictionaries), any_dtype=True)
    return model
