"""Which model a result is of: its name, a digest of its weights, and the options of the call."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from torch import nn

from clerestory.models.core.weight_digests import weight_digests
from clerestory.reporting.results import Provenance

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["provenance_of", "weights_digest"]


def provenance_of(model: Model, options: Mapping[str, Any]) -> Provenance:
    """The provenance of a result that a model gave.

    Args:
        model: The model.
        options: The arguments that the figures depend on, ready for JSON.

    Returns:
        Version of Clerestory, model name, digest of its weights, and the options.
    """
    # Not `clerestory.__version__`: the root package stands above this one.
    return Provenance(version("clerestory"), model.name, weights_digest(model), dict(options))


def weights_digest(model: Model) -> str:
    """A digest of the weights, adapters included, alike in every precision.

    Args:
        model: The model.

    Returns:
        16 hexadecimal digits; "" where the pipeline's weights cannot be reached.
    """
    # Every part, not the denoiser alone: another text encoder or autoencoder gives other figures.
    parts = getattr(model.pipeline, "components", {}).values()
    digests = weight_digests(part for part in parts if isinstance(part, nn.Module))
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16] if digests else ""
