"""Try every rung of the ladder on half of the sentences, report on the other half, choose one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clerestory.attribution import SegmentedPrompt, paraphrase
from clerestory.attribution.paraphrases import fits_window
from clerestory.classifiers import classifier
from clerestory.errors import EvidenceError, SearchError
from clerestory.evaluation import CacheOption, Condition, Design, Drawing, Evaluator
from clerestory.models.core.seeds import check_seeds
from clerestory.registry import suggest
from clerestory.steering import SteeredModel
from clerestory.suppression.case import Case
from clerestory.suppression.methods import RUNGS, Means, Setting
from clerestory.suppression.results import Rung, Suppressed
from clerestory.suppression.scoring import Judged, same
from clerestory.suppression.stage import Stage
from clerestory.types import Progress

__all__ = ["suppress"]

LEAST, MOST = 10, 24
"""Sentences that a half has at least, and by default at most."""
NOISES = 8
"""That settings are tried with."""
DROP, KEEP = 0.8, 0.9
"""Of the excess, what has to go; of what is to stay, what has to."""


def suppress(
    case: Case,
    *,
    tune: int | None = None,
    report: int | None = None,
    seeds: int | Sequence[int] = (0, 1),
    elsewhere: Sequence[str] = (),
    budget: int = 300,
    only: Sequence[str] = (),
    cache: CacheOption = True,
    progress: Progress | None = None,
) -> Suppressed:
    """Climb the ladder.

    `tune` sentences choose each rung's setting by set a, one noise each of a few that the report
    has not; `report` others tell by set b: 24 each, or halves of what there is. `elsewhere` are
    prompts of other things, for what it does to them. `budget` prompts are scored for words; with 0
    none are searched. `only` names rungs; what cannot be built is left out, with a warning.
    EvidenceError where the prompt shows no more of the unwanted than its control, or never one of
    what is to be kept, or where no rung can be built.
    """
    tell, names = progress or _silent, _named(only, budget)
    numbers = check_seeds(seeds)
    for text in elsewhere:
        case.model.check_prompt(text)
    first, second, few = _halves(case, tune, report)
    evaluator = Evaluator(case.model, cache, progress=tell)
    start = Stage(case, first, _noises(numbers, len(first)), "selection", evaluator)
    for problem in start.problems():
        raise EvidenceError(problem)
    longest = _longest(case, (*first, *second))
    rungs, missing = _built(names, Means(case, first, start.instead(), longest, budget, tell))
    picked = _tuned(start, rungs)
    end = Stage(case, second, numbers, "evaluation", evaluator)
    found = _reports(end, picked, elsewhere)
    chosen, short = _chosen(found)
    steered, by = _steered(case, found, chosen)
    return Suppressed(
        case=case,
        before=end.judged(end.before),
        control=end.judged(end.control),
        rungs=tuple(found),
        chosen=chosen,
        steered=steered,
        steered_by=by,
        contents=len(second),
        seeds=len(numbers),
        warnings=(*few, *_one_set(case), *missing, *end.problems(), *short),
        pictures={"before": end.before.by_item, "control": end.control.by_item},
    )


def _longest(case: Case, sentences: Sequence[SegmentedPrompt]) -> str:
    """That of the most tokens."""
    return max(
        (one.full_text for one in sentences), key=lambda text: len(case.model.tokenize(text))
    )


def _named(only: Sequence[str], budget: int) -> list[str]:
    """The rungs that are asked for; EvidenceError for one that there is not."""
    for name in only:
        if name not in RUNGS:
            raise EvidenceError(f"No rung is called {name!r}.{suggest(name, RUNGS)}")
    return list(dict.fromkeys(only)) or [one for one in RUNGS if budget or one != "suffix search"]


def _halves(
    case: Case, tune: int | None, report: int | None
) -> tuple[Sequence[SegmentedPrompt], Sequence[SegmentedPrompt], list[str]]:
    """Sentences that tune, others that report, and a warning where there are fewer than usual.

    EvidenceError where there are not enough.
    """
    if any(one is not None and one < LEAST for one in (tune, report)):
        raise EvidenceError(f"Give {LEAST} sentences or more to tune with, and to report on.")
    count, least = (tune or MOST) + (report or MOST), 2 * LEAST
    try:
        every = paraphrase(case.prompt, count, at_least=least, model=case.model)
    except EvidenceError as error:
        raise EvidenceError(
            f"This prompt has fewer than {least} paraphrases that fit the text window: too few to "
            "tune with and to report on."
        ) from error
    there = len(every)
    first = tune or min(MOST, there - report if report else there // 2)
    second = report or min(MOST, there - first)
    told = f"This prompt has {there} paraphrases"
    if min(first, second) < LEAST or first + second > there:
        raise EvidenceError(
            f"{told}: too few for {tune or LEAST} to tune with and {report or LEAST} to report on."
        )
    usual = (first, second) == (tune or MOST, report or MOST)
    few = [] if usual else [f"{told}: {first} tune and {second} report."]
    return every[:first], every[first : first + second], few


def _one_set(case: Case) -> list[str]:
    """A warning of classifiers of which there is only one set."""
    names = [
        name
        for name in dict.fromkeys(name for name, _ in (*case.unwanted, *case.kept))
        if classifier(name, role="selection").source == classifier(name, role="evaluation").source
    ]
    if not names:
        return []
    return [
        f"There is only one set of {' and '.join(names)}: the same judge tunes and reports, which "
        "flatters the figures."
    ]


def _built(names: Sequence[str], means: Means) -> tuple[dict[str, list[Setting]], list[str]]:
    """Each rung's ways, and warnings of those that have none; EvidenceError where none has any."""
    found: dict[str, list[Setting]] = {}
    missing: dict[str, list[str]] = {}
    for name in names:
        try:
            found[name] = RUNGS[name](means)
        except (EvidenceError, SearchError) as why:
            missing.setdefault(str(why), []).append(name)
    warnings = [f"Left out: {', '.join(own)}. {why}" for why, own in missing.items()]
    if not found:
        raise EvidenceError(" ".join(warnings))
    return found, warnings


def _tuned(stage: Stage, rungs: Mapping[str, Sequence[Setting]]) -> list[tuple[Setting, Judged]]:
    """The best setting of each rung, as the selection classifiers see it."""
    found = []
    for name, settings in rungs.items():
        drawings = stage.draw([one.condition for one in settings], f"trying settings: {name}")
        tried = list(zip(settings, map(stage.judged, drawings), strict=True))
        found.append(max(tried, key=lambda pair: (pair[1].worth, pair[1].certainty)))
    return found


def _reports(
    stage: Stage, picked: Sequence[tuple[Setting, Judged]], others: Sequence[str]
) -> list[Rung]:
    """Each rung on the half that reports, and on other prompts."""
    conditions = [setting.condition for setting, _ in picked]
    drawings = stage.draw(conditions, "reporting rungs")
    plain = None
    if others:
        (plain,) = stage.evaluator.draw([Condition("before")], Design.crossed(others))
    found = []
    for (setting, tuned), drawing in zip(picked, drawings, strict=True):
        came = stage.judged(drawing)
        ira, cra = (None, None) if plain is None else _elsewhere(stage, setting.condition, plain)
        found.append(Rung(setting, tuned, came, 1 - came.unwanted, ira, cra, drawing.by_item))
    return found


def _elsewhere(
    stage: Stage, condition: Condition, plain: Drawing
) -> tuple[float | None, float | None]:
    """How often the unwanted's classifiers, and the rest, see the same in the others' pictures."""
    model, others = stage.case.model, plain.design.items
    fit = [at for at, text in enumerate(others) if fits_window(model, [condition.prompt(text)])]
    if not fit:
        return None, None
    plain = plain.select(fit)
    (drawing,) = stage.evaluator.draw([condition], plain.design, label="drawing other prompts")
    names = {name for name, _ in stage.case.unwanted}
    pairs = [
        *zip(stage.case.unwanted, stage.judges.unwanted, strict=True),
        *zip(stage.case.kept, stage.judges.kept, strict=True),
    ]
    opened = {name: label.classifier for (name, _), label in pairs} | dict(stage.judges.others)
    unwanted = [one for name, one in opened.items() if name in names]
    rest = [one for name, one in opened.items() if name not in names]
    return same(drawing, plain, unwanted), same(drawing, plain, rest)


def _chosen(rungs: Sequence[Rung]) -> tuple[Rung, list[str]]:
    """By what set a saw: of those that do enough the surest, else the best."""
    enough = [
        one
        for one in rungs
        if (one.tuned.drop or 0) >= DROP and (one.tuned.kept_share or 0) >= KEEP
    ]
    if enough:
        return max(enough, key=lambda one: one.tuned.certainty), []
    best = max(rungs, key=lambda one: one.tuned.worth)
    return best, [
        f"No rung took away {DROP:.0%} of the excess and kept {KEEP:.0%} of what is to stay."
    ]


def _steered(
    case: Case, rungs: Sequence[Rung], chosen: Rung
) -> tuple[SteeredModel, str] | tuple[None, None]:
    """The chosen rung as a model; where it has no edits, the best of those that have, if any."""
    edited = [one for one in rungs if one.way.condition.edits]
    if not edited:
        return None, None
    own = chosen if chosen.way.condition.edits else max(edited, key=lambda one: one.tuned.worth)
    away = ", ".join(shows for _, shows in case.unwanted)
    about = {"shows": f"without {away}", "rung": own.name, "setting": own.way.setting}
    figures = {"evaluation": dict(own.came.by_class), "kept_share": own.came.kept_share}
    told = {**about, **figures, "drop": own.came.drop, "prompt": case.prompt.full_text}
    return SteeredModel(case.model, own.way.condition.edits, calibration=told), own.name


def _noises(seeds: Sequence[int], count: int) -> list[int]:
    """So many seeds, a few over and over, none of which is among these."""
    free = [seed for seed in range(len(seeds) + NOISES) if seed not in set(seeds)]
    return [free[at % NOISES] for at in range(count)]


def _silent(what: str, done: int, of: int) -> None:
    pass
