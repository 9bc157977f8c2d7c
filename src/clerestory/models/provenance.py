"""Which model a result is of: its name, digests of its weights and settings, the call's options."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from clerestory.errors import DictionaryError
from clerestory.models.core.pipeline_digests import (
    settings_digest,
    weight_values_digest,
    weights_digest,
)
from clerestory.reporting.results import Provenance

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = [
    "check_dictionaries",
    "dictionary_digests",
    "model_identity",
    "provenance_of",
    "settings_digest",
    "weight_values_digest",
    "weights_digest",
]


def model_identity(model: Model) -> dict[str, Any]:
    """What tells a model from any other, for the plan of a folder that a later call continues.

    Name and revision are not enough: a wrapped pipeline has the name of its class and no revision,
    and its scheduler, adapters, settings and weights may have been changed since it was opened.

    Args:
        model: The model.

    Returns:
        Ready for JSON.
    """
    dictionaries = dictionary_digests(model)
    return {
        "model": model.name,
        "revision": model.revision,
        "load_options": dict(model.load_options),
        "weights": weights_digest(model.pipeline),
        # All bits of them: a neuron that was set to 0 in place leaves the signs above as they were.
        "values": weight_values_digest(model.pipeline),
        "settings": settings_digest(model.pipeline),
        "dtype": str(getattr(model.pipeline, "dtype", "")).removeprefix("torch."),
        # Left out where there is none, as in folders of earlier versions.
        **({"dictionaries": dictionaries} if dictionaries else {}),
    }


def dictionary_digests(model: Model) -> dict[str, str]:
    """Digests of the dictionaries that are attached to a model.

    Args:
        model: The model.

    Returns:
        By the address of their latents.
    """
    return {each.address: each.dictionary.digest for each in model.dictionaries.values()}


def check_dictionaries(model: Model, expected: Mapping[str, str], source: object) -> None:
    """Check that a model has the dictionaries that a saved result is of.

    Args:
        model: The model.
        expected: Digests by the addresses of latents.
        source: The result, for the message.

    Raises:
        DictionaryError: One is not attached, or is another one of the same name.
    """
    attached = dictionary_digests(model)
    for address, digest in expected.items():
        base, _, name = address.rpartition(":")
        if address not in attached:
            raise DictionaryError(
                f"{source} is of latents of the dictionary {name!r} at {base}: attach it, with "
                f"model.attach(dictionary, {name!r}) or --dictionary {name}=FOLDER."
            )
        if attached[address] != digest:
            raise DictionaryError(
                f"{source} is of another dictionary than the one that is attached as {name!r} at "
                f"{base} (digest {digest} there, {attached[address]} here): attach that one."
            )


def provenance_of(model: Model, options: Mapping[str, Any]) -> Provenance:
    """The provenance of a result that a model gave.

    Args:
        model: The model.
        options: The arguments that the figures depend on, ready for JSON.

    Returns:
        Version of Clerestory, model name, digest of its weights, and the options.
    """
    # Not `clerestory.__version__`: the root package stands above this one.
    digest = weights_digest(model.pipeline)
    return Provenance(
        version("clerestory"), model.name, digest, dict(options), dictionary_digests(model)
    )
