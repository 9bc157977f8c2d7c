"""Prompts × seeds through a model, batch by batch, with nothing done that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clerestory.errors import EditError, OptionError, PromptError, SeedError, SiteError
from clerestory.models.core.activations import Batch, BatchValues, gathered, packed, taps_into
from clerestory.models.core.addresses import Selection, parse
from clerestory.models.core.family import (
    Encoded,
    Progress,
    SiteHook,
    TapCallback,
    TextWindow,
    prepare_pipeline,
)
from clerestory.models.core.hooks import Attachment, Tap, attach
from clerestory.models.core.pooling import POOLS, WORD
from clerestory.models.core.positions import partly
from clerestory.models.core.seeds import check_seeds
from clerestory.models.core.types import Branch, Edit, Options, PerSample, Pool, Run, Sample

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["Request", "check", "samples", "sweep"]


@dataclass(frozen=True)
class Request:
    """All that a run was asked for."""

    samples: tuple[Sample, ...]
    read: Mapping[str, Selection]
    edit_sets: tuple[tuple[Edit, ...], ...]
    pool: Pool
    branch: Branch
    pictures: bool
    stop: Literal["auto", "never"]
    batch: int
    taps: Mapping[str, TapCallback]
    progress: Progress | None


def samples(
    model: Model,
    prompts: str | Sequence[str],
    seeds: int | Sequence[int],
    options: Options,
    *,
    paired: bool = False,
) -> tuple[Sample, ...]:
    """Prompts × seeds, prompt by prompt; with `paired` each prompt with the seed at its place.

    PromptError and SeedError for what cannot be drawn.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise PromptError("There is no prompt; give at least one.")
    model.family.check_prompts(list(dict.fromkeys([*texts, *filter(None, [options.negative])])))
    if not paired:
        numbers = check_seeds(seeds)
        return tuple(Sample(text, seed, options) for text in texts for seed in numbers)
    listed = [seed for (seed,) in map(check_seeds, [seeds] if isinstance(seeds, int) else seeds)]
    if len(listed) != len(texts):
        raise SeedError(f"{len(listed)} seeds for {len(texts)} prompts: a pair has one of each.")
    return tuple(Sample(text, seed, options) for text, seed in zip(texts, listed, strict=True))


def check(model: Model, request: Request) -> None:
    """Raise at once what running this would raise on the way: unknown sites, absent words, …"""
    _Batches(model, request)


def sweep(model: Model, request: Request) -> list[Run]:
    """One run for each set of edits; the first half runs once for sets that agree on it."""
    batches = _Batches(model, request)
    size = min(request.batch, model.family.max_batch or request.batch)
    pages: list[list[tuple[Batch, NDArray[np.uint8] | None]]] = [[] for _ in request.edit_sets]
    total, done = len(request.samples) * len(request.edit_sets), 0
    whole = "vae" in batches.stages
    with model.family.hide_progress_bars(), prepare_pipeline(model.pipeline, whole_vae=whole):
        for rows in _chunks(len(request.samples), size):
            for page, drawn in zip(pages, batches.drawn(rows), strict=True):
                page.append(drawn)
                done += len(rows)
                if request.progress is not None:
                    request.progress(done, total)
    return [_run(request, batches.hooks, page) for page in pages]


class _Batches:
    """Runs batches of a request; knows which edits and taps belong to which half of the model."""

    def __init__(self, model: Model, request: Request) -> None:
        self.family, self.request = model.family, request
        self.hooks = model.family.hooks_by_address
        _check(request)
        self.taps = [
            Tap(site, callback, request.branch, selection.steps)
            for pattern, callback in request.taps.items()
            for site, selection in model.sites.select(pattern).items()
        ]
        for edit in (edit for edits in request.edit_sets for edit in edits):
            if parse(edit.site).site not in model.sites:
                model.sites.select(edit.site, single=True)
                raise SiteError(f"{edit.site!r} is a pattern; an edit needs one address.")
        stages, first = self.family.stages, self.family.encoder_stages
        late = (stage for stage in stages if stage not in first)
        self.order = (*first, self.family.conditioning_site, *late)
        edited = [parse(edit.site).site for edits in request.edit_sets for edit in edits]
        sites = [*request.read, *(tap.site for tap in self.taps), *edited]
        self.stages = {self.hooks[site].site.stage for site in sites}
        self.until = self._last_stage()
        self._check_word()

    def drawn(self, rows: range) -> Iterator[tuple[Batch, NDArray[np.uint8] | None]]:
        """For each set of edits, what was read and drawn of these samples."""
        kept: dict[tuple[int, ...], tuple[Encoded | None, Batch]] = {}
        for edits in self.request.edit_sets:
            early = tuple(edit for edit in edits if self._early(parse(edit.site).site))
            key = tuple(id(edit) for edit in early)
            if key not in kept:
                kept[key] = self._encode(rows, early)
            encoded, read = kept[key]
            late = [edit for edit in edits if not self._early(parse(edit.site).site)]
            drawn, more = (None, {}) if encoded is None else self._draw(rows, encoded, late)
            yield {**read, **more}, drawn

    def _encode(self, rows: range, edits: Sequence[Edit]) -> tuple[Encoded | None, Batch]:
        values: BatchValues = {}
        batch = self._samples(rows)
        with attach(self._attachment(rows, edits, values, early=True), self.family.stage_modules):
            encoded = self.family.encode(batch, self.until, self.request.branch)
        return encoded, packed(values)

    def _draw(
        self, rows: range, encoded: Encoded, edits: Sequence[Edit]
    ) -> tuple[NDArray[np.uint8] | None, Batch]:
        values: BatchValues = {}
        attachment = self._attachment(rows, edits, values, early=False)
        with attach(attachment, self.family.stage_modules):
            batch = self._samples(rows)
            drawn = self.family.draw(batch, encoded, attachment.handoff, self.until)
        return drawn, packed(values)

    def _attachment(
        self, rows: range, edits: Sequence[Edit], values: BatchValues, *, early: bool
    ) -> Attachment:
        batch, request = self._samples(rows), self.request
        read = {
            site: selection
            for site, selection in request.read.items()
            if self._early(site) is early
        }
        counted = cache(partial(self._counted, batch))
        taps = taps_into(values, read, self.hooks, request.pool, request.branch, counted)
        taps += [tap for tap in self.taps if self._early(tap.site) is early]
        return Attachment(
            self.hooks,
            lambda stage, call: self.family.stage_call(stage, call, batch),
            [self._of(edit, rows, batch) for edit in edits],
            taps,
        )

    def _of(self, edit: Edit, rows: range, batch: Sequence[Sample]) -> Edit:
        """The edit for these samples, at the positions that it names."""
        own = edit.at(rows) if isinstance(edit, PerSample) else edit
        texts, windows = _texts(batch, "cond"), self.family.text_windows
        return partly(
            own,
            self.hooks[parse(edit.site).site].text_window,
            lambda window: windows[window].token_mask(texts),
            lambda window, word: _found(windows[window], texts, word),
        )

    def _counted(self, batch: Sequence[Sample], window: str) -> Tensor:
        """Which positions of a text window are pooled: a word's, or those of real tokens."""
        tokens, pool = self.family.text_windows[window], self.request.pool
        texts = _texts(batch, self.request.branch)
        if pool.startswith(WORD):
            return _found(tokens, texts, pool.removeprefix(WORD))
        return tokens.token_mask(texts)

    def _early(self, address: str) -> bool:
        """Whether a site is in the first half, before the conditioning sites."""
        stage = self.hooks[address].site.stage
        return stage in self.family.encoder_stages and address not in self.family.conditioning_sites

    def _samples(self, rows: range) -> tuple[Sample, ...]:
        return tuple(self.request.samples[row] for row in rows)

    def _last_stage(self) -> str:
        """The stage after which nothing more is selection."""
        if self.request.pictures or self.request.stop == "never":
            return self.order[-1]
        sites = [*self.request.read, *(tap.site for tap in self.taps)]
        conditioning = dict.fromkeys(self.family.conditioning_sites, self.family.conditioning_site)
        ends = [conditioning.get(site, self.hooks[site].site.stage) for site in sites]
        return self.order[max((self.order.index(end) for end in ends), default=0)]

    def _check_word(self) -> None:
        """SiteError or PromptError where a word is to be pooled that is not there to be found."""
        pool = self.request.pool
        if not pool.startswith(WORD):
            return
        for address in self.request.read:
            window = self.hooks[address].text_window
            if not window:
                raise SiteError(f"{address} has no tokens, so pool {pool!r} cannot be read there.")
            texts = _texts(self.request.samples, self.request.branch)
            tokens, word = self.family.text_windows[window], pool.removeprefix(WORD)
            _found(tokens, list(dict.fromkeys(texts)), word)


def _texts(batch: Sequence[Sample], branch: Branch) -> list[str]:
    """What fills the text windows in a branch: the prompts, or the negative prompts."""
    return [one.prompt if branch == "cond" else one.options.negative for one in batch]


def _found(tokens: TextWindow, texts: Sequence[str], word: str) -> Tensor:
    """The tokens of a word in each text; PromptError, naming a text, where it is absent."""
    found = tokens.word_mask(texts, word)
    lacking = [text for text, hits in zip(texts, found, strict=True) if not hits.any()]
    if lacking:
        raise PromptError(
            f"The word {word!r} is absent from {len(lacking)} of {len(texts)} prompts (or beyond"
            f" the text window), such as {lacking[0]!r}; tokens:{word} needs it in each."
        )
    return found


def _check(request: Request) -> None:
    word = request.pool.removeprefix(WORD) if request.pool.startswith(WORD) else None
    if request.pool not in POOLS and not (word and word.strip()):
        raise OptionError(
            f"pool is {request.pool!r}; it must be mean, max, last, none, or tokens:WORD."
        )
    if request.branch not in ("cond", "uncond"):
        raise OptionError(f"branch is {request.branch!r}; it must be cond or uncond.")
    if request.stop not in ("auto", "never"):
        raise OptionError(f"stop is {request.stop!r}; it must be auto or never.")
    if request.batch < 1:
        raise OptionError(f"batch is {request.batch}; it must be 1 or more.")
    for edit in (edit for edits in request.edit_sets for edit in edits):
        if not callable(edit) or not hasattr(edit, "site"):
            raise EditError(f"{edit!r} is no edit; an edit is callable and has a site.")


def _chunks(count: int, size: int) -> Iterator[range]:
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def _run(
    request: Request,
    hooks: Mapping[str, SiteHook],
    page: Sequence[tuple[Batch, NDArray[np.uint8] | None]],
) -> Run:
    drawn = [pictures for _, pictures in page if pictures is not None]
    batches = [read for read, _ in page]
    return Run(
        drawn=request.samples,
        pictures=np.concatenate(drawn) if drawn and request.pictures else None,
        activations=gathered(
            batches, request.read, hooks, request.samples, request.pool, request.branch
        ),
    )
