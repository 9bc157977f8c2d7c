"""`[attribute.NAME]`: which piece of a prompt causes what?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from clerestory.studies.tasks.base import (
    Claim,
    Cost,
    Table,
    Task,
    TaskContext,
    TaskResult,
    count_noun,
    format_interval,
    task_keys,
    tasks,
    to_status,
)

if TYPE_CHECKING:
    from clerestory.attribution import Attribution, Split
    from clerestory.attribution.results import Share

__all__ = ["Attribute"]

NEGLIGIBLE = 0.1
"""A share whose whole interval lies within this of 0 is none."""
VERBS = {
    "raises": ("raises the rate of", "is not shown to raise the rate of"),
    "lowers": ("lowers the rate of", "is not shown to lower the rate of"),
    "preserves": ("does not change the rate of", "may change the rate of"),
}


@tasks.register("attribute")
class Attribute(Task):
    """`attribute` of a prompt with pieces in brackets.

    `targets` are what is attributed: a name for each (classifier, label). `raises` says of each
    which piece raises its rate most, `lowers` which lowers it most, `preserves` which does neither.
    A target that is in none of them makes no claim. `findings` are `find` tasks whose directions
    are attributed as well.
    """

    resumable = True

    prompt: str
    targets: dict[str, tuple[str, str]] = Field(min_length=1)
    raises: dict[str, str] = Field(default_factory=dict)
    lowers: dict[str, str] = Field(default_factory=dict)
    preserves: dict[str, str] = Field(default_factory=dict)
    findings: tuple[str, ...] = ()
    paraphrases: int = Field(default=40, ge=20)
    seeds: tuple[int, ...] = Field(default=(0, 1), min_length=1)
    removal: Literal["baseline", "delete"] = "baseline"

    @model_validator(mode="after")
    def _check_names(self) -> Attribute:
        from clerestory.attribution import parse_pieces

        pieces = [one.words for one in parse_pieces(self.prompt).pieces]
        for field in ("raises", "lowers", "preserves"):
            for name, piece in getattr(self, field).items():
                if name not in self.targets:
                    raise ValueError(f"{field}: targets has no {name!r}")
                if piece not in pieces:
                    raise ValueError(f"{field}.{name}: the prompt has no piece [{piece}]")
        return self

    def needs(self) -> tuple[str, ...]:
        """Its findings."""
        return task_keys("find", self.findings)

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        """Its targets."""
        return tuple(self.targets.values())

    def method(self) -> str:
        """What stands for what is absent, in how many paraphrases."""
        how = "replaced by a baseline" if self.removal == "baseline" else "deleted"
        seeds = count_noun(len(self.seeds), "seed")
        return (
            f"Every combination of the pieces of “{self.prompt}” was drawn in {self.paraphrases} "
            f"paraphrases, {seeds} each; removed pieces are {how}. Shares are Shapley values; "
            "their intervals are over paraphrases."
        )

    def cost(self, context: TaskContext, plan: Mapping[str, Task]) -> Cost:
        """Every combination of the pieces in every paraphrase, with every seed.

        Args:
            context: The model, folders and classifiers.
            plan: All tasks of the study, by key.

        Returns:
            The cost.
        """
        from clerestory.attribution import parse_pieces

        pieces = len(parse_pieces(self.prompt).pieces)
        # Each piece is either there or removed.
        every = 2**pieces * self.paraphrases * len(self.seeds)
        return Cost(pictures=every, disk=5_000_000)

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        """Split, or go on; the page is `attribution/attribution.html`.

        Args:
            context: The model, folders and classifiers.
            folder: The task's own folder, which exists.

        Returns:
            Claims, figures, and what the report shows.
        """
        from clerestory.attribution import attribute, paraphrase, parse_pieces

        prompt = parse_pieces(self.prompt)
        conditions = {name: context.target(*one) for name, one in self.targets.items()}
        # By their folders, as on the command line: `attribute` reads the directions there.
        inner = [str(context.folders[one] / "findings") for one in self.needs()]
        attribution = attribute(
            context.model,
            prompt,
            [*inner, *conditions.values()],
            removal=self.removal,
            seeds=self.seeds,
            paraphrases=paraphrase(
                prompt, self.paraphrases, at_least=20, model=context.model, removal=(self.removal,)
            ),
            synergy=False,
            path=False,
            pictures=False,
            out=folder / "attribution",
            progress=context.progress,
        )
        splits = {name: attribution.of[value] for name, value in conditions.items()}
        return TaskResult(
            claims=tuple(self._claims(splits)),
            figures=attribution.to_dict(),
            tables=(_table(attribution, splits),),
            warnings=attribution.warnings,
        )

    def _claims(self, splits: Mapping[str, Split]) -> list[Claim]:
        """A claim for each expected effect, beside what every other piece does."""
        expected = (
            ("raises", self.raises),
            ("lowers", self.lowers),
            ("preserves", self.preserves),
        )
        claims = []
        for effect, pieces in expected:
            for name, piece in pieces.items():
                shares = splits[name].shapley
                share = next(each for each in shares if each.piece == piece)
                claims.append(
                    _claim(effect, name, share, [each for each in shares if each is not share])
                )
        return claims


def _claim(effect: str, name: str, share: Share, others: list[Share]) -> Claim:
    supported, criterion = _supported(effect, share, others)
    piece, verb = share.piece, VERBS[effect][0 if supported else 1]
    rest = "; ".join(
        f"“{one.piece}” {format_interval(one.value, one.low, one.high)}" for one in others
    )
    text = (
        f"“{piece}” {verb} {name}: {format_interval(share.value, share.low, share.high)}"
        f"{f'; {rest}' if rest else ''}."
    )
    claim = f"{piece} {effect} {name}"
    return Claim(claim, text, to_status(supported), criterion, share.value, share.low, share.high)


def _supported(effect: str, share: Share, others: list[Share]) -> tuple[bool, str]:
    """Whether the share is apart from nothing, and from what every other piece does."""
    if effect == "preserves":
        return max(
            abs(share.low), abs(share.high)
        ) < NEGLIGIBLE, f"an interval within ±{NEGLIGIBLE}"
    if effect == "raises":
        # The whole interval, so that overlapping pieces support no claim.
        beyond = share.low > 0 and all(share.low > one.high for one in others)
        return beyond, "an interval above 0 and above those of the other pieces"
    beyond = share.high < 0 and all(share.high < one.low for one in others)
    return beyond, "an interval below 0 and below those of the other pieces"


def _table(attribution: Attribution, splits: Mapping[str, Split]) -> Table:
    rows = []
    listed = {
        **splits,
        **{f"along {name}": attribution.of[name] for name in attribution.activations},
    }
    for name, split in listed.items():
        shares = [format_interval(one.value, one.low, one.high) for one in split.shapley]
        total = format_interval(split.total.value, split.total.low, split.total.high)
        rows.append((name, *shares, total))
    head = ("of", *(f"“{one}”" for one in attribution.pieces), "together")
    title = f"What each piece contributes, over {attribution.paraphrases} paraphrases"
    return Table(title, head, tuple(rows))
