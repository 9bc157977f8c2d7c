"""`[attribute.NAME]`: which piece of a prompt causes what?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from clerestory.reporting.intervals import format_interval
from clerestory.studies.tasks.base import Cost, Task, TaskContext, tasks
from clerestory.studies.tasks.rendering import count_noun
from clerestory.studies.tasks.results import (
    Claim,
    Table,
    TaskResult,
    by_status,
    evidence_warnings,
    interval_status,
)
from clerestory.types import ClaimStatus

if TYPE_CHECKING:
    from clerestory.attribution import Attribution, Split
    from clerestory.attribution.results import Estimate, Share

__all__ = ["Attribute"]

NEGLIGIBLE = 0.1
"""A share whose whole interval lies within this of 0 is none."""
EFFECTS = ("raises", "lowers", "preserves")
"""The fields that say what a piece is expected to do to a target."""
VERBS = {
    "raises": by_status(
        "raises the rate of", "is not shown to raise the rate of", "is not what raises the rate of"
    ),
    "lowers": by_status(
        "lowers the rate of", "is not shown to lower the rate of", "is not what lowers the rate of"
    ),
    "preserves": by_status(
        "does not change the rate of", "may change the rate of", "changes the rate of"
    ),
}
CRITERIA = {
    "raises": "an interval above 0 and above those of the other pieces",
    "lowers": "an interval below 0 and below those of the other pieces",
    "preserves": f"an interval within ±{NEGLIGIBLE}",
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
    seeds_per_paraphrase: int = Field(default=2, ge=1)
    removal: Literal["baseline", "delete"] = "baseline"

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        from clerestory.attribution import parse_pieces

        pieces = [piece.words for piece in parse_pieces(self.prompt).pieces]
        for effect in EFFECTS:
            for target, piece in getattr(self, effect).items():
                if target not in self.targets:
                    raise ValueError(f"{effect}: targets has no {target!r}")
                if piece not in pieces:
                    raise ValueError(f"{effect}.{target}: the prompt has no piece [{piece}]")
        return self

    def needs(self) -> tuple[str, ...]:
        return tuple(f"find.{name}" for name in self.findings)

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        return tuple(self.targets.values())

    def method(self) -> str:
        removal = "replaced by a baseline" if self.removal == "baseline" else "deleted"
        seeds = count_noun(self.seeds_per_paraphrase, "seed")
        return (
            f"Every combination of the pieces of “{self.prompt}” was drawn in {self.paraphrases} "
            f"paraphrases, each with {seeds} of its own; removed pieces are {removal}. Shares are "
            "Shapley values; their intervals are over the templates of the paraphrases."
        )

    def cost(self, context: TaskContext) -> Cost:
        from clerestory.attribution import parse_pieces

        # Each piece is either there or removed.
        combinations = 2 ** len(parse_pieces(self.prompt).pieces)
        pictures = combinations * self.paraphrases * self.seeds_per_paraphrase
        return Cost(pictures=pictures, disk=5_000_000)

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        from clerestory.attribution import attribute, paraphrase, parse_pieces

        prompt = parse_pieces(self.prompt)
        targets = {name: context.target(*target) for name, target in self.targets.items()}
        # By their folders, as on the command line: `attribute` reads the directions there.
        directions = [str(context.folders[key] / "findings") for key in self.needs()]
        attribution = attribute(
            context.model,
            prompt,
            [*directions, *targets.values()],
            removal=self.removal,
            seeds_per_paraphrase=self.seeds_per_paraphrase,
            paraphrases=paraphrase(
                prompt, self.paraphrases, at_least=20, model=context.model, removal=(self.removal,)
            ),
            # Pairs, paths and pictures are left out: no claim needs them, and
            # they multiply the drawing.
            synergy=False,
            path=False,
            pictures=False,
            out=folder / "attribution",
            cache=context.cache,
            progress=context.progress,
        )
        splits = {name: attribution.of[target] for name, target in targets.items()}
        return TaskResult(
            claims=tuple(self._claims(splits)),
            figures=attribution.to_dict(),
            tables=(_table(attribution, splits),),
            warnings=evidence_warnings(attribution.warnings),
        )

    def _claims(self, splits: Mapping[str, Split]) -> list[Claim]:
        """A claim for each expected effect, beside what every other piece does."""
        claims = []
        for effect in EFFECTS:
            for target, piece in getattr(self, effect).items():
                shares = splits[target].shapley
                share = next(each for each in shares if each.piece == piece)
                others = [each for each in shares if each is not share]
                claims.append(_claim(effect, target, share, others))
        return claims


def _claim(effect: str, target: str, share: Share, others: Sequence[Share]) -> Claim:
    status = _status(effect, share, others)
    listed = "".join(f"; “{other.piece}” {_interval(other)}" for other in others)
    text = f"“{share.piece}” {VERBS[effect][status]} {target}: {_interval(share)}{listed}."
    claim_id = f"{share.piece} {effect} {target}"
    return Claim(claim_id, text, status, CRITERIA[effect], share.value, share.low, share.high)


def _status(effect: str, share: Share, others: Sequence[Share]) -> ClaimStatus:
    if effect == "preserves":
        if max(abs(share.low), abs(share.high)) < NEGLIGIBLE:
            return "supported"
        beyond = share.low >= NEGLIGIBLE or share.high <= -NEGLIGIBLE
        return "not supported" if beyond else "undecided"
    intervals = [(each.low, each.high) for each in (share, *others)]
    # Mirrored, so that one comparison serves both directions.
    if effect == "lowers":
        intervals = [(-high, -low) for low, high in intervals]
    (low, high), *of_others = intervals
    # The whole intervals are compared: where they overlap, the order of the pieces is open.
    threshold = max([0.0, *(upper for _, upper in of_others)])
    # Not supported only if even the weakest reading of the others lies above it.
    refuting = max([0.0, *(lower for lower, _ in of_others)])
    return interval_status(low, high, threshold, refuting)


def _interval(share: Share | Estimate) -> str:
    return format_interval(share.value, share.low, share.high)


def _table(attribution: Attribution, splits: Mapping[str, Split]) -> Table:
    along = {f"along {name}": attribution.of[name] for name in attribution.activations}
    rows = tuple(
        (name, *map(_interval, split.shapley), _interval(split.total))
        for name, split in {**splits, **along}.items()
    )
    head = ("of", *(f"“{piece}”" for piece in attribution.pieces), "together")
    title = f"What each piece contributes, over {attribution.paraphrases} paraphrases"
    return Table(title, head, rows)
