"""The plan of a recording, fixed before the first sample is drawn.

It assigns a row to each sample and has everything that a value depends on, so two processes with
the same plan fill the same rows with the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from clerestory.checks import check_minimum
from clerestory.errors import PromptError, RecordingError
from clerestory.io.parquet import to_parquet
from clerestory.io.reading import wrap_errors
from clerestory.io.validation import to_jsonable, validate
from clerestory.models import Model, Options, Sample
from clerestory.models.core.addresses import SiteSelection
from clerestory.models.core.pipeline_state import hold_pipeline
from clerestory.models.core.requests import Request, list_samples
from clerestory.models.core.runner import check_request
from clerestory.models.core.types import Branch, Pool
from clerestory.models.provenance import (
    dictionary_digests,
    settings_digest,
    weight_values_digest,
    weights_digest,
)
from clerestory.recordings.prompts import prompt_table, with_seeds
from clerestory.reporting.progress import progress_bars

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMAT", "ModelIdentity", "Plan", "check_model", "check_same", "make_plan"]

FORMAT = 5
"""Version of the files of a recording."""
MAX_NAME = 200
"""Bytes of a column's name: file systems take 255 for the name of a folder."""
DIGESTS = ("weights", "settings", "values")
"""Those of a model, unknown where they are ""."""
BATCHES_PER_CHUNK = {True: 8, False: 64}
"""Batches per chunk, with pictures and without: drawing takes far longer than reading alone, so a
kill should lose fewer samples."""


@dataclass(frozen=True)
class ModelIdentity:
    """The properties by which models are compared.

    Attributes:
        name: The name that `load` opens it by.
        revision: Revision of the checkpoint; "" where there is none.
        weights: Digest of the weights, adapters included; "" where they cannot be reached.
        load_options: Arguments of `load` that change the weights. All are names, so that nothing in
            a manifest can make code run.
        pipeline: Class name of the pipeline.
        scheduler: Class name of the scheduler; "" where there is none.
        dtype: Precision of the weights, such as `bfloat16`.
        settings: Digest of its schedulers and settings; "" in a recording of an earlier version.
        values: Digest of every bit of the weights; "" where they cannot be reached.
        dictionaries: Digests of the dictionaries whose latents are read, by their addresses.
    """

    name: str
    revision: str
    weights: str
    load_options: Mapping[Annotated[str, Field(pattern="^(prior|lora|config)$")], str]
    pipeline: str
    scheduler: str
    dtype: str
    settings: str = ""
    values: str = ""
    dictionaries: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, sites: Iterable[str] = ()) -> ModelIdentity:
        """The identity of an opened model.

        Args:
            model: The model.
            sites: Addresses of the sites that are read.

        Returns:
            Its identity; loading the model in another way gives another one.
        """
        pipeline = model.pipeline
        scheduler = getattr(pipeline, "scheduler", None)
        return cls(
            name=model.name,
            revision=model.revision,
            # A few hundred signs of each matrix: a moment, also for models of many gigabytes.
            weights=weights_digest(pipeline),
            load_options=dict(model.load_options),
            pipeline=type(pipeline).__name__,
            scheduler="" if scheduler is None else type(scheduler).__name__,
            dtype=str(getattr(pipeline, "dtype", "")).removeprefix("torch."),
            settings=settings_digest(pipeline),
            values=weight_values_digest(pipeline),
            # Of those that are read alone: another one at the model makes no difference.
            dictionaries={
                address: digest
                for address, digest in dictionary_digests(model).items()
                if address in set(sites)
            },
        )


@dataclass(frozen=True)
class PlanSettings:
    """How all samples of a plan are drawn and read.

    Attributes:
        model: The model that is run.
        options: Options of the pipeline.
        read: Units and steps to read by site.
        pool: Pooling of positions.
        branch: Branch of guidance that is read.
        pictures: Whether pictures are drawn and stored.
        batch: Samples that are drawn together.
        chunk: Rows that are stored together; a multiple of `batch`.
        threads: Number of threads of torch.
    """

    model: ModelIdentity
    options: Options
    read: Mapping[str, SiteSelection]
    pool: Pool
    branch: Branch
    pictures: bool
    batch: int
    chunk: int
    threads: int


@dataclass(frozen=True)
class _SavedPlan(PlanSettings):
    """The plan in a manifest: its table lies beside it."""

    format: int
    samples: int
    table: str


@dataclass(frozen=True)
class Plan(PlanSettings):
    """Samples, and how they are drawn and read.

    Attributes:
        table: One row per sample, with `prompt`, `seed` and the factors.
    """

    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.table)

    @property
    def chunks(self) -> int:
        """Number of chunks; the last may be shorter."""
        # Rounded up.
        return -(-len(self) // self.chunk)

    def rows(self, chunk: int) -> range:
        """The rows of a chunk.

        Args:
            chunk: Index of the chunk.

        Returns:
            Rows of the table; the last chunk may be shorter.
        """
        return range(chunk * self.chunk, min((chunk + 1) * self.chunk, len(self)))

    def batches(self, chunk: int) -> Iterator[range]:
        """The rows of a chunk, batch by batch.

        Args:
            chunk: Index of the chunk.

        Yields:
            Rows of the table, at most `batch`; the same at every call.
        """
        rows = self.rows(chunk)
        for start in range(rows.start, rows.stop, self.batch):
            yield range(start, min(start + self.batch, rows.stop))

    def request(self, rows: range) -> Request:
        """The request to the model for some rows.

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
        return Request(
            samples=samples,
            read=self.read,
            edit_sets=((),),
            pool=self.pool,
            branch=self.branch,
            pictures=self.pictures,
            stop="auto",
            # The rows are one batch, from `batches`.
            batch=len(samples),
            taps={},
            progress=False,
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the table: every prompt, seed and factor, in order."""
        # By content, not by the file, whose bytes depend on the version of pyarrow.
        records = self.table.to_json(orient="split", index=False)
        return hashlib.sha256(records.encode()).hexdigest()

    @cached_property
    def parquet(self) -> bytes:
        """The table as Parquet; RecordingError if it is too large to be read again."""
        return to_parquet(self.table, "The plan", RecordingError)

    def to_dict(self) -> dict[str, Any]:
        """The plan for JSON; its table is represented by a digest."""
        return to_jsonable(
            _SavedPlan(format=FORMAT, samples=len(self), table=self.digest, **_settings(self))
        )

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], table: pd.DataFrame) -> Plan:
        """Restore a plan.

        Args:
            content: What `to_dict` returned, perhaps from a file that was altered.
            table: The table of samples.

        Returns:
            The plan.

        Raises:
            RecordingError: A field does not fit, or the table is not the planned one.
        """
        saved = validate(_SavedPlan, content, "manifest.json: plan", RecordingError)
        for name in ("batch", "chunk", "threads"):
            # Bounded, because ranges and buffers of this size are created.
            if not 1 <= getattr(saved, name) < 2**31:
                raise RecordingError(f"manifest.json was altered: {name} is {content[name]}.")
        plan = cls(table=table, **_settings(saved))
        # A column of a strange type may fail to serialise.
        with wrap_errors("samples.parquet", RecordingError):
            unaltered = plan.digest == saved.table
        if not unaltered:
            raise RecordingError("samples.parquet is not the planned table: it was altered.")
        _check_table(table)
        return plan


def _settings(plan: PlanSettings) -> dict[str, Any]:
    return {each.name: getattr(plan, each.name) for each in fields(PlanSettings)}


def _check_table(table: pd.DataFrame) -> None:
    """RecordingError if a table has no prompts or seeds."""
    prompts, seeds = table.get("prompt"), table.get("seed")
    are_texts = prompts is not None and all(isinstance(prompt, str) for prompt in prompts)
    if not are_texts or seeds is None or seeds.dtype.kind not in "iu" or table.index.nlevels > 1:
        raise RecordingError(
            "samples.parquet has no prompts or no seeds: expected columns `prompt` and `seed`."
        )


def make_plan(
    model: Model,
    prompts: str | Path | Sequence[str] | pd.DataFrame,
    seeds: int | Sequence[int] | None = None,
    *,
    sites: str | Sequence[str],
    seeds_per_item: int | None = None,
    seed: int = 0,
    pool: Pool = "mean",
    branch: Branch = "cond",
    pictures: bool = True,
    batch: int = 16,
    chunk: int | None = None,
    **options: Any,
) -> Plan:
    """Plan a recording of prompts with their seeds, prompt by prompt; nothing is drawn.

    Args:
        model: The model, which checks the prompts.
        prompts: As in `prompt_table`.
        seeds: One seed or several; every prompt is drawn with each of them. By default 0.
        sites: Patterns of the sites to read.
        seeds_per_item: Instead of `seeds`: the number of seeds of each item, derived from `seed`
            and the item. They are shared by all prompts with the same value of the column `item`;
            without that column, every prompt is an item.
        seed: Gives other seeds for the same items.
        pool: Pooling of positions.
        branch: Branch of guidance that is read.
        pictures: Whether pictures are drawn and stored.
        batch: Limit of the samples that are drawn together.
        chunk: Rows that are stored, and complete, together, rounded up to whole batches; by default
            8 batches with pictures, 64 without.
        **options: Fields of `Options`.

    Returns:
        The plan.

    Raises:
        PromptError: A prompt cannot be drawn, or the name of a column cannot be a coordinate.
        RecordingError: `batch` or `chunk` is below 1, or there are too many samples.
        SiteError, SeedError, OptionError: The model has no such site, or takes no such argument.
    """
    import torch

    table = prompt_table(prompts)
    selected = model.sites.select(sites) if sites else {}
    _check_columns(table, selected)
    samples = with_seeds(table, seeds, seeds_per_item, seed)
    run_options = model.options(**options)
    # One seed is enough to check the prompts and options.
    list_samples(model, list(table["prompt"].drop_duplicates()), 0, run_options)
    check_minimum(RecordingError, 1, batch=batch)
    if chunk is not None:
        check_minimum(RecordingError, 1, chunk=chunk)
    with hold_pipeline(model.pipeline), progress_bars() as progress:
        model.family.prepare(run_options, progress)
    # Some families draw one sample at a time.
    hooked = list(dict.fromkeys(model.hooks_by_address[site].base for site in selected))
    batch_size = min(batch, model.family.batch_limit(hooked, run_options) or batch)
    rows = chunk or batch_size * BATCHES_PER_CHUNK[pictures]
    plan = Plan(
        table=samples,
        model=ModelIdentity.of(model, selected),
        options=run_options,
        read=selected,
        pool=pool,
        branch=branch,
        pictures=pictures,
        batch=batch_size,
        # Rounded up to whole batches, so that no batch is divided between two chunks.
        chunk=-(-rows // batch_size) * batch_size,
        # Part of the plan: another number of threads changes the last bits.
        threads=torch.get_num_threads(),
    )
    # Everything that can be refused is refused before the first sample.
    check_request(model, plan.request(range(len(plan))))
    return plan


def _check_columns(table: pd.DataFrame, sites: Iterable[str]) -> None:
    """PromptError if the name of a factor cannot be a coordinate beside the sites."""
    # A coordinate and a group of the tree cannot have the same name.
    groups = {site.partition("/")[0] for site in sites} | {"pictures"}
    for name in map(str, table):
        # A coordinate is a folder of its name.
        is_file_name = name.isprintable() and len(name.encode(errors="replace")) <= MAX_NAME
        if (
            name in groups
            or "/" in name
            or name.startswith("__")
            or not name.strip(".")
            or not is_file_name
        ):
            raise PromptError(
                f"The column {name!r:.80} cannot be a coordinate of a recording, because of its "
                "name: rename it."
            )


def check_model(model: Model, recorded: ModelIdentity, *, any_dtype: bool = False) -> None:
    """Check that a model is the one that was recorded.

    Models are compared by their `ModelIdentity`; weights only where both digests are known, since
    those of an offloaded model cannot be read.

    Args:
        model: The model that continues.
        recorded: The model of the recording.
        any_dtype: Whether it may have another precision, in which its weights have other bits.

    Raises:
        RecordingError: It is another model; the message names the differences.
    """
    current = asdict(ModelIdentity.of(model, recorded.dictionaries))
    if any_dtype and current["dtype"] != recorded.dtype:
        current |= {"dtype": recorded.dtype, "values": ""}
    differences = list(_differences(current, asdict(recorded)))
    if differences:
        raise RecordingError(
            f"The recording was planned with another model ({'; '.join(differences[:6])})."
        )


def check_same(plan: Plan, saved: Mapping[str, Any]) -> None:
    """Check that a recording has this plan.

    The number of threads may differ: the recording is continued with the number in its plan.

    Args:
        plan: The plan.
        saved: The plan in the manifest of the recording.

    Raises:
        RecordingError: It is another plan; the message names the differences.
    """
    # Threads are the recording's own: whoever resumes it uses as many.
    differences = list(_differences({**plan.to_dict(), "threads": saved["threads"]}, saved))
    if differences:
        more = "; …" if len(differences) > 6 else ""
        raise RecordingError(
            f"The folder holds a recording of another plan ({'; '.join(differences[:6])}{more}): "
            "give the same arguments, or another folder."
        )


def _differences(
    current: Mapping[str, Any], saved: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    """The fields in which two plans or models differ, in words."""
    for name in dict.fromkeys([*current, *saved]):
        here, there = current.get(name), saved.get(name)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            yield from _differences(here, there, f"{prefix}{name}.")
        # The weights of an offloaded model cannot be read: unknown, not different.
        elif here == there or (name in DIGESTS and not (here and there)):
            continue
        elif name == "settings":
            yield "another configuration of its scheduler, adapters or modules"
        elif name == "values":
            # Another precision is a difference of its own, and gives the same weights other bits.
            if current.get("dtype") == saved.get("dtype"):
                yield "weights that were changed since, or before"
        elif name == "table":
            yield "other prompts, seeds or factors"
        else:
            yield f"{prefix}{name}: {_shorten(there)} there, {_shorten(here)} here"


def _shorten(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) < 40 else text[:37] + "…"
