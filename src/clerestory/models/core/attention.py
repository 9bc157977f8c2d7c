"""Attention as it is really used, read during a run where a network computes it.

Nothing in the network is replaced: a `TorchFunctionMode` sees every call of
`scaled_dot_product_attention` with its queries and keys, after normalisation, rotation and masks,
and hooks tell which layer calls it. Weights are computed from these, for the words that are asked
for, and averaged at once (`attention_weights.py`, `attention_sums.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from clerestory.errors import SiteError
from clerestory.models.core.attachment import Attachment
from clerestory.models.core.attention_layers import AttentionLayer, Direction
from clerestory.models.core.attention_sums import Grid, MapSums, grid_of
from clerestory.models.core.attention_weights import AttentionCall
from clerestory.models.core.family import StageCall
from clerestory.models.core.hooks import watch_calls
from clerestory.models.core.types import Branch, Sample, Step

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["AttentionCapture", "AttentionReader", "BatchMaps", "WordMarks"]

WordMarks = Callable[[str, Sequence[Sample]], Tensor]
"""From a text window and samples to the tokens of each word, bool `[sample, word, token]`."""
BatchMaps = tuple[MapSums, dict[int, Step]]
"""The maps of a batch and the steps at which they were read, by index."""


@dataclass(eq=False)
class AttentionCapture:
    """What is read of the attention of a run.

    Attributes:
        layers: The layers, all with maps of one kind.
        direction: Who attends to whom.
        marks: The tokens of words.
        branch: The branch of guidance.
        steps: Indices of steps; None for all.
        heads: Indices of heads; None for all.
        keep: Which of `layer`, `step` and `head` are kept apart.
        batches: What was read, a batch of samples each.
        seen_steps: The steps at which something was read, by index.
        rebuild: Makes the same for the model of another process; None where that is not known.
    """

    layers: Sequence[AttentionLayer]
    direction: Direction
    marks: WordMarks
    branch: Branch = "cond"
    steps: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    keep: tuple[str, ...] = ()
    batches: dict[int, MapSums] = field(default_factory=dict)
    seen_steps: dict[int, Step] = field(default_factory=dict)
    rebuild: Callable[[Model], AttentionCapture] | None = None

    @property
    def stages(self) -> frozenset[str]:
        """The stages of the layers."""
        return frozenset(layer.stage for layer in self.layers)

    @property
    def query_sites(self) -> list[str]:
        """The addresses of the layers' queries."""
        return [layer.query_site for layer in self.layers]

    @contextmanager
    def watch(self, attachment: Attachment, rows: range, batch: Sequence[Sample]) -> Iterator[None]:
        """Read the attention of a batch, for as long as this is open.

        Args:
            attachment: Tells steps and branches.
            rows: The batch's samples in the run.
            batch: The samples.

        Yields:
            Nothing; hooks and mode are removed at the end.

        Raises:
            SiteError: A layer computed its attention where it is not seen, or its rows or
                positions cannot be told apart.
        """
        sums = self.batches.setdefault(
            rows.start, MapSums(self.keep, spreads=self.direction == "from-words")
        )
        reader = self.reader(attachment, batch, sums)
        modules = {layer.address: layer.module for layer in self.layers}
        with (
            watch_calls(modules, reader.begin, reader.end),
            _SdpaMode(reader.read),
            reader.follow(),
        ):
            yield
        reader.check()

    def reader(
        self, attachment: Attachment, batch: Sequence[Sample], sums: MapSums
    ) -> AttentionReader:
        """What reads a batch.

        Args:
            attachment: Tells steps and branches.
            batch: The samples.
            sums: Receives the maps.

        Returns:
            The reader.
        """
        return AttentionReader(self, attachment, batch, sums)

    def take(self, rows: range) -> BatchMaps:
        """Hand over what was read of a batch.

        Args:
            rows: The batch's samples in the run.

        Returns:
            The maps and their steps, which can be pickled.
        """
        return self.batches.pop(rows.start), dict(self.seen_steps)

    def add(self, rows: range, maps: BatchMaps) -> None:
        """Add what another process read of a batch.

        Args:
            rows: The batch's samples in the run.
            maps: What `take` gave there.
        """
        self.batches[rows.start], steps = maps
        self.seen_steps |= steps

    def check(self) -> None:
        """Check that everything was read that was asked for.

        Raises:
            SiteError: A step, or the branch, did not occur.
        """
        if not self.seen_steps:
            asked = "" if self.steps is None else f", or none of the steps {list(self.steps)}"
            raise SiteError(
                "No attention was read: a run with these options has no branch "
                f"{self.branch}{asked}."
            )
        missing = set(self.steps or ()) - set(self.seen_steps)
        if missing:
            raise SiteError(
                f"This run has no step {min(missing)}; attention was read at "
                f"{', '.join(map(str, sorted(self.seen_steps)))}."
            )


class _SdpaMode(TorchFunctionMode):
    """Shows calls of `scaled_dot_product_attention` of this thread to a function."""

    def __init__(self, read: Callable[..., None]) -> None:
        super().__init__()
        self._read = read

    @override
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        output = func(*args, **options)
        if func is scaled_dot_product_attention:
            # Within a mode it is not active, so that what is computed here is not seen again.
            self._read(output, *args, **options)
        return output


class AttentionReader:
    """Reads the attention of one batch.

    Args:
        capture: What is read.
        attachment: Tells steps and branches.
        batch: The samples.
        sums: Receives the maps.
    """

    def __init__(
        self,
        capture: AttentionCapture,
        attachment: Attachment,
        batch: Sequence[Sample],
        sums: MapSums,
    ) -> None:
        self._capture, self._attachment, self._batch, self._sums = capture, attachment, batch, sums
        self._layers = {layer.address: layer for layer in capture.layers}
        self._marks: dict[str, Tensor] = {}
        # The layer that is running and is to be read; None once it was.
        self._current: AttentionLayer | None = None
        self._missed: AttentionLayer | None = None

    def follow(self) -> AbstractContextManager[None]:
        """Follow more of the run than the layers' attention, for as long as this is open.

        Returns:
            By default nothing more.
        """
        return nullcontext()

    def begin(self, address: str) -> None:
        """Note that a layer is about to run.

        Args:
            address: The layer.
        """
        self.check()
        layer = self._layers[address]
        call = self._stage_call(layer)
        capture = self._capture
        due = capture.steps is None or call.index in capture.steps
        self._current = layer if due and capture.branch in call.rows else None

    def end(self, address: str) -> None:
        """Note that a layer has run.

        Args:
            address: The layer.
        """
        # Not an error here: a hook also ends a module that has raised one.
        self._missed = self._current
        self._current = None

    def check(self) -> None:
        """Check that the attention of the layers that ran was seen.

        Raises:
            SiteError: It was computed by other means.
        """
        if self._missed is None:
            return
        module: Any = self._missed.module
        kind = type(getattr(module, "processor", None) or module).__name__
        raise SiteError(
            f"The attention of {self._missed.address} was not seen: {kind} computes it by other "
            "means than scaled_dot_product_attention, as linear attention and some kernels do. "
            "Leave the layer out."
        )

    @torch.no_grad()
    def read(self, output: Tensor, *args: Any, **kwargs: Any) -> None:
        """Read a call of `scaled_dot_product_attention`, if it is that of a layer.

        Args:
            output: What the call gives.
            *args: What it was given.
            **kwargs: What it was given by name.

        Raises:
            SiteError: Rows, heads or positions are not those of the layer.
        """
        layer = self._current
        if layer is None:
            return
        # The first call within a layer alone: adapters of pictures make further ones.
        self._current = None
        stage_call = self._stage_call(layer)
        self._check_rows(layer, len(output), stage_call)
        self._check_heads(layer, output.shape[1])
        self._read_layer(layer, stage_call, output, args, kwargs)

    def _stage_call(self, layer: AttentionLayer) -> StageCall:
        return self._attachment.current_call(layer.stage)

    def _read_layer(
        self,
        layer: AttentionLayer,
        stage_call: StageCall,
        output: Tensor,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        maps, grid = self._maps(layer, stage_call, AttentionCall.of(*args, **kwargs))
        self._add(layer, stage_call, maps, grid)

    def _add(self, layer: AttentionLayer, call: StageCall, maps: Tensor, grid: Grid) -> None:
        self._sums.add(layer.address, call.index, grid, maps)
        self._capture.seen_steps[call.index] = Step(
            call.index, self._capture.branch, call.timestep, call.sigma
        )

    def _maps(
        self, layer: AttentionLayer, stage_call: StageCall, call: AttentionCall
    ) -> tuple[Tensor, Grid]:
        """`[sample, word, head, position]` and the grid of the positions."""
        rows = stage_call.rows[self._capture.branch]
        call = call.select(rows=rows).select(heads=self._capture.heads)
        marks = self._token_masks(layer.window).to(call.query.device)
        spans = layer.spans(call.query.shape[2], call.key.shape[2], marks.shape[2], stage_call)
        words = marks.float()
        absent = ~marks.any(2)
        if self._capture.direction == "to-words":
            assert spans.picture_queries is not None
            part = call.select(queries=spans.picture_queries)
            keys = words.new_zeros(*words.shape[:2], call.key.shape[2])
            keys[:, :, spans.word_keys] = words
            maps = part.sums(keys).permute(0, 3, 1, 2).clone()
            # A word that stands less often in this prompt than in another one.
            maps[absent] = float("nan")
            return maps, self._grid(layer, maps.shape[3]) if layer.has_maps else (0, 0)
        # Of the tokens of words alone.
        tokens = marks.any(0).any(0).nonzero()[:, 0]
        assert spans.word_queries is not None
        weights = call.select(queries=tokens + spans.word_queries.start).weights()
        readers = words[:, :, tokens] / words.sum(2, keepdim=True)
        shares = torch.einsum("swt,shtk->swhk", readers, weights)
        if self._capture.direction == "from-words":
            assert spans.picture_keys is not None
            maps = shares[..., spans.picture_keys]
            return maps, self._grid(layer, maps.shape[3])
        sources = torch.einsum("swhk,sok->swho", shares[..., spans.word_keys], words)
        sources.permute(0, 3, 1, 2)[absent] = float("nan")
        # All that is no asked word: start and end, padding, other words, the picture.
        covered = words.new_zeros(len(words), call.key.shape[2])
        covered[:, spans.word_keys] = marks.any(1).float()
        rest = torch.einsum("swhk,sk->swh", shares, 1 - covered)
        return torch.cat([sources, rest[..., None]], 3), (0, 0)

    def _token_masks(self, window: str) -> Tensor:
        if window not in self._marks:
            self._marks[window] = self._capture.marks(window, self._batch)
        return self._marks[window]

    def _grid(self, layer: AttentionLayer, positions: int) -> Grid:
        options = self._batch[0].options
        return grid_of(positions, options.height, options.width, layer.address)

    def _check_rows(self, layer: AttentionLayer, rows: int, call: StageCall) -> None:
        if call.merged or rows not in (call.count, call.count - call.other_rows):
            raise SiteError(
                f"The attention of {layer.address} has {rows} rows, and the batch has {call.count}:"
                " they cannot be assigned to samples and branches."
            )

    def _check_heads(self, layer: AttentionLayer, heads: int) -> None:
        absent = [head for head in self._capture.heads or () if not 0 <= head < heads]
        if absent:
            raise SiteError(
                f"{layer.address} has no head {absent[0]}; its {heads} heads are 0 to {heads - 1}."
            )
