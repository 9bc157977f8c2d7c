"""Lancet's own classifiers: one network per set, with one head per factor of its world."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.classifiers.base import Classifier, classifier_kinds
from clerestory.errors import ModelError, RegistryError
from clerestory.io.reading import parse_json, path_inside
from clerestory.io.tensor_files import read_tensors
from clerestory.io.validation import validate
from clerestory.registry import suggest
from clerestory.types import Role

if TYPE_CHECKING:
    from torch import Tensor

    from lancet.networks import FactorNet

__all__ = ["FactorClassifier", "LancetClassifiers"]

BATCH = 128
SETS: dict[Role, str] = {"selection": "a", "evaluation": "b"}
"""The names of the two sets in a folder of weights."""


@dataclass(frozen=True, eq=False)
class LancetClassifiers:
    """One set of classifiers, with their measurements on held-out renders.

    `measured` has `confusion/FACTOR`, counts `[true, predicted]`; `in_style/FACTOR`, `[style, 2]`,
    correct ones and all; `pairs`, the same of two objects at once; and `features/mean` and
    `features/covariance` of the held-out renders.
    """

    role: Role
    classes: Mapping[str, tuple[str, ...]]
    measured: Mapping[str, NDArray[np.generic]]
    net: FactorNet = field(repr=False)
    digest: str = ""
    latest: dict[tuple[Any, ...], dict[str, NDArray[np.float32]]] = field(
        default_factory=dict, repr=False
    )

    @classmethod
    def load(cls, role: Role = "evaluation", folder: Path | None = None) -> LancetClassifiers:
        """The classifiers of a role in a Lancet folder, the shipped one by default.

        Args:
            role: `selection` is set a, `evaluation` is set b.
            folder: A Lancet folder; the shipped one by default.

        Returns:
            The classifiers, opened once a process.

        Raises:
            RegistryError: There is no such role.
            ModelError: A file is missing or damaged, or of another version.
        """
        from lancet import checkpoint

        if role not in SETS:
            raise RegistryError(f"No classifiers have the role {role!r}.{suggest(role, SETS)}")
        return _loaded(role, checkpoint.verified(folder))

    def probabilities(self, pictures: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Probabilities `[n, class]` by factor, of pictures `[n, 64, 64, 3]`.

        The last result is cached, since callers ask for one factor at a time.

        Args:
            pictures: `[n, 64, 64, 3]`, uint8.

        Returns:
            By factor `[n, class]`; each row adds up to 1.

        Raises:
            ModelError: The pictures have another size or type.
        """
        raw = np.ascontiguousarray(pictures)
        # By content: each factor's classifier is called with the same
        # pictures, one after the other.
        key = (raw.shape, hashlib.blake2b(raw.data, digest_size=16).digest())
        if key not in self.latest:
            # The last one only: more would hold a whole evaluation in memory.
            self.latest.clear()
            self.latest[key] = self._probabilities(pictures)
        return self.latest[key]

    def _probabilities(self, pictures: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        import torch

        features = torch.from_numpy(self.features(pictures))
        with torch.no_grad():
            return {
                factor: np.asarray(head(features).softmax(1))
                for factor, head in self.net.heads.items()
            }

    def features(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The features before the heads, `[n, width]`, for Fréchet distances.

        Args:
            pictures: `[n, 64, 64, 3]`, uint8.

        Returns:
            Float32; no rows for no pictures.

        Raises:
            ModelError: The pictures have another size or type.
        """
        import torch

        pictures = _halved(pictures)
        _check(pictures)
        batches = []
        with torch.no_grad():
            for start in range(0, len(pictures), BATCH):
                raw = torch.from_numpy(np.ascontiguousarray(pictures[start : start + BATCH]))
                # To −1 … 1, as in training.
                scaled = raw.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
                batches.append(self.net.body(scaled))
        return (
            np.asarray(torch.cat(batches)) if batches else np.empty((0, self.net.body.width), "f4")
        )

    def confusion(self, factor: str) -> NDArray[np.int64]:
        """Counts `[true, predicted]` on held-out renders.

        Args:
            factor: The factor's name.

        Returns:
            `[class, class]`; the rows are the true classes.
        """
        return np.asarray(self.measured[f"confusion/{factor}"], dtype=np.int64)

    def accuracy(self, factor: str) -> tuple[int, int]:
        """How many held-out renders are classified correctly, and of how many.

        Args:
            factor: The factor's name.

        Returns:
            The correct ones, and all.
        """
        counts = self.confusion(factor)
        return int(np.trace(counts)), int(counts.sum())

    def accuracy_in_style(self, factor: str, style: str) -> tuple[int, int]:
        """The same, of the held-out renders in this style.

        Args:
            factor: The factor's name.
            style: A style of the world.

        Returns:
            The correct ones, and all.
        """
        row = self.measured[f"in_style/{factor}"][self.classes["style"].index(style)]
        return int(row[0]), int(row[1])

    def both(self) -> tuple[int, int]:
        """How many held-out renders of two objects have both as likeliest, and of how many."""
        right, total = self.measured["pairs"]
        return int(right), int(total)

    def reference(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and covariance of the features of held-out renders."""
        mean, covariance = self.measured["features/mean"], self.measured["features/covariance"]
        return np.asarray(mean, np.float64), np.asarray(covariance, np.float64)


@dataclass(frozen=True)
class FactorClassifier:
    """One factor of one set: a `Classifier`."""

    factor: str
    of: LancetClassifiers

    @property
    def classes(self) -> tuple[str, ...]:
        """The factor's levels."""
        return self.of.classes[self.factor]

    @property
    def source(self) -> str:
        """`lancet:style (evaluation)`."""
        return f"lancet:{self.factor} ({self.of.role})"

    @property
    def companions(self) -> tuple[str, ...]:
        """The set's other factors, as `lancet:FACTOR`."""
        return tuple(f"lancet:{factor}" for factor in self.of.classes if factor != self.factor)

    @property
    def network(self) -> str:
        """Name of the set in reports."""
        return f"Lancet's classifiers ({self.of.role})"

    def features(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The features before the heads, `[n, width]`.

        Args:
            pictures: `[n, 64, 64, 3]`, uint8.

        Returns:
            Float32.

        Raises:
            ModelError: The pictures have another size or type.
        """
        return self.of.features(pictures)

    def log_probabilities(self, pictures: Tensor) -> Tensor:
        """Log probabilities that autograd can differentiate, for gradients.

        Args:
            pictures: `[n, 64, 64, 3]` or `[n, 128, 128, 3]`, from 0 to 1.

        Returns:
            `[n, class]`.

        Raises:
            ModelError: The pictures have another size.
        """
        from torch.nn.functional import avg_pool2d

        maps = pictures.float().permute(0, 3, 1, 2)
        if maps.shape[1:] == (3, 128, 128):
            maps = avg_pool2d(maps, 2)
        if maps.shape[1:] != (3, 64, 64):
            raise ModelError(
                f"Lancet's classifiers read pictures of 64×64, got {list(pictures.shape)}."
            )
        net = self.of.net.to(maps.device)
        logits: Tensor = net.heads[self.factor](net.body(2 * maps - 1))
        return logits.log_softmax(1)

    def accuracy(self) -> tuple[int, int]:
        """How many held-out renders are classified correctly, and of how many."""
        return self.of.accuracy(self.factor)

    @property
    def digest(self) -> str:
        """Digest of the weights."""
        return self.of.digest

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities `[n, class]`."""
        return self.of.probabilities(pictures)[self.factor]


@classifier_kinds.register("lancet")
def lancet_classifier(factor: str, role: Role) -> Classifier:
    """`lancet:style`, `lancet:mood`, … : a factor of Lancet's world.

    Args:
        factor: `style`, `subject`, `place`, `mood`, …
        role: Which of the two sets of networks predicts.

    Returns:
        The classifier; the networks are loaded once for all factors.

    Raises:
        RegistryError: The world has no such factor.
        ModelError: The checkpoint has no classifiers, or they do not fit this version.
    """
    classifiers = LancetClassifiers.load(role)
    if factor not in classifiers.classes:
        known = suggest(factor, classifiers.classes)
        raise RegistryError(f"Lancet has no classifier of {factor!r}.{known}")
    return FactorClassifier(factor, classifiers)


@functools.lru_cache(maxsize=4)
def _loaded(role: Role, folder: Path) -> LancetClassifiers:
    from safetensors import safe_open

    from lancet import checkpoint
    from lancet.networks import classifier_net

    path = path_inside(folder, f"classifiers/{SETS[role]}.safetensors", ModelError)
    state = read_tensors(path, ModelError)
    with safe_open(path, framework="pt") as opened:
        header = opened.metadata() or {}
    content = parse_json(header.get("classes", ""), f"{path}: classes", ModelError)
    hint = dict[str, tuple[str, ...]]
    classes = validate(hint, content, f"{path}: classes", ModelError)
    net = classifier_net(SETS[role], {factor: len(levels) for factor, levels in classes.items()})
    # Stored in half precision; CPUs convolve float32 faster.
    missing = net.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    # `num_batches_tracked` counts training batches and is left out of the files.
    absent = [name for name in missing.missing_keys if not name.endswith("num_batches_tracked")]
    if absent or missing.unexpected_keys:
        raise ModelError(
            f"{path} does not fit this version's classifiers: {absent[:1]} is missing."
        )
    measurements = path_inside(folder, f"classifiers/{SETS[role]}-held-out.safetensors", ModelError)
    measured = read_tensors(measurements, ModelError, "np")
    # The manifest has it: the file need not be read again.
    digest = checkpoint.manifest(folder)["files"][f"classifiers/{SETS[role]}.safetensors"]
    return LancetClassifiers(role, classes, measured, net.eval().requires_grad_(False), digest)


def _halved(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures of 128 pixels a side halved to 64, as the renders that classifiers learn from are.

    Rounded half up, as `cv2.resize` with `INTER_AREA` does it, which draws those renders.
    """
    if pictures.ndim != 4 or pictures.shape[1:] != (128, 128, 3) or pictures.dtype != np.uint8:
        return pictures
    # In 16 bits, since four bytes add up to more than 255.
    quarters = pictures.reshape(len(pictures), 64, 2, 64, 2, 3).astype(np.uint16).sum((2, 4))
    halved: NDArray[np.uint8] = ((quarters + 2) // 4).astype(np.uint8)
    return halved


def _check(pictures: NDArray[np.uint8]) -> None:
    if pictures.ndim != 4 or pictures.shape[1:] != (64, 64, 3) or pictures.dtype != np.uint8:
        raise ModelError(
            f"Lancet's classifiers read pictures [n, 64, 64, 3] of bytes, got"
            f" {list(pictures.shape)} of {pictures.dtype}. Name a classifier of your own for them."
        )
