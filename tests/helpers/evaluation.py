"""A model that draws by a rule, and classifiers that read its pictures, for tests with answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from clerestory.models import Options

SIDE = 4


@dataclass(eq=False)
class RuleModel:
    """Each channel of a picture is lit where a rule says so of (prompt, seed, edits).

    `calls` has the (prompt, seed) pairs of every batch that was drawn.
    """

    rules: Sequence[Callable[[str, int, Sequence[Any]], bool]]
    defaults: Options = field(default_factory=Options)
    calls: list[list[tuple[str, int]]] = field(default_factory=list)
    name: str = "rules"
    workers: int = 1

    def options(self, **changed: Any) -> Options:
        return self.defaults.replace(**changed)

    @property
    def drawn(self) -> int:
        return sum(map(len, self.calls))

    def sweep(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        edit_sets: Sequence[Sequence[Any]],
        *,
        paired: bool,
        **how: Any,
    ) -> list[Any]:
        assert paired
        runs = []
        for edits in edit_sets:
            samples = list(zip(prompts, seeds, strict=True))
            self.calls.append(samples)
            pictures = np.zeros((len(samples), SIDE, SIDE, 3), np.uint8)
            for picture, (prompt, seed) in zip(pictures, samples, strict=True):
                for channel, rule in enumerate(self.rules):
                    picture[..., channel] = 255 * bool(rule(prompt, seed, edits))
            runs.append(SimpleNamespace(pictures=pictures))
        return runs


@dataclass(eq=False)
class ChannelClassifier:
    """`yes` where a channel is lit; `asked` counts the pictures of each call."""

    channel: int
    classes: tuple[str, ...] = ("no", "yes")
    source: str = "channel"
    asked: list[int] = field(default_factory=list)

    def __call__(self, pictures: Any) -> Any:
        self.asked.append(len(pictures))
        lit = pictures[:, 0, 0, self.channel] / 255
        return np.stack([1 - lit, lit], 1).astype(np.float32)
