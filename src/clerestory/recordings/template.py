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
every template, unless the factor is `paired`: its first phrases then belong to the first template,
and so on. Columns of the table are `prompt`, the factors, and

    item      the levels of the factors that are not `matched`: what the prompt is about; a factor
              that is called `item` takes its place
    phrase    the phrases that were chosen from lists; "" where there was none
    template  the template
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
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
PER_CELL = 8
"""Random prompts of one item in one template, if it has as many."""
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
        paired: Factors whose levels have a phrase for each template, which is used there alone.
        without: Combinations of levels that are left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    templates: tuple[str, ...] = Field(min_length=1)
    levels: dict[str, dict[str, str | tuple[str, ...]]] = Field(min_length=1)
    matched: tuple[str, ...] = ()
    paired: tuple[str, ...] = ()
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
                # The empty text is a level as well: nothing beside somebody.
                if text == ():
                    raise ValueError(f"level {level!r} has no phrase")
        named = [*self.matched, *self.paired, *(factor for each in self.without for factor in each)]
        named += [slot for text in self._texts() for slot in _SLOT.findall(text)]
        for factor in named:
            if factor not in self.levels:
                raise ValueError(f"there is no factor {factor!r}")
        for factor in self.paired:
            for level, text in self.levels[factor].items():
                if _phrases(text) != len(self.templates):
                    raise ValueError(
                        f"level {level!r} has {_phrases(text)} phrases for {len(self.templates)} "
                        f"templates, but {factor!r} is paired: it needs one for each"
                    )
        return self

    def _texts(self) -> Iterator[str]:
        yield from self.templates
        for text in itertools.chain.from_iterable(each.values() for each in self.levels.values()):
            yield from [text] if isinstance(text, str) else text

    def table(self) -> pd.DataFrame:
        """Every combination in every template, one row a prompt.

        Returns:
            A row for each prompt: `prompt`, `item`, `phrase`, `template`, and the level of each
            factor.

        Raises:
            PromptError: There are too many prompts, or none is left.
        """
        import pandas as pd

        # The number of phrases of a factor is the sum over its levels.
        sizes = [
            len(each) if name in self.paired else sum(map(_phrases, each.values()))
            for name, each in self.levels.items()
        ]
        count = len(self.templates) * math.prod(sizes)
        check_count("The template", PromptError, count, _MAX_PROMPTS, "prompts")
        rows = [
            self._row(template, levels, dict(zip(levels, phrases, strict=True)))
            for template in range(len(self.templates))
            for levels in self._combinations()
            for phrases in itertools.product(
                *(self._choices(name, level, template) for name, level in levels.items())
            )
        ]
        if not rows:
            raise PromptError("The template leaves no prompt: `without` excludes them all.")
        # A template that lacks a factor gives the same prompt for each of its levels.
        return pd.DataFrame(rows).drop_duplicates(ignore_index=True)

    def random(self, count: int, rng: np.random.Generator) -> pd.DataFrame:
        """Draw random prompts.

        Without matched factors: a level of each factor and a template, uniformly; the same prompt
        may come more than once. With matched factors: items in random order, each in a random
        template with up to `PER_CELL` combinations of the matched levels, so that prompts can be
        compared within an item and template. All items come before one comes again, in another
        template; prompts are repeated only where there are no others.

        Args:
            count: How many.
            rng: The generator; levels are drawn first, then the template, then phrases.

        Returns:
            A table like that of `table`, in the order of drawing.

        Raises:
            PromptError: `without` excludes nearly all combinations.
        """
        import pandas as pd

        if self.matched:
            return pd.DataFrame(list(itertools.islice(self._matched_rows(rng), count)))
        rows = []
        # Rejection sampling keeps the remaining combinations equally likely; bounded, because
        # `without` may exclude all.
        for _ in range(count * _TRIES):
            levels = {
                name: list(each)[rng.integers(len(each))] for name, each in self.levels.items()
            }
            template = int(rng.integers(len(self.templates)))
            phrases = self._random_phrases(levels, template, rng)
            if not self._excluded(levels):
                rows.append(self._row(template, levels, phrases))
            if len(rows) == count:
                return pd.DataFrame(rows)
        raise PromptError("The template leaves hardly a prompt: `without` excludes nearly all.")

    def _matched_rows(self, rng: np.random.Generator) -> Iterator[dict[str, str]]:
        """Rows cell by cell: of one item in one template."""
        fixed = {name: list(each) for name, each in self.levels.items() if name not in self.matched}
        varied = {name: list(self.levels[name]) for name in dict.fromkeys(self.matched)}
        for factors in (fixed, varied):
            count = math.prod(map(len, factors.values()))
            check_count("The template", PromptError, count, _MAX_PROMPTS, "combinations")
        items, cells = (list(itertools.product(*each.values())) for each in (fixed, varied))
        # `_combinations` raises no error where `without` excludes all, and this would never end.
        if next(self._combinations(), None) is None:
            raise PromptError("The template leaves no prompt: `without` excludes them all.")
        order = rng.permutation(len(items))
        templates = [rng.permutation(len(self.templates)) for _ in items]
        for cycle in itertools.count():
            for item in order:
                # Each item takes the templates in an order of its own, so that templates and
                # items are not confounded.
                template = int(templates[item][cycle % len(self.templates)])
                # In the order of the file, whichever are drawn.
                for cell in np.sort(rng.permutation(len(cells))[:PER_CELL]):
                    chosen = dict(zip((*fixed, *varied), (*items[item], *cells[cell]), strict=True))
                    levels = {name: chosen[name] for name in self.levels}
                    if not self._excluded(levels):
                        phrases = self._random_phrases(levels, template, rng)
                        yield self._row(template, levels, phrases)

    def _choices(self, factor: str, level: str, template: int) -> Sequence[int]:
        """The numbers of a level's phrases that are used in a template."""
        if factor in self.paired:
            return (template,)
        return range(_phrases(self.levels[factor][level]))

    def _random_phrases(
        self, levels: Mapping[str, str], template: int, rng: np.random.Generator
    ) -> dict[str, int]:
        choices = {name: self._choices(name, level, template) for name, level in levels.items()}
        # No number is drawn where there is no choice.
        return {
            name: possible[int(rng.integers(len(possible)))] if len(possible) > 1 else possible[0]
            for name, possible in choices.items()
        }

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
        self, template: int, levels: Mapping[str, str], phrases: Mapping[str, int]
    ) -> dict[str, str]:
        text = self.templates[template]
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
            "template": self.templates[template],
        }

    def _text(self, factor: str, level: str, phrase: int) -> str:
        text = self.levels[factor][level]
        return text if isinstance(text, str) else text[phrase]


def _phrases(text: str | tuple[str, ...]) -> int:
    return 1 if isinstance(text, str) else len(text)
