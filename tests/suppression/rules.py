"""A model that draws plain colours by known rules, and classifiers that read them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from clerestory.errors import PromptError
from clerestory.models import Model, ModelProfile, Options

UNWANTED, PRESERVE = "python:colours:red=yes", "raven=python:colours:green=yes"
LONGEST = 12


class Painted(Model):
    """Ravens are green, and red besides.

    They are not red with a negative prompt at a guidance of 8 or more, or after "please"; after
    "nothing" they are neither red nor green. All is blue besides after "sky". Nothing is green
    with the seeds of `blind`.
    """

    name, pipeline, description = "painted", None, ""
    sites: ClassVar[dict[str, Any]] = {}
    dictionaries: ClassVar[dict[str, Any]] = {}
    profile = ModelProfile()
    conditioning_site = "denoiser/condition"
    conditioning_sites = ("denoiser/condition", "denoiser/pooled")
    family = SimpleNamespace(negative_option="guidance")

    def __init__(self, guidance: float = 4.0, blind: Sequence[int] = ()) -> None:
        self.defaults, self.blind, self.drawn = Options(guidance=guidance), set(blind), 0

    def tokenize(self, prompt: str) -> list[str]:
        return prompt.split()

    def check_prompt(self, prompt: str) -> None:
        if len(self.tokenize(prompt)) > LONGEST:
            raise PromptError(f"{prompt!r} is too long.")

    def options(self, **changed: Any) -> Options:
        return self.defaults.replace(**changed)

    def sweep(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        edit_sets: Sequence[Sequence[Any]],
        *,
        negative: str = "",
        guidance: float = 0.0,
        **how: Any,
    ) -> list[Any]:
        samples = list(zip(prompts, seeds, strict=True))
        run = self._run(samples, negative, guidance)
        self.drawn += len(samples) * len(edit_sets)
        return [run for _ in edit_sets]

    def _run(self, samples: list[tuple[str, int]], negative: str, guidance: float) -> Any:
        pictures = np.zeros((len(samples), 8, 8, 3), np.uint8)
        for picture, (prompt, seed) in zip(pictures, samples, strict=True):
            if "raven" in prompt:
                guided = negative and guidance >= 8
                blank = "nothing" in prompt
                picture[..., 0] = 0 if guided or blank or "please" in prompt else 255
                picture[..., 1] = 0 if blank or seed in self.blind else 255
                picture[..., 2] = 255 * ("sky" in prompt)
        return SimpleNamespace(pictures=pictures)


def _classifier(channel: int, calls: list[int]) -> Callable[[Any], Any]:
    def classify(pictures: Any) -> Any:
        calls.append(len(pictures))
        lit = pictures[:, 0, 0, channel] / 255
        return np.stack([lit, 1 - lit], 1)

    classify.classes = ("yes", "no")  # type: ignore[attr-defined]
    return classify


def colours(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """`python:colours:red`, `…:green` and `…:blue`; returns how many pictures each call had."""
    calls: list[int] = []
    found = {name: _classifier(at, calls) for at, name in enumerate(("red", "green", "blue"))}
    monkeypatch.setitem(sys.modules, "colours", SimpleNamespace(**found))
    return calls
