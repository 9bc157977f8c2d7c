"""Classifiers from elsewhere: any of transformers', zero-shot ones with classes of your own.

classifier("classifier:google/vit-base-patch16-224")
classifier("zero-shot:openai/clip-vit-base-patch32[a photograph, a stained glass, a mosaic]")
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clerestory.classifiers.base import Classifier, families, is_given
from clerestory.errors import ModelError, RegistryError
from clerestory.io.reading import one_line
from clerestory.models.core.weight_digests import weight_digests
from clerestory.types import Role

__all__ = ["Hosted"]

BATCH = 32
_ZERO_SHOT = re.compile(r"(?P<model>.+?)\[(?P<classes>[^\[\]]+)\]")


@dataclass(frozen=True, eq=False)
class Hosted:
    """A transformers model that gives a logit for each class."""

    source: str
    classes: tuple[str, ...]
    model: Any = field(repr=False)
    prepare: Any = field(repr=False)

    @functools.cached_property
    def mark(self) -> str:
        """A digest of its weights: other weights under the same name are another classifier."""
        digest = hashlib.blake2b(digest_size=16)
        for name, weight in sorted(self.model.state_dict().items()):
            raw = weight.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(name.encode() + raw.numpy().tobytes())
        return digest.hexdigest()

    @functools.cached_property
    def weights(self) -> list[str]:
        """The marks of its weights, to tell whether the model that is studied has them too."""
        return weight_digests([self.model])

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities `[n, class]`."""
        parts = [np.empty((0, len(self.classes)), np.float32)]
        for start in range(0, len(pictures), BATCH):
            given = self.prepare(list(pictures[start : start + BATCH]))
            with torch.no_grad():
                out = self.model(**given)
            logits = getattr(out, "logits_per_image", None)
            logits = out.logits if logits is None else logits
            parts.append(np.asarray(logits.float().softmax(-1), np.float32))
        return np.concatenate(parts)


@families.register("classifier")
def image_classifier(name: str, role: Role) -> Classifier:
    """`classifier:MODEL`: any transformers image classifier, by hub id or folder."""
    return _image_classifier(name, not is_given(f"classifier:{name}"))


@families.register("zero-shot")
def zero_shot(name: str, role: Role) -> Classifier:
    """`zero-shot:MODEL[a class, another]`: CLIP or SigLIP with classes in your own words."""
    found = _ZERO_SHOT.fullmatch(name)
    classes = [] if found is None else [one.strip() for one in found["classes"].split(",")]
    if found is None or len(classes) < 2 or not all(classes):
        raise RegistryError(
            f"{name!r} names no model with classes; write zero-shot:MODEL[a cat, a dog]."
        )
    return _zero_shot(found["model"], tuple(classes), not is_given(f"zero-shot:{name}"))


@functools.lru_cache(maxsize=4)
def _image_classifier(name: str, here: bool) -> Hosted:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model = _opened(AutoModelForImageClassification, name, here)
    processor = _opened(AutoImageProcessor, name, here)
    labels = model.config.id2label
    if len(labels) < 2:
        raise ModelError(f"{name} has one output, so it is no classifier of classes.")
    classes = _distinct([str(labels[at]) for at in range(len(labels))])
    return Hosted(
        f"classifier:{name}", classes, model, lambda given: processor(given, return_tensors="pt")
    )


@functools.lru_cache(maxsize=2)
def _parts(name: str, here: bool) -> tuple[Any, Any, Any]:
    """A zero-shot model, its processor and tokenizer: the same for whatever classes are asked."""
    from transformers import (
        AutoImageProcessor,
        AutoModelForZeroShotImageClassification,
        AutoTokenizer,
    )

    kinds = (AutoModelForZeroShotImageClassification, AutoImageProcessor, AutoTokenizer)
    model, processor, tokenizer = (_opened(kind, name, here) for kind in kinds)
    return model, processor, tokenizer


@functools.lru_cache(maxsize=32)
def _zero_shot(name: str, classes: Sequence[str], here: bool) -> Hosted:
    model, processor, tokenizer = _parts(name, here)
    # SigLIP was trained on texts that fill the window.
    whole = "siglip" in model.config.model_type
    texts = tokenizer(
        list(classes), padding="max_length" if whole else True, truncation=True, return_tensors="pt"
    )

    def prepare(given: Any) -> dict[str, Any]:
        return {**texts, **processor(given, return_tensors="pt")}

    return Hosted(f"zero-shot:{name}[{', '.join(classes)}]", tuple(classes), model, prepare)


def _distinct(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels, with its number behind one that stands for several classes, as ImageNet's crane.

    >>> _distinct(["crane", "drake", "crane"])
    ('crane 0', 'drake', 'crane 2')
    """
    counts = Counter(labels)
    return tuple(
        label if counts[label] == 1 else f"{label} {at}" for at, label in enumerate(labels)
    )


def _opened(kind: Any, name: str, here: bool) -> Any:
    """A part of a hosted classifier, weights from safetensors only; ModelError where it is none.

    With `here` nothing is fetched: it must be on this machine.
    """
    is_model = hasattr(kind, "from_config")
    how: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True} if is_model else {}
    try:
        part = kind.from_pretrained(name, trust_remote_code=False, local_files_only=here, **how)
    except (OSError, ValueError, KeyError, ImportError) as error:
        if here and isinstance(error, OSError) and not Path(name).exists():
            raise ModelError(
                f"{name} is not on this machine, and comes from a file, which cannot make anything "
                "be fetched. If you want it, name its classifier yourself: --classifier NAME=…"
            ) from error
        raise ModelError(
            f"{name} cannot be opened as a classifier: {one_line(error).rstrip('.')}."
        ) from error
    if not is_model:
        return part
    model, info = part
    if info["missing_keys"]:
        lacking = sorted(info["missing_keys"])[0]
        raise ModelError(f"{name} is no finished classifier: its weights lack {lacking}.")
    return model.eval().requires_grad_(False)
