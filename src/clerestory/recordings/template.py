"""A factorial set of prompts: every combination of levels in every template, factors as columns.

    templates = ["{style}", "{style}, {place}"]
    matched = ["style"]

    [levels.style]
    "stained glass" = ["a stained glass of {subject}", "{subject} in stained glass"]
    plain = ["a picture of {subject}", "{subject} in plain style", "an image of {subject}"]

    [levels.subject]
    cat = "a cat"
    ship = "a ship"

    [levels.place]
    night = "at night"

    [[without]]
    style = "stained glass"
    subject = "ship"

A level's text may name other factors. A list has the phrases of the level: each of them is used in
every template. Columns of the table are `prompt`, the factors, and

    item      the levels of the factors that are not `matched`: what the prompt is about; a factor
              that is called `item` takes its place
    phrase    the phrases that were chosen from lists; "" where there was none
    template  the template
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clerestory.errors import PromptError
from clerestory.io.reading import check_count, read_toml

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Template"]

_SLOT = re.compile(r"{([^{}]*)}")
RESERVED_FACTORS = ("prompt", "phrase", "template")
"""Columns that no factor can be called."""
_DEPTH = 8
"""Limit of nesting: texts of levels that name factors whose texts name factors."""
_TRIES = 1000
_MAX_PROMPTS, _MAX_LENGTH = 1_000_000, 100_000


class Template(BaseModel):
    """A factorial design of prompts: templates with slots, and factors with levels.

    Attributes:
        templates: Texts with slots `{factor}`.
        levels: Texts by level by factor; a tuple has the phrases of the level.
        matched: Factors in which the prompts of an item differ.
        without: Combinations of levels that are left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    templates: tuple[str, ...] = Field(min_length=1)
    levels: dict[str, dict[str, str | tuple[str, ...]]] = Field(min_length=1)
    matched: tuple[str, ...] = ()
    without: tuple[dict[str, str], ...] = ()

    @classmethod
    def read(cls, path: Path) -> Template:
        """Open a template.

        Args:
            path: A TOML file.

        Returns:
            The template.

        Raises:
            PromptError: The file cannot be read or is invalid; the message names the field.
        """
        try:
            return cls.model_validate(read_toml(path, PromptError))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the template"
            raise PromptError(f"{path}: {field}: {first['msg']}.") from error

    @model_validator(mode="after")
    def _check_factors(self) -> Template:
        for factor, levels in self.levels.items():
            if factor in RESERVED_FACTORS:
                raise ValueError(f"a factor cannot be called {factor!r}")
            if not levels:
                raise ValueError(f"factor {factor!r} has no level")
            for level, text in levels.items():
                if text == ():
                    raise ValueError(f"level {level!r} has no phrase")
        named = [*self.matched, *(factor for each in self.without for factor in each)]
        named += [slot for text in self._texts() for slot in _SLOT.findall(text)]
        for factor in named:
            if factor not in self.levels:
                raise ValueError(f"there is no factor {factor!r}")
        return self

    def _texts(self) -> Iterator[str]:
        yield from self.templates
        for text in itertools.chain.from_iterable(each.values() for each in self.levels.values()):
            yield from [text] if isinstance(text, str) else text

    def table(self) -> pd.DataFrame:
        """Every combination in every template, one row a prompt; PromptError if none is left."""
        import pandas as pd

        # The number of phrases of a factor is the sum over its levels.
        sizes = [sum(map(_phrases, each.values())) for each in self.levels.values()]
        count = len(self.templates) * math.prod(sizes)
        check_count("The template", PromptError, count, _MAX_PROMPTS, "prompts")
        rows = [
            self._row(template, levels, dict(zip(levels, phrases, strict=True)))
            for template in self.templates
            for levels in self._combinations()
            for phrases in itertools.product(
                *(range(_phrases(self.levels[name][level])) for name, level in levels.items())
            )
        ]
        if not rows:
            raise PromptError("The template leaves no prompt: `without` excludes them all.")
        # A template that lacks a factor gives the same prompt for each of its levels.
        return pd.DataFrame(rows).drop_duplicates(ignore_index=True)

    def random(self, count: int, rng: np.random.Generator) -> pd.DataFrame:
        """Draw random prompts: a level of each factor and a template, uniformly.

        Args:
            count: How many; the same prompt may come more than once.
            rng: The generator; levels are drawn first, then the template, then phrases.

        Returns:
            A table like that of `table`, in the order of drawing.

        Raises:
            PromptError: `without` excludes nearly all combinations.
        """
        import pandas as pd

        rows = []
        # Rejection sampling keeps the remaining combinations equally likely; bounded, because
        # `without` may exclude all.
        for _ in range(count * _TRIES):
            levels = {
                name: list(each)[rng.integers(len(each))] for name, each in self.levels.items()
            }
            template = self.templates[rng.integers(len(self.templates))]
            counts = {name: _phrases(self.levels[name][level]) for name, level in levels.items()}
            # No number is drawn where there is no choice.
            phrases = {
                name: int(rng.integers(count)) if count > 1 else 0 for name, count in counts.items()
            }
            if not self._excluded(levels):
                rows.append(self._row(template, levels, phrases))
            if len(rows) == count:
                return pd.DataFrame(rows)
        raise PromptError("The template leaves hardly a prompt: `without` excludes nearly all.")

    def _excluded(self, levels: Mapping[str, str]) -> bool:
        return any(
            all(levels[factor] == level for factor, level in each.items()) for each in self.without
        )

    def _combinations(self) -> Iterator[dict[str, str]]:
        for combination in itertools.product(*self.levels.values()):
            levels = dict(zip(self.levels, combination, strict=True))
            if not self._excluded(levels):
                yield levels

    def _row(
        self, template: str, levels: Mapping[str, str], phrases: Mapping[str, int]
    ) -> dict[str, str]:
        text = template
        texts = {name: self._text(name, level, phrases[name]) for name, level in levels.items()}
        used: set[str] = set()
        for _ in range(_DEPTH):
            slots = _SLOT.findall(text)
            used |= set(slots)
            # Counted before it is built: texts that name each other grow exponentially.
            size = sum(len(texts[slot]) for slot in slots)
            check_count("A prompt of the template", PromptError, size, _MAX_LENGTH, "characters")
            text = _SLOT.sub(lambda slot: texts[slot[1]], text)
        if _SLOT.search(text):
            raise PromptError(f"The template's texts name each other in a circle: {text[:80]!r}.")
        shown = {name: level for name, level in levels.items() if name in used}
        item = [level for name, level in shown.items() if name not in self.matched]
        chosen = [
            texts[name]
            for name, level in shown.items()
            if not isinstance(self.levels[name][level], str)
        ]
        # "" where the prompt does not show a factor, so that its level is not taken for a cause.
        factors = {name: shown.get(name, "") for name in self.levels}
        return {
            "prompt": " ".join(text.split()),
            "item": "; ".join(item),
            **factors,
            "phrase": "; ".join(chosen),
            "template": template,
        }

    def _text(self, factor: str, level: str, phrase: int) -> str:
        text = self.levels[factor][level]
        return text if isinstance(text, str) else text[phrase]


def _phrases(text: str | tuple[str, ...]) -> int:
    return 1 if isinstance(text, str) else len(text)
