"""Further arguments of a pipeline's call, which options of samples have no names for.

A picture that a ControlNet follows, an image that an IP-Adapter reads, embeddings in the place of a
prompt: their values go to the pipeline as they are, and their digests into manifests, so that what
was drawn with another picture is never taken for the same.
"""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from clerestory.errors import OptionError
from clerestory.registry import suggest

__all__ = ["Extra", "check_extra", "provided_states"]

DIGEST, FUNCTION = "sha256:", "function:"
"""What stands before the digests of values and the names of functions."""
OPTIONS = {
    "prompt": "prompts",
    "negative_prompt": "negative",
    "height": "height",
    "width": "width",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "true_cfg_scale": "true_guidance",
    "pag_scale": "perturbed_guidance",
    "prior_num_inference_steps": "prior_steps",
    "prior_guidance_scale": "prior_guidance",
    "generator": "seeds",
    "num_images_per_prompt": "seeds",
    "latents": "seeds",
}
"""Arguments of pipelines that have a name here."""
FIXED = ("output_type", "return_dict", "max_sequence_length")
"""Arguments whose values every run sets itself: what is read depends on them."""
_TOKENS: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


class Extra(dict[str, Any]):
    """Arguments by name: as items what is compared and saved, in `values_by_name` what is passed.

    Args:
        arguments: Values by name. Plain ones are saved as they are; arrays, tensors and pictures by
            their digests; functions, which are called with the prompts of a batch, by their names.
    """

    def __init__(self, arguments: Mapping[str, Any] | Sequence[tuple[str, Any]] = ()) -> None:
        given = dict(arguments)
        super().__init__({name: _saved(name, value) for name, value in given.items()})
        # Copied: what is changed in place later would be drawn with, and have the digest of before.
        kept = getattr(arguments, "values_by_name", None)
        self.values_by_name: Mapping[str, Any] = _copied(given) if kept is None else kept

    def __hash__(self) -> int:  # type: ignore[override]
        # Never changed once it is part of the options of a sample.
        return hash(repr(sorted(self.items())))

    def arguments(self, prompts: Sequence[str]) -> dict[str, Any]:
        """The values for a batch.

        Args:
            prompts: Its prompts, with which functions are called.

        Returns:
            Values by name, as the pipeline takes them.

        Raises:
            OptionError: Of a value only the digest was saved.
        """
        for name, value in self.values_by_name.items():
            if _is_lost(value):
                raise OptionError(
                    f"Of extra[{name!r}] only {self[name]!r:.80} was saved: give the value itself, "
                    f"as model.defaults = model.defaults.replace(extra={{{name!r}: …}})."
                )
        return {
            name: value(list(prompts)) if callable(value) else value
            for name, value in self.values_by_name.items()
        }


def check_extra(
    extra: Mapping[str, Any], pipeline: str, arguments: Sequence[str], fixed: Iterable[str] = ()
) -> None:
    """Check that a pipeline takes further arguments by these names.

    Args:
        extra: The arguments.
        pipeline: The pipeline's class name.
        arguments: The names of the arguments of its call.
        fixed: Names of arguments that every run of this pipeline sets itself.

    Raises:
        OptionError: It has no such argument, or the argument is an option by another name.
    """
    fixed = {*FIXED, *fixed}
    for name in extra:
        if name in OPTIONS:
            raise OptionError(f"extra has {name!r}: write {OPTIONS[name]}=… instead.")
        if name in fixed or name.startswith("callback"):
            raise OptionError(f"extra has {name!r}, which every run sets itself: leave it out.")
        if name not in arguments:
            known = [each for each in arguments if each not in OPTIONS and each not in fixed]
            raise OptionError(f"{pipeline} takes no argument {name!r:.80}.{suggest(name, known)}")


def provided_states(
    given: Mapping[str, Any], encoded: Mapping[str, Any], count: int
) -> dict[str, Tensor]:
    """States that are given in the place of encoded ones, a row for each sample.

    Args:
        given: Arrays or tensors by the names of the pipeline's arguments.
        encoded: What the text encoders gave; None or nothing for a branch that is not drawn.
        count: Number of samples.

    Returns:
        The states by name, in the precision and on the device of the encoded ones.

    Raises:
        OptionError: They have another shape than the encoded ones, or would not be used.
    """
    states = {}
    for name, value in given.items():
        own = encoded.get(name)
        if own is None:
            raise OptionError(f"extra has {name!r}, which these options do not use: leave it out.")
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
        if tensor.shape[1:] != own.shape[1:] or len(tensor) not in (1, count):
            raise OptionError(
                f"extra[{name!r}] has the shape {list(tensor.shape)}, and {count} samples take "
                f"{list(own.shape)}: give one row for all, or a function of the prompts that gives "
                "a row for each."
            )
        states[name] = tensor.to(own).expand(count, *own.shape[1:])
    return states


def _saved(name: str, value: Any) -> Any:
    """A value as it is compared and saved."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _saved(name, each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_saved(name, each) for each in value]
    if isinstance(value, Tensor):
        # numpy has no bfloat16, whose values float32 holds.
        plain = value.detach().cpu()
        value = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    elif callable(value):
        return _function_name(value)
    try:
        array = np.ascontiguousarray(value)
    except (TypeError, ValueError):
        array = np.array(None)
    if array.dtype == object:
        raise OptionError(
            f"extra[{name!r}] is of type {type(value).__name__}: give a number, a text, a picture, "
            "an array, a list of them, or a function of the prompts."
        )
    head = f"{array.dtype.str}{array.shape}".encode()
    return DIGEST + hashlib.sha256(head + array.tobytes()).hexdigest()[:16]


def _copied(value: Any) -> Any:
    """A value apart from the caller's; functions and texts are what they were."""
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(each) for each in value]
    if isinstance(value, Tensor):
        return value.detach().clone()
    # Arrays and Pillow's pictures.
    return value.copy() if hasattr(value, "copy") and not callable(value) else value


def _is_lost(value: Any) -> bool:
    """Whether a value was saved by its digest or name, or a part of it was."""
    if isinstance(value, str):
        return value.startswith((DIGEST, FUNCTION))
    parts = value.values() if isinstance(value, Mapping) else value
    return isinstance(value, Mapping | list | tuple) and any(map(_is_lost, parts))


def _function_name(function: Any) -> str:
    """The name of a function, alike in every process where it can be imported by it."""
    module = getattr(function, "__module__", "")
    name = getattr(function, "__qualname__", type(function).__qualname__)
    text = f"{FUNCTION}{module}.{name}"
    imported = getattr(sys.modules.get(module), name, None) is function and module != "__main__"
    if imported:
        return text
    # Two functions of one name may do different things, here or in another process.
    return f"{text}:{_TOKENS.setdefault(function, uuid.uuid4().hex[:8])}"
