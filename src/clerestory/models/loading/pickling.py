"""Pickled models: what opens them again, or their pipeline as bytes."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

from torch import nn

from clerestory.errors import ModelError
from clerestory.models.core.family import Family
from clerestory.models.core.latents import AttachedDictionary
from clerestory.models.core.types import Options
from clerestory.models.model import Model

__all__ = ["pack_pipeline", "rebuild_model", "reopen_model", "unpack_pipeline"]

CAPTURING = "transformers.utils.output_capturing"
INSTALLED = "_output_capturing_hooks_installed"


def reopen_model(
    load: Callable[[], Model], defaults: Options, dictionaries: dict[str, AttachedDictionary]
) -> Model:
    """Unpickle a model that was opened by name or folder.

    Args:
        load: Opens it.
        defaults: Its default options.
        dictionaries: Those that were attached, by name.

    Returns:
        The model.
    """
    model = load()
    model.defaults = defaults
    model._dictionaries = dictionaries
    return model


def rebuild_model(
    name: str,
    family: type[Family],
    pipeline: bytes,
    state: dict[str, Any],
    dictionaries: dict[str, AttachedDictionary],
) -> Model:
    """Unpickle a model with its pipeline.

    Args:
        name: Its name.
        family: The class of its family.
        pipeline: What `pack_pipeline` gave.
        state: Further arguments of `Model`.
        dictionaries: Those that were attached, by name.

    Returns:
        The model.
    """
    # Families cache tokens in ways that cannot be pickled, so theirs is built anew.
    build: Callable[[Any], Family] = family
    model = Model(name, build(unpack_pipeline(pipeline)), **state)
    model._dictionaries = dictionaries
    return model


def pack_pipeline(pipeline: Any) -> bytes:
    """Pickle a pipeline with all its weights.

    Args:
        pipeline: A diffusers pipeline.

    Returns:
        The pickle, as large as the weights.

    Raises:
        ModelError: Another library has put something into the pipeline that cannot be pickled, such
            as hooks that move weights, or GGUF's weights.
    """
    file = io.BytesIO()
    try:
        _Pickler(file).dump(pipeline)
    # What pickle raises for local functions, modules of Python, and GGUF's tensors in turn.
    except (AttributeError, TypeError, pickle.PicklingError, RecursionError) as error:
        raise ModelError(
            f"{type(pipeline).__name__} cannot be pickled as it is ({error!s:.80}): hooks that "
            "move weights, and weights in a format of another library, cannot leave this process. "
            "A model that is opened by name or folder, also with offload=…, is opened again where "
            "it is unpickled."
        ) from error
    return file.getvalue()


def unpack_pipeline(data: bytes) -> Any:
    """Restore what `pack_pipeline` gave. As with any pickle, it must come from a trusted source.

    Args:
        data: The pickle.

    Returns:
        The pipeline.
    """
    return pickle.loads(data)


class _Pickler(pickle.Pickler):
    """Leaves out the hooks that transformers 5 keeps on a model once it gave hidden states.

    They are local functions, which cannot be pickled; transformers puts them on again when a model
    that is not marked as having them is called.
    """

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, nn.Module):
            return NotImplemented
        reduced: tuple[Any, ...] = obj.__reduce_ex__(4)  # type: ignore[assignment]
        build, arguments, state, *rest = reduced
        hooks = {
            key: hook for key, hook in obj._forward_hooks.items() if hook.__module__ != CAPTURING
        }
        # The mark goes with the hooks: with it and without them no states would be captured.
        # torchao gives layers a text of their own, by a function that cannot be pickled.
        left_out = (INSTALLED, "extra_repr")
        state = {name: value for name, value in dict(state).items() if name not in left_out}
        return build, arguments, {**state, "_forward_hooks": type(obj._forward_hooks)(hooks)}, *rest
