"""Classifiers from transformers: image classifiers, and zero-shot ones with classes of your own.

load_classifier("classifier:google/vit-base-patch16-224")
load_classifier("zero-shot:openai/clip-vit-base-patch32[a photograph, a stained glass]")
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

from clerestory.classifiers.base import Classifier, classifier_kinds, is_trusted
from clerestory.errors import ModelError, RegistryError, describe_error
from clerestory.models.core.weight_digests import weight_digests
from clerestory.types import Floats, Pictures, Role

__all__ = ["HubClassifier"]

BATCH = 32
_ZERO_SHOT = re.compile(r"(?P<model>.+?)\[(?P<classes>[^\[\]]+)\]")


@dataclass(frozen=True, eq=False)
class HubClassifier:
    """A transformers model that gives a logit for each class.

    Attributes:
        source: Its name.
        classes: Its classes.
        model: The network.
        prepare: Function from a list of pictures to keyword arguments of the network.
    """

    source: str
    classes: tuple[str, ...]
    model: Any = field(repr=False)
    prepare: Any = field(repr=False)

    @functools.cached_property
    def digest(self) -> str:
        """Digest of the weights, which can change under the same name."""
        digest = hashlib.blake2b(digest_size=16)
        for name, weight in sorted(self.model.state_dict().items()):
            raw = weight.detach().cpu().contiguous().flatten().view(torch.uint8)
            # By bytes: NumPy has no bfloat16.
            digest.update(name.encode() + raw.numpy().tobytes())
        return digest.hexdigest()

    @functools.cached_property
    def weight_digests(self) -> list[str]:
        """Digests of its weight matrices, which show whether the studied model has them too."""
        return weight_digests([self.model])

    def __call__(self, pictures: Pictures) -> Floats:
        """Probabilities `[n, class]`."""
        # The empty array gives the right shape if there are no pictures.
        parts = [np.empty((0, len(self.classes)), np.float32)]
        for start in range(0, len(pictures), BATCH):
            inputs = self.prepare(list(pictures[start : start + BATCH]))
            with torch.no_grad():
                output = self.model(**inputs)
            # Zero-shot models have logits of texts as well; image classifiers have one kind.
            logits = getattr(output, "logits_per_image", None)
            logits = output.logits if logits is None else logits
            parts.append(np.asarray(logits.float().softmax(-1), np.float32))
        return np.concatenate(parts)


@classifier_kinds.register("classifier")
def open_image_classifier(name: str, role: Role) -> Classifier:
    """`classifier:MODEL`: any transformers image classifier, by hub id or folder.

    Args:
        name: A hub id or a folder.
        role: Not used: the network both selects and evaluates.

    Returns:
        The classifier; if its name comes from a file, it is loaded from this machine only.

    Raises:
        ModelError: It cannot be read, or is not an image classifier.
    """
    return _image_classifier(name, not is_trusted(f"classifier:{name}"))


@classifier_kinds.register("zero-shot")
def open_zero_shot(name: str, role: Role) -> Classifier:
    """`zero-shot:MODEL[a class, another]`: CLIP or SigLIP with classes in your own words.

    Args:
        name: `MODEL[a class, another]`, the model a hub id or a folder.
        role: Not used: the network both selects and evaluates.

    Returns:
        The classifier; if its name comes from a file, it is loaded from this machine only.

    Raises:
        RegistryError: The name has fewer than two classes.
        ModelError: The model cannot be read, or is not a zero-shot classifier.
    """
    match = _ZERO_SHOT.fullmatch(name)
    classes = [] if match is None else [text.strip() for text in match["classes"].split(",")]
    if match is None or len(classes) < 2 or not all(classes):
        raise RegistryError(
            f"{name!r} names no model with classes; write zero-shot:MODEL[a cat, a dog]."
        )
    return _zero_shot(match["model"], tuple(classes), not is_trusted(f"zero-shot:{name}"))


# A small cache, since each entry holds a network in memory.
@functools.lru_cache(maxsize=4)
def _image_classifier(name: str, local_only: bool) -> HubClassifier:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model = _load(AutoModelForImageClassification, name, local_only)
    processor = _load(AutoImageProcessor, name, local_only)
    labels = model.config.id2label
    if len(labels) < 2:
        raise ModelError(f"{name} has one output, so it does not classify into labels.")
    classes = _distinct([str(labels[at]) for at in range(len(labels))])

    def prepare(pictures: Any) -> Any:
        return processor(pictures, return_tensors="pt")

    return HubClassifier(f"classifier:{name}", classes, model, prepare)


@functools.lru_cache(maxsize=2)
def _zero_shot_parts(name: str, local_only: bool) -> tuple[Any, Any, Any]:
    """A zero-shot model, its processor and its tokenizer, which do not depend on the classes."""
    from transformers import (
        AutoImageProcessor,
        AutoModelForZeroShotImageClassification,
        AutoTokenizer,
    )

    kinds = (AutoModelForZeroShotImageClassification, AutoImageProcessor, AutoTokenizer)
    model, processor, tokenizer = (_load(kind, name, local_only) for kind in kinds)
    return model, processor, tokenizer


@functools.lru_cache(maxsize=32)
def _zero_shot(name: str, classes: Sequence[str], local_only: bool) -> HubClassifier:
    model, processor, tokenizer = _zero_shot_parts(name, local_only)
    # SigLIP was trained with texts padded to the whole window.
    padding = "max_length" if "siglip" in model.config.model_type else True
    texts = tokenizer(list(classes), padding=padding, truncation=True, return_tensors="pt")

    def prepare(pictures: Any) -> dict[str, Any]:
        return {**texts, **processor(pictures, return_tensors="pt")}

    source = f"zero-shot:{name}[{', '.join(classes)}]"
    return HubClassifier(source, tuple(classes), model, prepare)


def _distinct(labels: Sequence[str]) -> tuple[str, ...]:
    """Append its number to each label that several classes share, such as ImageNet's crane.

    >>> _distinct(["crane", "drake", "crane"])
    ('crane 0', 'drake', 'crane 2')
    """
    counts = Counter(labels)
    return tuple(
        label if counts[label] == 1 else f"{label} {index}" for index, label in enumerate(labels)
    )


def _load(kind: Any, name: str, local_only: bool) -> Any:
    """Load a model (weights from safetensors only), a processor or a tokenizer."""
    # Processors and tokenizers have no weights, and refuse the options for them.
    is_model = hasattr(kind, "from_config")
    # Only safetensors, since pickled weights can run code when they are read.
    options: dict[str, Any] = (
        {"use_safetensors": True, "output_loading_info": True} if is_model else {}
    )
    try:
        part = kind.from_pretrained(
            name, trust_remote_code=False, local_files_only=local_only, **options
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        if local_only and isinstance(error, OSError) and not Path(name).exists():
            raise ModelError(
                f"{name} is not on this machine, and comes from a file, which cannot make anything "
                "be fetched. If you want it, name its classifier yourself: --classifier NAME=…"
            ) from error
        raise ModelError(
            f"{name} cannot be opened as a classifier: {describe_error(error).rstrip('.')}."
        ) from error
    if not is_model:
        return part
    model, loading_info = part
    # transformers initialises missing weights at random, with only a warning.
    if loading_info["missing_keys"]:
        missing = sorted(loading_info["missing_keys"])[0]
        raise ModelError(f"{name} is not a trained classifier: its weights lack {missing}.")
    return model.eval().requires_grad_(False)
