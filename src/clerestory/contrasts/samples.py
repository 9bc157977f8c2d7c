"""Which of a recording's samples are in which arm and half, and what is random about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clerestory.contrasts.arms import ARMS, HALVES
from clerestory.contrasts.confounds import confound_warnings
from clerestory.contrasts.design_makers import arm_grid, cell_design
from clerestory.contrasts.designs import Design
from clerestory.contrasts.findings import SAMPLE_COLUMNS
from clerestory.contrasts.predictions import PASSED
from clerestory.contrasts.queries import PREDICTED, column_values, matching_rows, query_columns
from clerestory.contrasts.sample_warnings import sample_warnings
from clerestory.errors import EmptyArmError, EvidenceError
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.registry import suggest

if TYPE_CHECKING:
    from clerestory.recordings import Recording

__all__ = [
    "ContrastSamples",
    "cell_prompts",
    "contrast_samples",
    "item_names",
    "random_halves",
    "split_names",
    "split_wording",
]

TEMPLATE, PHRASES = "template", ("phrase", "concept")
"""Columns of frames and of phrases where none are named."""


@dataclass(frozen=True, eq=False)
class ContrastSamples:
    """The samples of a contrast.

    Attributes:
        table: With the columns of `clerestory.contrasts.designs`; the index is the position among
            the recording's good samples.
        from_pictures: Whether the picture sets the arm, so that both sides come from one prompt.
        warnings: Limitations of these samples.
    """

    table: pd.DataFrame
    from_pictures: bool
    warnings: tuple[EvidenceWarning, ...] = ()

    def design(self, half: str) -> Design:
        """The comparison of a half.

        Args:
            half: `selection` or `evaluation`.

        Returns:
            Grids of arms, or cells that hold both sides.

        Raises:
            EmptyArmError: An arm is empty, or nothing is complete.
        """
        make = cell_design if self.from_pictures else arm_grid
        return make(self.table, half)


def contrast_samples(
    recording: Recording,
    queries: Mapping[str, str],
    labels: Mapping[str, pd.DataFrame],
    *,
    match: str | Sequence[str] = (),
    within: str | None = None,
    template: str | None = None,
    phrase: str | None = None,
    seed: int = 0,
) -> ContrastSamples:
    """Assign a recording's good samples to arms and halves.

    Args:
        recording: The recording.
        queries: By arm, over the recording's columns and the labels.
        labels: Predictions by half; each half is assigned by its own.
        match: Columns that identify the item.
        within: `prompt` to contrast the seeds of each prompt.
        template: The column of sentence frames; `template` if None.
        phrase: The column of phrases for the concept; if None `phrase`, or `concept` where no query
            names it.
        seed: Random seed of the halves.

    Returns:
        The samples that are used.

    Raises:
        EvidenceError: A column is missing, a query cannot be read, or a sample is in two arms.
        EmptyArmError: No sample matches a query.
    """
    # Numbered by position among the good samples, as `RecordedActivations` counts rows.
    table = recording.samples.iloc[recording.rows].reset_index(drop=True)
    rng = np.random.default_rng(seed)
    # Items, phrases, frames: the order of drawing is part of the figures.
    item = _items(table, match, within)
    half = random_halves(item, rng)
    pending = int((~recording.samples["done"].astype(bool)).sum())
    arm = _arms(table, queries, half, labels, pending)
    columns = set().union(*map(query_columns, queries.values()))
    # Labels of samples are of pictures, whatever their columns are called.
    labelled = {str(name) for part in labels.values() for name in part if name != PASSED}
    from_pictures = (
        within is not None
        or bool(columns & labelled)
        or any(PREDICTED.search(query) for query in queries.values())
    )
    samples = pd.DataFrame(
        {"prompt": table["prompt"], "item": item, "arm": arm, "half": half, "seed": table["seed"]}
    )
    # A column that a query or `match` names is what is compared, not the wording of it.
    named = columns.union(split_names(match))
    phrase_column = phrase or next(
        (name for name in PHRASES if name in table and name not in named), None
    )
    factors, warnings = _wording(table, arm, template, phrase_column, from_pictures)
    # After the wording, whose frames are judged by the arms.
    samples = samples.assign(**factors)[arm != ""]
    samples, shared = split_wording(samples, from_pictures, rng)
    warnings += shared
    if not from_pictures:
        _check_one_arm_each(samples)
    used = samples[list(SAMPLE_COLUMNS)]
    warnings += sample_warnings(recording, used)
    # With all columns of the recording, also those that are no part of the contrast; the wording
    # belongs to an arm by definition.
    wording = {column for column in (template, phrase_column) if column is not None}
    warnings += confound_warnings(table.loc[used.index], labels, used, named | wording)
    return ContrastSamples(used, from_pictures, tuple(warnings))


def split_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Names of columns, from a list or from text with commas.

    Args:
        names: Names of columns, each of which may be several with commas between.

    Returns:
        The names, without blanks around them.

    >>> split_names("who, place")
    ('who', 'place')
    """
    listed = [names] if isinstance(names, str) else names
    return tuple(part.strip() for name in listed for part in name.split(",") if part.strip())


def random_halves(levels: pd.Series[str], rng: np.random.Generator) -> pd.Series[str]:
    """Assign each level of a column to a half at random; halves differ by at most one level.

    Args:
        levels: A column, with a row for each sample.
        rng: Chooses the halves.

    Returns:
        `selection` or `evaluation` for each row.
    """
    # Sorted, so that the halves do not depend on the order of the samples.
    names = sorted(levels.unique())
    order = rng.permutation(len(names))
    # Alternate along the random order, so that the halves differ by at most one level.
    half = {names[at]: HALVES[position % 2] for position, at in enumerate(order)}
    return levels.map(half)


def cell_prompts(
    table: pd.DataFrame, control: Sequence[str], count: int, per_cell: int
) -> pd.DataFrame:
    """Choose prompts for `group`, of which it leaves none out.

    `group` compares samples of one item in one template and leaves out the templates of the other
    half. Here each item has a template of its own half, by the split that `group` makes with its
    default seed, so that half as many pictures are as good.

    Args:
        table: All prompts, with the factors and a column `template`.
        control: The factors that `group` controls: an item has one level of each.
        count: How many prompts.
        per_cell: How many of one item in one template, where there are as many.

    Returns:
        The prompts, in the order of the table.

    Raises:
        EvidenceError: There are too few cells for every template to be in one.
    """
    # A fixed generator: a plan and its resumption choose the same prompts.
    rng = np.random.default_rng(0)
    item = table[list(control)].astype(str).agg(" · ".join, axis=1)
    names = sorted(item.unique())
    cells = -(-count // per_cell)
    # The halves depend on which items there are: they are drawn after the items.
    chosen = [names[at] for at in rng.permutation(len(names))[:cells]]
    # As `group` draws them with its default seed: items first, then templates.
    halves = np.random.default_rng(0)
    item_half = random_halves(pd.Series(chosen, dtype=str), halves)
    templates = pd.Series(sorted(table["template"].unique()), dtype=str)
    template_half = random_halves(templates, halves)
    if cells <= len(templates) or len(chosen) <= len(templates):
        raise EvidenceError(
            f"{count} prompts, {per_cell} in a cell, are {min(cells, len(chosen))} cells; more than"
            f" {len(templates)} are needed, one for each template."
        )
    rows: list[int] = []
    for half in HALVES:
        items = [name for name, its in zip(chosen, item_half, strict=True) if its == half]
        frames = list(templates[template_half == half])
        # Cells beyond one for each item are further templates of the same items.
        for at in range(-(-cells * len(items) // len(chosen))):
            # The frame advances by one in each further cycle, so that an item meets another frame.
            cycle, position = divmod(at, len(items))
            frame = frames[(position + cycle) % len(frames)]
            inside = np.flatnonzero((item == items[position]) & (table["template"] == frame))
            rows += list(rng.permutation(inside)[:per_cell])
    return table.iloc[sorted(rows)].reset_index(drop=True)


def _items(table: pd.DataFrame, match: str | Sequence[str], within: str | None) -> pd.Series[str]:
    if within is not None:
        if within != "prompt":
            raise EvidenceError(f"within is {within!r}; expected 'prompt' or None.")
        if match:
            raise EvidenceError("`match` cannot be combined with within='prompt'.")
        names = ["item"] if "item" in table else ["prompt"]
    else:
        names = list(split_names(match)) or (["item"] if "item" in table else [])
    if not names:
        raise EvidenceError("No column is matched: name the one that identifies the item.")
    for name in names:
        _check_column(name, table, " to match")
    return item_names(table, names)


def item_names(table: pd.DataFrame, columns: Sequence[str]) -> pd.Series[str]:
    """The item of each sample.

    Args:
        table: A row for each sample.
        columns: The columns that together are the item.

    Returns:
        The levels of the columns, joined.

    Raises:
        EvidenceError: A sample has no value in a column, and so belongs to no item.
    """
    for column in columns:
        missing = int(table[column].isna().sum())
        if missing:
            raise EvidenceError(
                f"{missing} samples have no value in {column!r}: what they are about is not known."
            )
    return table[list(columns)].astype(str).agg(" · ".join, axis=1)


def _levels(values: pd.Series) -> pd.Series[str]:
    """A column as text, "" where it is missing."""
    return values.astype(object).where(values.notna(), "").astype(str)


def _arms(
    table: pd.DataFrame,
    queries: Mapping[str, str],
    half: pd.Series[str],
    labels: Mapping[str, pd.DataFrame],
    pending: int,
) -> pd.Series[str]:
    """The arm of each row, "" for none; each half is assigned by its own labels."""
    arms = pd.Series("", index=table.index)
    for name in HALVES:
        rows = half == name
        columns = pd.concat([table, labels[name].reset_index(drop=True)], axis=1)
        possible = rows & columns[PASSED] if PASSED in columns else rows
        for arm, query in queries.items():
            selected = matching_rows(columns, arm, query) & possible
            twice = selected & (arms != "")
            if twice.any():
                row = int(twice.to_numpy().argmax())
                raise EvidenceError(
                    f"{int(twice.sum())} samples are both {arms.iloc[row]} and {arm}, such as "
                    f"{table['prompt'].iloc[row]!r}: a sample must have the concept or lack it."
                )
            arms[selected] = arm
    for arm, query in queries.items():
        if not (arms == arm).any():
            # The samples of an arm may be those that are still to come.
            unfinished = (
                f" {pending:,} samples are not recorded yet: finish the recording by the command "
                "that began it."
                if pending
                else ""
            )
            raise EmptyArmError(
                f"No sample matches {arm} = {query!r}.{column_values(columns, query)}{unfinished}"
            )
    return arms


def _wording(
    table: pd.DataFrame,
    arm: pd.Series[str],
    template: str | None,
    phrase_column: str | None,
    from_pictures: bool,
) -> tuple[dict[str, pd.Series[str]], list[EvidenceWarning]]:
    """Phrase and frame of each sample, and a warning where the wording does not vary."""
    for name in (template, phrase_column):
        if name is not None:
            _check_column(name, table)
    frame_column = template or (TEMPLATE if TEMPLATE in table else None)
    empty = pd.Series("", index=table.index)
    frame = empty if frame_column is None else _levels(table[frame_column])
    phrase = empty if phrase_column is None else _levels(table[phrase_column])
    used = arm != ""
    if not from_pictures:
        # A frame that each phrase has to itself, or that one arm has to itself, is part of the
        # phrase: it does not cross the arms.
        pairs = pd.DataFrame({"arm": arm, "phrase": phrase, "frame": frame})[used]
        frames_of = pairs.groupby(["arm", "phrase"])["frame"].nunique()
        # One frame for each phrase, with several phrases in some arm.
        own = frames_of.max() == 1 and len(frames_of) > pairs["arm"].nunique()
        frames = [set(rows["frame"]) for _, rows in pairs.groupby("arm")]
        if own or not set.intersection(*frames):
            if frames_of.max() > 1 and len(frames_of) > len(frames):
                raise EvidenceError(
                    "The arms share no sentence frame, and their phrases are in several frames "
                    "each: cross the same frames with every arm, or list each whole sentence as a "
                    "phrase of its own."
                )
            phrase, frame = (phrase + " " + frame).str.strip(), empty
        # The same words in two arms are two phrases, each of its arm.
        phrase = arm + ": " + phrase
    warnings = []
    if from_pictures and frame_column is None and phrase_column is None:
        warnings.append(
            EvidenceWarning(
                "templates-not-varied",
                "Templates were not varied: the claim is about the wordings of these prompts.",
            )
        )
    return {"phrase": phrase, "template": frame}, warnings


def split_wording(
    samples: pd.DataFrame, from_pictures: bool, rng: np.random.Generator
) -> tuple[pd.DataFrame, list[EvidenceWarning]]:
    """Keep the samples whose phrase and frame are of their item's half.

    Only the two diagonal blocks of the grid remain: a wording of the other half would let it both
    select and evaluate.

    Args:
        samples: Columns `arm`, `phrase`, `template` and `half`.
        from_pictures: Whether the picture sets the arm; phrases are then of no arm.
        rng: Chooses the halves of phrases and frames.

    Returns:
        The samples that remain, and a warning where both halves share a wording.
    """
    used = pd.Series(True, index=samples.index)
    shared = []
    groups = (
        [samples.index]
        if from_pictures
        else [samples.index[samples["arm"] == arm] for arm in ARMS if (samples["arm"] == arm).any()]
    )
    # Where an arm has one phrase both halves share it, and so they do in all arms.
    if min(len(samples.loc[rows, "phrase"].unique()) for rows in groups) > 1:
        for rows in groups:
            # Phrases of each arm are split by themselves, so that every arm
            # has phrases in both halves.
            half = random_halves(samples.loc[rows, "phrase"], rng)
            used[rows] &= half == samples.loc[rows, "half"]
    elif not from_pictures:
        shared.append("phrases")
    if len(samples["template"].unique()) > 1:
        used &= random_halves(samples["template"], rng) == samples["half"]
    elif shared or (from_pictures and (samples["template"] != "").any()):
        shared.append("sentence frames")
    warnings = (
        [
            EvidenceWarning(
                "shared-templates",
                f"Both halves use the same {' and '.join(shared)}: what was found may be specific "
                "to this wording. Record several.",
            )
        ]
        if shared
        else []
    )
    return samples[used], warnings


def _check_one_arm_each(samples: pd.DataFrame) -> None:
    arms = samples.groupby("prompt")["arm"].nunique()
    several = list(arms.index[arms > 1])
    if several:
        raise EvidenceError(
            f"{len(several)} prompts are in more than one arm, for example {several[0]!r}: a prompt"
            " must have the concept or lack it. To contrast the seeds of a prompt, use `within`."
        )


def _check_column(name: str, table: pd.DataFrame, purpose: str = "") -> None:
    if name not in table:
        hint = suggest(name, [str(column) for column in table])
        raise EvidenceError(f"There is no column {name!r}{purpose}.{hint}")
