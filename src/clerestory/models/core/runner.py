"""Runs one batch of prompts × seeds through a model; stages that are not needed are skipped.

`Family.encode` makes the values at the conditioning sites, `Family.draw` makes pictures of them.
Sets of edits with the same edits of the encode stages share one encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import is_dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clerestory.errors import ClerestoryError, SiteError
from clerestory.models.core.activations import Batch, Readings, collect, make_taps, stack_steps
from clerestory.models.core.addresses import parse
from clerestory.models.core.attachment import Attachment, Probe, Tap
from clerestory.models.core.family import Encoding, TapCallback
from clerestory.models.core.finiteness import StageCheck, to_pictures
from clerestory.models.core.hooks import attach
from clerestory.models.core.latents import add_latent_edit, make_tap
from clerestory.models.core.parts import Part
from clerestory.models.core.pipeline_errors import PIPELINE_ERRORS, pipeline_error
from clerestory.models.core.pipeline_state import (
    check_tiling,
    hide_progress_bars,
    prepare_pipeline,
)
from clerestory.models.core.pooling import TOKENS_PREFIX
from clerestory.models.core.positions import restrict_positions, word_mask
from clerestory.models.core.regions import check_regions, restrict_region
from clerestory.models.core.requests import Request, branch_texts
from clerestory.models.core.runs import Run, SiteValues
from clerestory.models.core.types import Branch, Edit, PerSample, Pool, Sample
from clerestory.reporting.progress import progress_bars
from clerestory.types import Floats, Pictures, Progress

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["BatchOutput", "Sweep", "check_request", "open_sweep"]

PICTURES = "pictures"
"""The place of a value that is not finite, where the outputs of all stages are finite."""

BatchOutput = tuple[Batch, Pictures | None, Mapping[int, str]]
"""What one batch read and drew, and the reasons of samples that are not finite."""


def check_request(model: Model, request: Request) -> None:
    """Validate a request without running it.

    Args:
        model: The model that would run it.
        request: The request.

    Raises:
        SiteError: A site, unit or pattern is unknown.
        PromptError: A word whose tokens are pooled is absent from a prompt.
        OptionError: A pool, branch, stop or batch is out of range.
        EditError: An edit is not callable or has no site.
    """
    Sweep(model, request)


@contextmanager
def open_sweep(model: Model, request: Request) -> Iterator[tuple[Sweep, Progress]]:
    """Check a request and prepare the model's pipeline for it, for as long as this is open.

    Args:
        model: The model, whose pipeline the caller holds.
        request: The request.

    Yields:
        The sweep, and what receives its progress.

    Raises:
        ClerestoryError: As `check_request`.
    """
    options = request.samples[0].options
    reads = request.read or request.taps or request.attention
    if reads or any(request.edit_sets) or not request.pictures:
        with progress_bars(request.progress) as progress:
            model.family.prepare(options, progress)
    sweep = Sweep(model, request)
    if "vae" in sweep.stages:
        check_tiling(model.pipeline, options.height, options.width)
    with (
        progress_bars(request.progress) as progress,
        hide_progress_bars(*model.family.progress_bar_pipelines),
        # Taps in the autoencoder need whole batches, not slices of them.
        prepare_pipeline(model.pipeline, whole_vae="vae" in sweep.stages),
    ):
        yield sweep, progress


class Sweep:
    """Runs batches of a request; knows which edits and taps belong to `encode` and to `draw`."""

    def __init__(self, model: Model, request: Request) -> None:
        self.family, self.request = model.family, request
        self.hooks = model.hooks_by_address
        self.attributes = {"model": model.name, "revision": model.revision}
        self.attributes |= {"branch": request.branch, "pool": request.pool}
        self.taps = [
            tap
            for pattern, callback in request.taps.items()
            for tap in _caller_taps(model, pattern, callback, request.branch)
        ]
        self.edit_sets = [[_resolve(model, edit) for edit in edits] for edits in request.edit_sets]
        check_regions((edit for edits in self.edit_sets for edit in edits), self.hooks, self.family)
        edited = [parse(edit.site).site for edits in self.edit_sets for edit in edits]
        stages, encoders = self.family.stages, self.family.encoder_stages
        later = (stage for stage in stages if stage not in encoders)
        # Stages, and between encode and draw stages the conditioning site: a run may stop there.
        self.order = (*encoders, self.family.conditioning_site, *later)
        self.capture, self.word_masks = request.attention, request.word_masks
        queries = [] if self.capture is None else self.capture.query_sites
        sites = [*request.read, *(tap.site for tap in self.taps), *edited, *queries]
        self.sites = list(dict.fromkeys(self.hooks[site].base for site in sites))
        self.stages = {self.hooks[site].site.stage for site in sites}
        for address in self.sites:
            reason = self.family.bypassed(self.hooks[address].site, request.samples[0].options)
            if reason:
                raise SiteError(f"{address} has no part in what is drawn: {reason}.")
        self.until = self._last_stage()
        self._check_word()

    def batches(self) -> Iterator[range]:
        """The samples of each batch."""
        count, size = len(self.request.samples), self.batch_size
        for start in range(0, count, size):
            yield range(start, min(start + size, count))

    @property
    def batch_size(self) -> int:
        """How many samples a batch has, at most."""
        limit, options = self.request.batch, self.request.samples[0].options
        # A family that cannot tell the rows of a batch apart draws one sample at a time.
        largest = self.family.batch_limit(self.sites, options) or limit
        return min(limit, largest, len(self.request.samples))

    def draw_batch(self, part: Part) -> Iterator[BatchOutput]:
        """For each set of edits of a part, what its samples read and draw."""
        rows = part.rows
        # The key is by identity: edits hold tensors, which compare element by element.
        encodings: dict[tuple[int, ...], tuple[Encoding | None, Batch, Mapping[int, str]]] = {}
        for edits in self.edit_sets[part.sets.start : part.sets.stop]:
            early = tuple(edit for edit in edits if self._is_early(parse(edit.site).site))
            key = tuple(id(edit) for edit in early)
            if key not in encodings:
                encodings[key] = self._encode(rows, early)
            encoded, read, bad = encodings[key]
            late = [edit for edit in edits if not self._is_early(parse(edit.site).site)]
            later: BatchOutput = ({}, None, {})
            if encoded is not None:
                later = self._draw(rows, encoded, late)
            # What `encode` gave is shared by sets with the same early edits, and never written to.
            yield {**read, **later[0]}, later[1], {**later[2], **bad}

    def join(self, batches: Sequence[BatchOutput]) -> Run:
        """One run from what its batches read and drew."""
        drawn = [array for _, array, _ in batches if array is not None]
        pictures = np.concatenate(drawn) if drawn and self.request.pictures else None
        read = [batch for batch, _, _ in batches]
        values = collect(read, self.request.read, self.hooks, self.request.branch)
        return Run(
            sample_list=_with_picture_size(self.request.samples, pictures),
            pictures=pictures,
            site_values={
                address: replace(values[address], lengths=self.lengths(values[address]))
                for address in values
            },
            attributes=self.attributes,
            bad={row: reason for _, _, bad in batches for row, reason in bad.items()},
        )

    def _encode(
        self, rows: range, edits: Sequence[Edit]
    ) -> tuple[Encoding | None, Batch, Mapping[int, str]]:
        readings: Readings = {}
        samples, check = self.batch_samples(rows), StageCheck(rows)
        attachment = self._attachment(rows, edits, readings, early=True)
        modules = self.family.stage_modules
        with (
            self.run_pipeline(attachment),
            check.watch(modules),
            attach(attachment, modules),
            self._watch_attention(attachment, rows),
        ):
            encoded = self.family.encode(samples, self.until, self.request.branch)
        return encoded, stack_steps(readings), check.reasons()

    def _draw(self, rows: range, encoded: Encoding, edits: Sequence[Edit]) -> BatchOutput:
        readings: Readings = {}
        samples, check = self.batch_samples(rows), StageCheck(rows)
        attachment = self._attachment(rows, edits, readings, early=False)
        modules = self.family.stage_modules
        with (
            self.run_pipeline(attachment),
            check.watch(modules),
            attach(attachment, modules),
            self._watch_attention(attachment, rows),
        ):
            drawn = self.family.draw(samples, encoded, attachment.handoff, self.until)
        pictures, reasons = None, check.reasons()
        if drawn is not None:
            pictures, finite = to_pictures(drawn)
            for row, good in zip(rows, finite, strict=True):
                if not good:
                    reasons.setdefault(row, f"{PICTURES}: not finite")
        return stack_steps(readings), pictures, reasons

    def _watch_attention(self, attachment: Attachment, rows: range) -> AbstractContextManager[None]:
        if self.capture is None:
            return nullcontext()
        return self.capture.watch(attachment, rows, self.batch_samples(rows))

    @contextmanager
    def run_pipeline(self, attachment: Attachment) -> Iterator[None]:
        """Say what was to be drawn where a pipeline fails, as for more steps than it has."""
        try:
            yield
        except PIPELINE_ERRORS as error:
            # The caller's own, from a tap or an edit, is the caller's to read.
            if isinstance(error, ClerestoryError) or error is attachment.caller_error:
                raise
            options, batch = self.request.samples[0].options, self.batch_size
            raise pipeline_error(self.family, options, batch, error) from error

    def _attachment(
        self, rows: range, edits: Sequence[Edit], readings: Readings, *, early: bool
    ) -> Attachment:
        samples, request = self.batch_samples(rows), self.request
        selections = {
            site: selection
            for site, selection in request.read.items()
            if self._is_early(site) is early
        }
        # A window is tokenized once, not once for each of its sites.
        mask = cache(partial(self.token_mask, samples, request.pool, request.branch))
        taps = make_taps(readings, selections, self.hooks, request.pool, request.branch, mask)
        taps += [tap for tap in self.taps if self._is_early(tap.site) is early]
        return Attachment(
            self.hooks,
            lambda stage, call: self.family.stage_call(stage, call, samples),
            self._bind_edits(edits, rows, samples),
            taps,
            expects_handoff=not early,
            counted_stages=frozenset() if self.capture is None else self.capture.stages,
        )

    def graph_attachment(
        self,
        rows: range,
        taps: Sequence[Tap],
        probes: Sequence[Probe],
        counted_stages: frozenset[str],
    ) -> Attachment:
        """The attachment of a run of `encode` and `draw` together, as a backward pass needs it.

        Args:
            rows: The samples.
            taps: All taps; what the request reads is not read besides.
            probes: Probes of gradients.
            counted_stages: Stages whose calls are counted in any case.

        Returns:
            The attachment, with the edits of the first set.
        """
        samples = self.batch_samples(rows)
        return Attachment(
            self.hooks,
            lambda stage, call: self.family.stage_call(stage, call, samples),
            self._bind_edits(self.edit_sets[0], rows, samples),
            taps,
            probes=probes,
            expects_handoff=self.until not in self.family.encoder_stages,
            counted_stages=counted_stages,
        )

    def _bind_edits(
        self, edits: Sequence[Edit], rows: range, samples: Sequence[Sample]
    ) -> list[Edit]:
        """The edits for these samples, at sites that are hooked."""
        # Where a run ends before a site on purpose, an edit there changes nothing that is read.
        last = self.order.index(self.until)
        edits = [edit for edit in edits if self._end(parse(edit.site).site) <= last]
        bound: list[Edit] = []
        for edit in edits:
            hook = self.hooks[parse(edit.site).site]
            bound = add_latent_edit(bound, self._bind_edit(edit, rows, samples), hook)
        return bound

    def _bind_edit(self, edit: Edit, rows: range, samples: Sequence[Sample]) -> Edit:
        """The edit for these samples, at the positions that it names."""
        # By rows of the whole run, since an edit may hold a value for each of its samples.
        batch_edit = edit.at(rows) if isinstance(edit, PerSample) else edit
        # Positions of edits are of the prompts, whatever branch is read.
        texts = branch_texts(samples, "cond")
        windows = partial(self.family.text_window, branch="cond")
        hook = self.hooks[parse(edit.site).site]
        restricted = restrict_positions(
            batch_edit,
            hook.text_window,
            lambda window: windows(window).token_mask(texts),
            lambda window: windows(window).end_mask(texts),
            lambda window, word: word_mask(windows(window), texts, word),
        )
        masks = {word: mask[rows.start : rows.stop] for word, mask in self.word_masks.items()}
        return restrict_region(restricted, edit, hook, self.family, samples, masks)

    def token_mask(
        self, samples: Sequence[Sample], pool: Pool, branch: Branch, name: str
    ) -> Tensor:
        """Which positions of a text window are pooled: a word's, or those of real tokens.

        Args:
            samples: The samples of a batch.
            pool: How they are pooled.
            branch: The branch of guidance.
            name: The window's name.

        Returns:
            bool `[sample, position]`.

        Raises:
            PromptError: The word is absent.
        """
        window, texts = self.family.text_window(name, branch), branch_texts(samples, branch)
        if pool.startswith(TOKENS_PREFIX):
            return word_mask(window, texts, pool.removeprefix(TOKENS_PREFIX))
        return window.end_mask(texts) if pool == "last" else window.token_mask(texts)

    def lengths(self, values: SiteValues) -> NDArray[np.int64] | None:
        """How many positions of a site each sample has, where its batch sets their number.

        Args:
            values: What all batches read there.

        Returns:
            `[sample]`; None where all have the same number.
        """
        hook = self.hooks[values.address]
        name = hook.text_window
        if self.request.pool != "none" or not name:
            return None
        texts = branch_texts(self.request.samples, self.request.branch)
        lengths = self.family.text_window(name, self.request.branch).lengths(texts)
        if lengths is None:
            return None
        counts: NDArray[np.int64] = lengths.numpy()
        longest = (part.max() for part in _split_like(counts, values.batches))
        # Where a picture's positions follow, those of a batch are not the longest text's.
        is_text = bool(hook.stream) or all(
            batch.shape[2] == count for batch, count in zip(values.batches, longest, strict=True)
        )
        return counts if is_text else None

    def _is_early(self, address: str) -> bool:
        """Whether a site belongs to `encode`, before the conditioning sites."""
        hook = self.hooks[address]
        is_encoded = hook.site.stage in self.family.encoder_stages
        return is_encoded and hook.base not in self.family.conditioning_sites

    def batch_samples(self, rows: range) -> tuple[Sample, ...]:
        """The samples of a batch."""
        return tuple(self.request.samples[row] for row in rows)

    def _last_stage(self) -> str:
        """The stage after which the model may stop."""
        if self.request.pictures or self.request.stop == "never":
            return self.order[-1]
        sites = [*self.request.read, *(tap.site for tap in self.taps)]
        stages = [] if self.capture is None else map(self.order.index, self.capture.stages)
        # default=0: with nothing to read the run ends after the first stage.
        return self.order[max([*map(self._end, sites), *stages], default=0)]

    def _end(self, address: str) -> int:
        """The index in `order` of the stage after which a site's value is known."""
        # A conditioning site lies in a stage but its value is handed over after all encode stages,
        # so the run ends there and not in its stage.
        conditioning = self.hooks[address].base in self.family.conditioning_sites
        return self.order.index(
            self.family.conditioning_site if conditioning else self.hooks[address].site.stage
        )

    def _check_word(self) -> None:
        """Check that a word that is to be pooled is in every prompt, before anything runs."""
        pool = self.request.pool
        if not pool.startswith(TOKENS_PREFIX):
            return
        for address in self.request.read:
            name = self.hooks[address].text_window
            if not name:
                raise SiteError(f"{address} has no tokens, so pool {pool!r} cannot be read there.")
            texts = list(dict.fromkeys(branch_texts(self.request.samples, self.request.branch)))
            window = self.family.text_window(name, self.request.branch)
            word_mask(window, texts, pool.removeprefix(TOKENS_PREFIX))


def _caller_taps(
    model: Model, pattern: str, callback: TapCallback, branch: Branch
) -> Iterator[Tap]:
    """A tap for each site that a pattern names."""
    for site, selection in model.sites.select(pattern).items():
        if selection.units is not None:
            raise SiteError(
                f"A tap gets the activations of a whole site: write {site!r} in place of "
                f"{pattern!r}, and select units in the callable."
            )
        yield make_tap(model.hooks_by_address[site], callback, branch, selection.steps)


def _resolve(model: Model, edit: Edit) -> Edit:
    """The edit with its site's own address, where it has another name of it."""
    site = parse(edit.site).site
    if site in model.sites:
        return edit
    # Raises SiteError if there is none.
    (address,) = model.sites.select(site, single=True)
    if "*" in site or not is_dataclass(edit):
        raise SiteError(f"{site!r} is not one address; write {address!r} in the edit.")
    # With the unit of an edit of one unit, which its constructor needs.
    full_address: str = getattr(edit, "address", edit.site)
    return replace(edit, site=full_address.replace(site, address, 1))


def _split_like(counts: NDArray[np.int64], batches: Sequence[Floats]) -> list[NDArray[np.int64]]:
    """A number for each sample, batch by batch."""
    return np.split(counts, np.cumsum([len(batch) for batch in batches])[:-1])


def _with_picture_size(
    samples: tuple[Sample, ...], pictures: Pictures | None
) -> tuple[Sample, ...]:
    """The samples with the size that was drawn, which some pipelines choose themselves."""
    if pictures is None:
        return samples
    height, width = pictures.shape[1:3]
    options = samples[0].options
    if (options.height, options.width) == (height, width):
        return samples
    drawn = options.replace(height=height, width=width)
    return tuple(replace(sample, options=drawn) for sample in samples)
