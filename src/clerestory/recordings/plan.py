"""What a recording will hold, fixed before the first sample is drawn.

The plan says which sample stands in which row. Everything that a value depends on is in it, so two
recorders with the same plan fill the same rows with the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clerestory.errors import PromptError, RecordingError
from clerestory.io.parquet import to_parquet
from clerestory.io.reading import wrap_errors
from clerestory.io.validation import validate
from clerestory.models import Model, Options, Sample
from clerestory.models.core import runner as running
from clerestory.models.core.addresses import Selection
from clerestory.models.core.seeds import check_seeds
from clerestory.models.core.types import Branch, Pool
from clerestory.recordings.prompts import prompt_table, repeated

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMAT", "OfModel", "Plan", "check_model", "check_same", "make_plan"]

FORMAT = 2
"""The version of what lies on disk."""
# Drawing takes far longer than reading alone, so fewer samples are lost with a chunk that is
# killed.
_BATCHES = {True: 8, False: 64}
"""Batches a chunk where pictures are drawn, and where they are not."""


@dataclass(frozen=True)
class Plan:
    """Samples, and how they are drawn and read.

    Attributes:
        table: One row a sample, with `prompt`, `seed` and the factors.
        model: What tells the model from others: name, revision, how it was
            loaded, pipeline, scheduler, dtype.
        options: How all samples are drawn.
        read: Units and steps to read by site.
        pool: How positions are pooled.
        branch: The branch of guidance that is read.
        pictures: Whether pictures are drawn and kept.
        batch: Samples that are drawn together.
        chunk: Rows that are kept together; a multiple of `batch`.
        threads: torch's number of threads.
    """

    table: pd.DataFrame
    model: Mapping[str, Any]
    options: Options
    read: Mapping[str, Selection]
    pool: Pool
    branch: Branch
    pictures: bool
    batch: int
    chunk: int
    threads: int

    def __len__(self) -> int:
        return len(self.table)

    @property
    def chunks(self) -> int:
        """How many chunks there are; the last may be shorter."""
        # Rounded up in whole numbers.
        return -(-len(self) // self.chunk)

    def rows(self, chunk: int) -> range:
        """The rows of a chunk.

        Args:
            chunk: Which one, from 0.

        Returns:
            Rows of the table; the last chunk may be shorter.
        """
        return range(chunk * self.chunk, min((chunk + 1) * self.chunk, len(self)))

    def batches(self, chunk: int) -> Iterator[range]:
        """The rows of a chunk, batch by batch: always the same samples together.

        Args:
            chunk: Which one, from 0.

        Yields:
            Rows of the table, `batch` or fewer.
        """
        rows = self.rows(chunk)
        for start in range(rows.start, rows.stop, self.batch):
            yield range(start, min(start + self.batch, rows.stop))

    def request(self, rows: range) -> running.Request:
        """What the model is asked for some rows.

        Args:
            rows: Rows of the table.

        Returns:
            A request of one batch, without edits or taps.
        """
        part = self.table.iloc[rows.start : rows.stop]
        samples = tuple(
            Sample(prompt, int(seed), self.options)
            for prompt, seed in zip(part["prompt"], part["seed"], strict=True)
        )
        return running.Request(
            samples=samples,
            read=self.read,
            edit_sets=((),),
            pool=self.pool,
            branch=self.branch,
            pictures=self.pictures,
            stop="auto",
            # The rows are one batch already, by `batches`.
            batch=len(samples),
            taps={},
            progress=False,
        )

    @cached_property
    def digest(self) -> str:
        """A digest of the table: every prompt, seed and factor, in their order."""
        records = self.table.to_json(orient="split", index=False)
        return hashlib.sha256(records.encode()).hexdigest()

    @cached_property
    def parquet(self) -> bytes:
        """The table as it lies on disk; RecordingError where it could not be read again."""
        return to_parquet(self.table, "The plan", RecordingError)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON has it; its table by its digest."""
        fields = {
            "format": FORMAT,
            "samples": len(self),
            "table": self.digest,
            "model": dict(self.model),
            "options": asdict(self.options),
            "read": {site: asdict(wanted) for site, wanted in self.read.items()},
            "pool": self.pool,
            "branch": self.branch,
            "pictures": self.pictures,
            "batch": self.batch,
            "chunk": self.chunk,
            "threads": self.threads,
        }
        # Through JSON, so that it compares equal to one that was read: tuples become lists.
        plain: dict[str, Any] = json.loads(json.dumps(fields))
        return plain

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], table: pd.DataFrame) -> Plan:
        """Restore a plan.

        Args:
            fields: What `to_dict` gave, perhaps from a file that was altered.
            table: The table of samples.

        Returns:
            The plan.

        Raises:
            RecordingError: A field does not fit, or the table is not the one that was planned.
        """
        read = validate(_PlanFields, fields, "manifest.json: plan", RecordingError)
        named = {name: own for name, own in vars(read).items() if name not in _NOT_IN_PLAN}
        plan = cls(table=table, **{**named, "model": asdict(read.model)})
        with wrap_errors("samples.parquet", RecordingError):
            same = plan.digest == read.table
        if not same:
            raise RecordingError(
                "samples.parquet is not the table that was planned: it was altered."
            )
        for name in ("batch", "chunk", "threads"):
            # Bounded, as whatever a file says: ranges and buffers are made by them.
            if not 1 <= getattr(plan, name) < 2**31:
                raise RecordingError(f"manifest.json was altered: {name} is {fields[name]}.")
        _check_table(table)
        return plan


@dataclass(frozen=True)
class OfModel:
    """What a plan says of its model; `how` are names, and nothing that could make code run."""

    name: str
    revision: str
    how: Mapping[Literal["prior", "lora", "config"], str]
    pipeline: str
    scheduler: str
    dtype: str


@dataclass(frozen=True)
class _PlanFields:
    """What `Plan.to_dict` gives."""

    format: int
    samples: int
    table: str
    model: OfModel
    options: Options
    read: Mapping[str, Selection]
    pool: Pool
    branch: Branch
    pictures: bool
    batch: int
    chunk: int
    threads: int


_NOT_IN_PLAN = ("format", "samples", "table")


def _check_table(table: pd.DataFrame) -> None:
    """RecordingError where a table has no prompts or seeds."""
    prompts, seeds = table.get("prompt"), table.get("seed")
    texts = prompts is not None and all(isinstance(one, str) for one in prompts)
    if not texts or seeds is None or seeds.dtype.kind not in "iu" or table.index.nlevels > 1:
        raise RecordingError(
            "samples.parquet has no prompts or no seeds: expected columns `prompt` and `seed`."
        )


def make_plan(
    model: Model,
    prompts: str | Path | Sequence[str] | pd.DataFrame,
    seeds: int | Sequence[int] = 0,
    *,
    sites: str | Sequence[str],
    pool: Pool = "mean",
    branch: Branch = "cond",
    pictures: bool = True,
    batch: int = 16,
    chunk: int | None = None,
    **options: Any,
) -> Plan:
    """Plan prompts × seeds, prompt by prompt; nothing is drawn.

    Args:
        model: What will be run; it checks the prompts.
        prompts: As `prompt_table` takes them.
        seeds: One or more; every prompt is drawn with each.
        sites: Patterns of the sites to read.
        pool: How positions are pooled.
        branch: The branch of guidance that is read.
        pictures: Whether pictures are drawn and kept.
        batch: Samples that are drawn together, at most.
        chunk: Rows that are kept, and counted as done, together: eight batches of pictures or 64
            without, unless you say otherwise; it is rounded up to whole batches.
        **options: Fields of `Options`.

    Returns:
        The plan.

    Raises:
        PromptError: A prompt cannot be drawn, or a column's name cannot be a coordinate.
        RecordingError: `batch` or `chunk` is below 1, or there are too many samples.
        SiteError, SeedError, OptionError: The model has or takes no such thing.
    """
    import torch

    table = prompt_table(prompts)
    selected = model.sites.select(sites) if sites else {}
    _check_columns(table, selected)
    numbers = check_seeds(seeds)
    drawn = model.options(**options)
    # One seed is enough to check the prompts and options.
    running.list_samples(model, list(table["prompt"].drop_duplicates()), 0, drawn)
    for name, value in (("batch", batch), ("chunk", chunk)):
        if value is not None and value < 1:
            raise RecordingError(f"{name} is {value}; it must be 1 or more.")
    together = min(batch, model.family.max_batch or batch)
    wanted = chunk or together * _BATCHES[pictures]
    plan = Plan(
        table=repeated(table, numbers),
        model=_identify(model),
        options=drawn,
        read=selected,
        pool=pool,
        branch=branch,
        pictures=pictures,
        batch=together,
        chunk=-(-wanted // together) * together,
        # Part of the plan, since another number of threads gives other last bits.
        threads=torch.get_num_threads(),
    )
    running.check_request(model, plan.request(range(len(plan))))
    return plan


def _check_columns(table: pd.DataFrame, sites: Iterable[str]) -> None:
    """PromptError where a factor's name cannot be that of a coordinate beside the sites."""
    # In the tree a coordinate and a group cannot have one name.
    groups = {site.partition("/")[0] for site in sites} | {"pictures"}
    for name in map(str, table):
        if name in groups or "/" in name or name.startswith("__") or not name.strip("."):
            raise PromptError(
                f"The column {name!r} cannot be a coordinate of a recording, because of its name: "
                "rename it."
            )


def _identify(model: Model) -> dict[str, Any]:
    """What tells one model from another, as far as it can be known."""
    pipeline = model.pipeline
    scheduler = getattr(pipeline, "scheduler", None)
    return {
        "name": model.name,
        "revision": model.revision,
        "how": dict(model.load_options),
        "pipeline": type(pipeline).__name__,
        "scheduler": type(scheduler).__name__ if scheduler is not None else "",
        "dtype": str(getattr(pipeline, "dtype", "")).removeprefix("torch."),
    }


def check_model(model: Model, plan: Plan) -> None:
    """Check that a plan was made with this model.

    Models are compared by name, revision, how they were loaded, pipeline, scheduler and precision.

    Args:
        model: The model that is to go on.
        plan: The plan of the recording.

    Raises:
        RecordingError: It is another model; the message names the differences.
    """
    differing = [
        f"{name}: {_short(there)} there, {_short(here)} here"
        for name, here, there in _differences(_identify(model), plan.model)
    ]
    if differing:
        raise RecordingError(
            f"The recording was planned with another model ({'; '.join(differing[:6])})."
        )


def check_same(plan: Plan, fields: Mapping[str, Any]) -> None:
    """Check that a folder was begun with this plan.

    The number of threads may differ: who goes on takes the number that was begun with.

    Args:
        plan: The plan that is to go on.
        fields: The plan in the folder's manifest.

    Raises:
        RecordingError: It is another plan; the message names the differences.
    """
    ours = {**plan.to_dict(), "threads": fields["threads"]}
    differing = [
        "other prompts, seeds or factors"
        if name == "table"
        else f"{name}: {_short(there)} there, {_short(here)} here"
        for name, here, there in _differences(ours, fields)
    ]
    if differing:
        raise RecordingError(
            f"The folder holds a recording of another plan ({'; '.join(differing[:6])}"
            f"{'; …' if len(differing) > 6 else ''}): give the same arguments, or another folder."
        )


def _differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys([*ours, *theirs]):
        here, there = ours.get(name), theirs.get(name)
        if isinstance(here, dict) and isinstance(there, dict):
            yield from _differences(here, there, f"{prefix}{name}.")
        elif here != there:
            yield f"{prefix}{name}", here, there


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) < 40 else text[:37] + "…"
