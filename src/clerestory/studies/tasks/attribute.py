"""`[attribute.NAME]`: which piece of a prompt brings what?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from clerestory.studies.tasks.base import (
    Came,
    Claim,
    Cost,
    Step,
    Table,
    Work,
    counted,
    named,
    span,
    steps,
)

if TYPE_CHECKING:
    from clerestory.attribution import Attribution, Split
    from clerestory.attribution.results import Share

__all__ = ["Attribute"]

NOTHING = 0.1
"""A share whose whole interval lies within this of 0 is none."""
SAYS = {
    "brings": ("brings", "is not shown to bring"),
    "takes": ("takes away", "is not shown to take away"),
    "spares": ("leaves alone", "is not shown to leave alone"),
}


@steps.register("attribute")
class Attribute(Step):
    """`attribute` of a prompt with pieces in brackets.

    `of` names what is split: a name of its own to a condition (classifier, class). `brings` says of
    each which piece is thought to bring the most of it, `takes` which takes most away, `spares`
    which does neither. A name that is in none of them makes no claim.
    """

    resumes = True

    prompt: str
    of: dict[str, tuple[str, str]] = Field(min_length=1)
    brings: dict[str, str] = Field(default_factory=dict)
    takes: dict[str, str] = Field(default_factory=dict)
    spares: dict[str, str] = Field(default_factory=dict)
    findings: tuple[str, ...] = ()
    paraphrases: int = Field(default=40, ge=20)
    seeds: tuple[int, ...] = Field(default=(0, 1), min_length=1)
    removal: Literal["baseline", "delete"] = "baseline"

    @model_validator(mode="after")
    def _known(self) -> Attribute:
        from clerestory.attribution import parse_pieces

        pieces = [one.words for one in parse_pieces(self.prompt).pieces]
        for field in ("brings", "takes", "spares"):
            for name, piece in getattr(self, field).items():
                if name not in self.of:
                    raise ValueError(f"{field}: of has no {name!r}")
                if piece not in pieces:
                    raise ValueError(f"{field}.{name}: the prompt has no piece [{piece}]")
        return self

    def needs(self) -> tuple[str, ...]:
        """Findings whose directions are split as well."""
        return named("find", self.findings)

    def sees(self) -> tuple[tuple[str, str], ...]:
        """Who looks, and at what."""
        return tuple(self.of.values())

    def method(self) -> str:
        """What stands for what is absent, in how many paraphrases."""
        how = "replaced by a baseline" if self.removal == "baseline" else "deleted"
        seeds = counted(len(self.seeds), "seed")
        return (
            f"Every combination of the pieces of “{self.prompt}” was drawn in {self.paraphrases} "
            f"paraphrases, {seeds} each; removed pieces are {how}. Shares are Shapley values; "
            "their intervals are over paraphrases."
        )

    def cost(self, work: Work, needed: Mapping[str, Step]) -> Cost:
        """Every combination of the pieces in every paraphrase, with every seed."""
        from clerestory.attribution import parse_pieces

        pieces = len(parse_pieces(self.prompt).pieces)
        every = 2**pieces * self.paraphrases * len(self.seeds)
        return Cost(pictures=every, disk=5_000_000)

    def run(self, work: Work, folder: Path) -> Came:
        """Split, or go on; the page is `attribution/attribution.html`."""
        from clerestory.attribution import attribute, paraphrase, parse_pieces

        prompt = parse_pieces(self.prompt)
        conditions = {name: work.condition(*one) for name, one in self.of.items()}
        inner = [str(work.folders[one] / "findings") for one in self.needs()]
        found = attribute(
            work.model,
            prompt,
            [*inner, *conditions.values()],
            removal=self.removal,
            seeds=self.seeds,
            paraphrases=paraphrase(
                prompt, self.paraphrases, at_least=20, model=work.model, removal=(self.removal,)
            ),
            synergy=False,
            path=False,
            pictures=False,
            out=folder / "attribution",
            progress=work.tell,
        )
        splits = {name: found.of[value] for name, value in conditions.items()}
        return Came(
            claims=tuple(self._claims(splits)),
            figures=found.to_dict(),
            tables=(_table(found, splits),),
            warnings=found.warnings,
        )

    def _claims(self, splits: Mapping[str, Split]) -> list[Claim]:
        """What is thought, each beside what every piece does."""
        thought = (("brings", self.brings), ("takes", self.takes), ("spares", self.spares))
        claims = []
        for what, pieces in thought:
            for name, piece in pieces.items():
                shares = splits[name].shapley
                told = next(share for share in shares if share.piece == piece)
                claims.append(_claim(what, name, told, [one for one in shares if one is not told]))
        return claims


def _claim(what: str, name: str, told: Share, others: list[Share]) -> Claim:
    holds, bar = _holds(what, told, others)
    piece, says = told.piece, SAYS[what][0 if holds else 1]
    rest = "; ".join(f"“{one.piece}” {span(one.value, one.low, one.high)}" for one in others)
    text = (
        f"“{piece}” {says} {name}: {span(told.value, told.low, told.high)} of its rate"
        f"{f'; {rest}' if rest else ''}."
    )
    return Claim(f"{piece} {what} {name}", text, holds, bar, told.value, told.low, told.high)


def _holds(what: str, told: Share, others: list[Share]) -> tuple[bool, str]:
    """Whether the share is apart from nothing, and from what every other piece does."""
    if what == "spares":
        return max(abs(told.low), abs(told.high)) < NOTHING, f"an interval within ±{NOTHING}"
    if what == "brings":
        beyond = told.low > 0 and all(told.low > one.high for one in others)
        return beyond, "an interval above 0 and above those of the other pieces"
    beyond = told.high < 0 and all(told.high < one.low for one in others)
    return beyond, "an interval below 0 and below those of the other pieces"


def _table(found: Attribution, splits: Mapping[str, Split]) -> Table:
    rows = []
    listed = {**splits, **{f"along {name}": found.of[name] for name in found.activations}}
    for name, split in listed.items():
        shares = [span(one.value, one.low, one.high) for one in split.shapley]
        total = span(split.total.value, split.total.low, split.total.high)
        rows.append((name, *shares, total))
    head = ("of", *(f"“{one}”" for one in found.pieces), "together")
    title = f"What each piece brings, over {found.paraphrases} paraphrases"
    return Table(title, head, tuple(rows))
