"""Results of `verify` and `map_effects`: effects of changing a unit, a block or a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import override

from clerestory.causal.baselines import BaselineEffects
from clerestory.causal.control import control_status, control_together
from clerestory.contrasts.evidence import UnitKind
from clerestory.errors import EvidenceError
from clerestory.evaluation import ClassChange, Effect, SideEffects
from clerestory.evaluation.region_changes import RegionChange
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.io.digests import DIGEST, check_seal
from clerestory.io.reading import path_inside, read_json, wrap_errors
from clerestory.io.validation import to_jsonable, validate
from clerestory.reporting.results import Provenance, Result
from clerestory.types import ClaimStatus

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "BaselineEffects",
    "Effect",
    "EffectMaps",
    "RangeEffect",
    "SwapShares",
    "UnitEffect",
    "VerificationResult",
]

FILE = "effects.json"
DERIVED = ("status", "p", "within_bound", "together_with")
"""Entries of a unit in the JSON file that follow from its other figures."""
FIRST = 3
"""Changes that a sentence names."""
NEGLIGIBLE = 0.15
"""An effect whose upper limit is below this counts as none."""
NEARLY_ALL = 0.9
"""Share of the largest effect that a shorter range must have to be reported instead."""


@dataclass(frozen=True)
class UnitEffect:
    """Effects of changing one unit on the rate of the label, and on everything else.

    Attributes:
        unit: Address of the unit.
        kind: Neuron or direction.
        detects: AUROC of the unit on the evaluation half.
        addition: Rise of the rate when, in negative prompts, the unit is moved by the distance
            between its negative and its positive mean.
        ablation: Fall of the rate when, in positive prompts, the unit is set to its negative mean.
        patching: Rise of the rate when the whole activation of the site is copied from the positive
            prompt into its negative one; None if too few pairs have equal numbers of tokens.
        reverse_patching: Fall of the rate when it is copied the other way.
        smallest_effect: The addition's effect above which the unit is said to control the label.
        baselines: Effects of directions of the same length; None where the addition has no effect
            to compare, or the site has no other directions.
        q: Benjamini–Hochberg over all units, where one without baselines has p = 1.
        side_effects: What else the addition changes.
        preservation: By classifier, the share of pictures whose prediction the addition preserves.
        region_change: How much pictures change inside and outside of the region that the unit is
            added in; None without one.
    """

    unit: str
    kind: UnitKind
    detects: float
    addition: Effect
    ablation: Effect
    patching: Effect | None
    reverse_patching: Effect | None
    smallest_effect: float
    baselines: BaselineEffects | None
    q: float | None
    side_effects: SideEffects
    preservation: Mapping[str, float]
    region_change: RegionChange | None = None

    @property
    def p(self) -> float | None:
        """Of the addition against its baselines; None without any."""
        return None if self.baselines is None else self.baselines.p

    @property
    def status(self) -> ClaimStatus:
        """What the evidence says of “the unit controls the label”; see `control_status`."""
        return control_status(self.addition, self.smallest_effect, self.q, self.side_effects)

    @property
    def together_with(self) -> tuple[ClassChange, ...]:
        """What a unit changes together with the label; empty where it changes only the label."""
        return control_together(self.addition, self.smallest_effect, self.q, self.side_effects)

    @property
    def least_preserved(self) -> tuple[str, float] | None:
        """The classifier whose predictions are preserved least, and the share preserved."""
        return min(self.preservation.items(), key=lambda pair: pair[1], default=None)


@dataclass(frozen=True)
class RangeEffect:
    """Effect of patching a contiguous range of blocks of a stage, or of steps.

    Attributes:
        stage: The stage.
        first: The first block or step.
        last: The last block or step.
        effect: Change of the rate, minus the change by another negative prompt's activations.
        cumulative: Whether whole outputs of blocks were patched, which include all earlier blocks.
    """

    stage: str
    first: str
    last: str
    effect: Effect
    cumulative: bool = False


@dataclass(frozen=True)
class SwapShares:
    """Which of two samples a picture resembles: that of its conditioning, or that of its noise.

    Attributes:
        factor: What is compared: `concept`, a classifier, or `layout` (8×8 grey values).
        conditioning: Share of pictures with the class of the sample that gave the conditioning,
            among those whose two samples have different classes.
        low: Lower limit of its 95% interval over items.
        high: Upper limit of that interval.
        noise: Share of pictures with the class of the sample that gave the noise.
        pictures: Number of compared pictures.
    """

    factor: str
    conditioning: float
    low: float
    high: float
    noise: float
    pictures: int


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class EffectMaps(Result):
    """In which blocks, at which steps and from which sample a concept enters the picture.

    Attributes:
        classifier: Source of the classifier.
        label: The class that stands for the concept.
        items: Number of pairs of prompts.
        negative_rate: Rate of the label in negative prompts.
        prompting: Change of the rate by the positive prompts; after `group`, by the prompts of the
            group.
        prompting_preservation: By classifier, the share of pictures whose prediction is the same
            with the positive prompts.
        where: Effects of ranges of blocks.
        when: Effects of ranges of the denoiser's steps.
        swaps: Whether the conditioning or the noise decides.
        warnings: Limitations of the evidence.
        provenance: Version, model and options.
    """

    figures_file = FILE
    classifier: str
    label: str
    items: int
    negative_rate: float
    prompting: Effect
    prompting_preservation: Mapping[str, float]
    where: tuple[RangeEffect, ...] = ()
    when: tuple[RangeEffect, ...] = ()
    swaps: tuple[SwapShares, ...] = ()
    warnings: tuple[EvidenceWarning, ...] = ()
    provenance: Provenance

    def sentences(self) -> tuple[str, ...]:
        """For each stage, the shortest range with nearly all of the effect."""
        return tuple(
            _shortest_range(noun, [effect for effect in ranges if effect.stage == stage])
            for noun, ranges in (("blocks", self.where), ("steps", self.when))
            for stage in dict.fromkeys(effect.stage for effect in ranges)
        )

    def summary(self) -> str:
        """The change by the positive prompts, and `sentences`."""
        text = (
            f"{self.label!r} by {self.classifier}, {self.items} items: the positive prompts change "
            f"the rate by {self.prompting}."
        )
        return " ".join([text, *self.sentences()])

    def table(self) -> pd.DataFrame:
        """A row for each range of blocks and of steps."""
        import pandas as pd

        columns = ["map", "stage", "first", "last", "effect", "low", "high", "cumulative"]
        rows = [
            {"map": name, **asdict(effect), **asdict(effect.effect)}
            for name, ranges in (("where", self.where), ("when", self.when))
            for effect in ranges
        ]
        return pd.DataFrame(rows, columns=columns)

    def plot(self, which: str = "where") -> Any:
        """The map of ranges as an Altair chart.

        Args:
            which: `where` for blocks, `when` for steps.

        Returns:
            The chart.
        """
        from clerestory.causal.charts import range_map

        return range_map(self, which)

    def to_dict(self) -> dict[str, Any]:
        """Every figure, and the answers as sentences, ready for JSON."""
        return {**to_jsonable(self), "sentences": list(self.sentences())}

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        content = read_json(path_inside(folder, FILE, EvidenceError), EvidenceError)
        check_seal(content, FILE, EvidenceError)
        with wrap_errors(FILE, EvidenceError):
            # These are derived from the other figures.
            content.pop("sentences", None)
            content.pop(DIGEST, None)
            for effect in content.get("effects", ()):
                for name in DERIVED:
                    effect.pop(name, None)
        return validate(cls, content, FILE, EvidenceError)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class VerificationResult(EffectMaps):
    """Effects of changing units, with the maps of `map_effects` if requested.

    Attributes:
        effects: The effects of each unit.
    """

    effects: tuple[UnitEffect, ...]

    def sentences(self) -> tuple[str, ...]:
        """Which units control the label and what changes with it, then those of `EffectMaps`."""
        supported = [effect.unit for effect in self.effects if effect.status == "supported"]
        count = f"{len(self.effects)} units" if len(self.effects) > 1 else "1 unit"
        # Not "does not control": most are undecided rather than refuted.
        answer = f"None of {count} is shown to control {self.label!r} alone."
        if supported:
            verb = "controls" if len(supported) == 1 else "control"
            names = ", ".join(supported)
            answer = f"Of {count}, {len(supported)} {verb} {self.label!r}: {names}."
        together = (
            f"{effect.unit} controls {self.label!r} together with "
            f"{_list_changes(effect.together_with)}."
            for effect in self.effects
            if effect.together_with
        )
        regions = (
            f"{effect.unit}, added: {effect.region_change}."
            for effect in self.effects
            if effect.region_change is not None
        )
        return (
            *(answer, *together, *_not_controlling(self.effects), *regions),
            *super().sentences(),
        )

    def table(self) -> pd.DataFrame:
        """A row for each unit, with its AUROC and its effects."""
        import pandas as pd

        return pd.DataFrame([_unit_row(effect) for effect in self.effects])

    def plot(self, which: str = "units") -> Any:
        """The effects of units, or a map of ranges, as an Altair chart.

        Args:
            which: `units`, `where` or `when`.

        Returns:
            The chart.
        """
        from clerestory.causal.charts import unit_chart

        return unit_chart(self) if which == "units" else super().plot(which)

    def to_dict(self) -> dict[str, Any]:
        """Every figure, the statuses and the answers as sentences, ready for JSON."""
        content = super().to_dict()
        for entry, effect in zip(content["effects"], self.effects, strict=True):
            entry |= derived_figures(effect)
        return content


def derived_figures(effect: UnitEffect) -> dict[str, Any]:
    """What follows from an effect's figures, for other readers of a file.

    Args:
        effect: The effect of a unit.

    Returns:
        Values by the names of `DERIVED`, which are dropped and derived again when they are loaded.
    """
    within = effect.side_effects.within_bound
    together = [str(change) for change in effect.together_with]
    return dict(zip(DERIVED, (effect.status, effect.p, within, together), strict=True))


def _unit_row(effect: UnitEffect) -> dict[str, Any]:
    patching, reverse, baselines = effect.patching, effect.reverse_patching, effect.baselines
    worst, preservation = effect.least_preserved or (None, None)
    # By its limit and not its estimate: the claim is that nothing changes by more than a bound.
    largest = effect.side_effects.largest
    return {
        "unit": effect.unit,
        "kind": effect.kind,
        "detects": effect.detects,
        "status": effect.status,
        **_with_limits("addition", effect.addition),
        **_with_limits("ablation", effect.ablation),
        "patching": patching and patching.effect,
        "reverse_patching": reverse and reverse.effect,
        "p": effect.p,
        "q": effect.q,
        "baselines_low": baselines and baselines.low,
        "baselines_high": baselines and baselines.high,
        "side_effects": _side_effects_text(effect),
        "side_effect_limit": largest and largest.limit,
        "least_preserved": worst,
        "preservation": preservation,
    }


def _side_effects_text(effect: UnitEffect) -> str:
    """What else changes: classes that are shown to, or whether the rest is within the bound."""
    side_effects = effect.side_effects
    if not side_effects.changes:
        return "not measured"
    if side_effects.within_bound:
        return f"within {side_effects.bound:.2f}"
    changes = side_effects.together_with()
    return ", ".join(map(_change_text, changes[:FIRST])) if changes else "undecided"


def _change_text(change: ClassChange) -> str:
    return f"{change.classifier}={change.label} {change.change:+.2f}"


def _list_changes(changes: Sequence[ClassChange]) -> str:
    """The first changes with their intervals, and how many more there are."""
    texts = [str(change) for change in changes[:FIRST]]
    if len(changes) > FIRST:
        texts.append(f"{len(changes) - FIRST} more")
    return ", ".join(texts)


def _not_controlling(effects: Sequence[UnitEffect]) -> list[str]:
    """How many units do not control the label, and for how many it is undecided."""
    refuted = sum(effect.status == "not supported" for effect in effects)
    # Units that change something else as well have a sentence of their own.
    undecided = sum(effect.status == "undecided" and not effect.together_with for effect in effects)
    sentences = []
    if refuted:
        verb = "does" if refuted == 1 else "do"
        limit = effects[0].smallest_effect
        sentences.append(f"{refuted} {verb} not: the rate rises by less than {limit:.2f}.")
    if undecided:
        sentences.append(f"For {undecided} it is undecided.")
    return sentences


def _with_limits(name: str, effect: Effect) -> dict[str, float]:
    return {name: effect.effect, f"{name}_low": effect.low, f"{name}_high": effect.high}


def _shortest_range(noun: str, ranges: list[RangeEffect]) -> str:
    """The shortest range of a stage whose effect is nearly the largest one.

    Of whole outputs, which include all earlier blocks, it is the range that ends first.
    """
    stage = ranges[0].stage
    # Only ranges whose interval is above 0, since other effects may be chance.
    certain = [effect for effect in ranges if effect.effect.low > 0]
    if not certain and max(effect.effect.high for effect in ranges) < NEGLIGIBLE:
        return f"In the {stage}, no range of {noun} has an effect by itself."
    if not certain:
        return f"In the {stage}, it is undecided whether a range of {noun} has an effect."
    best = max(effect.effect.effect for effect in certain)
    # The largest of many estimates is a little too high by chance: nearly all of it is enough.
    enough = [effect for effect in certain if effect.effect.effect >= NEARLY_ALL * best]
    # `ranges` are in the order of their parts, so the parts are too.
    firsts, lasts = (
        list(dict.fromkeys(getattr(effect, name) for effect in ranges))
        for name in ("first", "last")
    )
    chosen = min(
        enough,
        key=lambda effect: (
            # Whole outputs contain all before them: such a range counts by where it ends.
            lasts.index(effect.last)
            if effect.cumulative
            else lasts.index(effect.last) - firsts.index(effect.first)
        ),
    )
    # The shortest range that has nearly all of the largest effect: where to look first.
    single = chosen.first == chosen.last
    names = chosen.first if single else f"{chosen.first} to {chosen.last}"
    verb = "contain" if chosen.cumulative else "have"
    return (
        f"In the {stage}, {noun} {names} {verb} an effect of {chosen.effect}; the best of "
        f"{len(ranges)} ranges has {best:.2f}."
    )
