"""How a dictionary is trained: every number that the result depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clerestory.dictionaries.stream import NORMALIZATIONS, Scaling
from clerestory.errors import DictionaryError

__all__ = ["TrainingSettings", "parse_latents"]

MAX_LATENTS = 2**24


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of a training.

    Attributes:
        kind: The trainer: `batchtopk`, `topk`, `matryoshka`, `jumprelu` or `standard`.
        latents: Number of latents.
        k: Latents per position: exactly (`topk`), on average (`batchtopk`, `matryoshka`), or as a
            target (`jumprelu`); not used by `standard`.
        penalty: Coefficient of the penalty for active latents (`standard`, `jumprelu`).
        updates: Number of updates.
        rows: Rows of activations for each update.
        rate: Learning rate of Adam; it rises in the first twentieth of the updates, and falls to 0
            in the last fifth.
        normalization: One of `NORMALIZATIONS`.
        dead_after: A latent that was not active for so many updates counts as dead, and is revived
            where the trainer can do so.
        buffer: Rows that are shuffled together.
        seed: Of the weights, the order of the rows, and the items that are held out.
    """

    kind: str
    latents: int
    k: int
    penalty: float
    updates: int
    rows: int
    rate: float
    normalization: Scaling
    dead_after: int
    buffer: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("latents", "updates", "rows", "buffer", "dead_after"):
            if getattr(self, name) < 1:
                raise DictionaryError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        if self.latents > MAX_LATENTS:
            raise DictionaryError(f"latents is {self.latents}; the limit is {MAX_LATENTS}.")
        if not 1 <= self.k <= self.latents:
            raise DictionaryError(
                f"k is {self.k}; it must be from 1 to the {self.latents} latents."
            )
        if not (0 < self.rate < 1 and self.penalty >= 0):
            raise DictionaryError(
                f"The rate is {self.rate} and the penalty {self.penalty}; the rate must be between "
                "0 and 1, and the penalty 0 or more."
            )
        if self.normalization not in NORMALIZATIONS:
            raise DictionaryError(
                f"normalization is {self.normalization!r:.40}; it must be one of "
                f"{', '.join(NORMALIZATIONS)}."
            )

    def schedule(self) -> dict[str, Any]:
        """The settings by the names of sae-lens's `SAETrainerConfig`."""
        return {
            "total_training_samples": self.updates * self.rows,
            "train_batch_size_samples": self.rows,
            "lr": self.rate,
            # Not used by a constant rate, but checked.
            "lr_end": self.rate / 10,
            "lr_warm_up_steps": self.updates // 20,
            "lr_decay_steps": self.updates // 5,
            "dead_feature_window": self.dead_after,
        }


def parse_latents(latents: int | str, width: int) -> int:
    """The number of latents.

    Args:
        latents: The number, or how many times the width of the site, such as `8x`.
        width: Units of the site.

    Returns:
        The number.

    Raises:
        DictionaryError: It is neither.

    >>> parse_latents("8x", 256)
    2048
    """
    text = str(latents).strip().lower()
    times = text.endswith("x")
    try:
        number = float(text.removesuffix("x")) * width if times else int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= MAX_LATENTS:
        raise DictionaryError(
            f"latents is {str(latents)[:40]!r}; give a number, or 8x for eight times the width."
        )
    return int(number)
