"""Output-space maps: what attention gives to the picture's positions, compared with concepts'.

A map is the softmax over concepts, position by position, of the inner product of the outputs of an
attention at the picture's positions and at a concept's tokens, all heads together and before the
matrix that mixes them (Helbling et al. 2025, ConceptAttention, arXiv:2502.04320). The tokens are
those of a word of the prompt, or of a concept that the prompt need not have:

- Each call of the denoiser is made a second time, with the concepts in the text's place, so that
  they are keys and queries beside the picture, as the method has it.
- Blocks of the second call are given the picture of the first, which therefore never sees the
  concepts; what the second call makes of it is dropped.
- The second call stops after the last layer that is asked for.

The authors' code takes the first token of a concept where this takes the mean over its tokens, and
modulates concepts by a pooled embedding of their own where this uses the prompt's, which the
picture's keys of the same call need.

In memory are the picture's states in all blocks before that layer, and its outputs in the layers
that are asked for, of one call of the denoiser.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from clerestory.models.core.attachment import Attachment
from clerestory.models.core.attention import AttentionCapture, AttentionReader
from clerestory.models.core.attention_concepts import TEXT, ConceptTokens, concept_arguments
from clerestory.models.core.attention_layers import AttentionLayer
from clerestory.models.core.attention_sums import MapSums
from clerestory.models.core.family import StageCall
from clerestory.models.core.hooks import change_inputs, halt_before, watch_outputs
from clerestory.models.core.types import Sample

__all__ = ["ConceptPass", "OutputCapture"]

PICTURE_ARGUMENTS = ("hidden_states", "x")
"""Names that blocks have for the picture's states, or for the row of text and picture."""


@dataclass(frozen=True)
class ConceptPass:
    """What a denoiser's second call needs.

    Attributes:
        concepts: What takes the text's place.
        denoiser: The denoiser.
        blocks: Layers of all blocks with text and picture, up to the last that is asked for, with
            the blocks.
        later: The blocks after that.
    """

    concepts: ConceptTokens
    denoiser: nn.Module
    blocks: Mapping[str, tuple[AttentionLayer, nn.Module]]
    later: Sequence[nn.Module]


@dataclass(eq=False)
class OutputCapture(AttentionCapture):
    """What is read of attention outputs in a run.

    Attributes:
        concept_pass: What the second calls need; None for words of the prompts.
    """

    concept_pass: ConceptPass | None = None

    @override
    def reader(
        self, attachment: Attachment, batch: Sequence[Sample], sums: MapSums
    ) -> AttentionReader:
        if self.concept_pass is None:
            return _OutputReader(self, attachment, batch, sums)
        return _ConceptReader(self, attachment, batch, sums, self.concept_pass)


class _OutputReader(AttentionReader):
    """Compares the outputs of the picture's positions with those of the prompt's words."""

    @override
    def _read_layer(
        self,
        layer: AttentionLayer,
        stage_call: StageCall,
        output: Tensor,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        marks = self._token_masks(layer.window).to(output.device)
        picture, words = self._spans(layer, output.shape[2], stage_call)
        values = self._values(output, stage_call)
        self._add_shares(layer, stage_call, values[:, :, picture], values[:, :, words], marks)

    def _add_shares(
        self,
        layer: AttentionLayer,
        stage_call: StageCall,
        picture: Tensor,
        tokens: Tensor,
        marks: Tensor,
    ) -> None:
        maps = self._shares(picture, tokens, marks)
        self._add(layer, stage_call, maps, self._grid(layer, maps.shape[3]))

    def _spans(
        self, layer: AttentionLayer, positions: int, stage_call: StageCall
    ) -> tuple[slice, slice]:
        """The positions of the picture, and of the text window."""
        tokens = self._token_masks(layer.window).shape[2]
        spans = layer.spans(positions, positions, tokens, stage_call)
        assert spans.picture_queries is not None and spans.word_queries is not None
        return spans.picture_queries, spans.word_queries

    def _values(self, output: Tensor, stage_call: StageCall) -> Tensor:
        """float32 `[sample, head, position, unit]` of the branch and of the heads asked for."""
        values = output[stage_call.rows[self._capture.branch]]
        heads = self._capture.heads
        return (values if heads is None else values[:, list(heads)]).float()

    def _shares(self, picture: Tensor, tokens: Tensor, marks: Tensor) -> Tensor:
        """Shares of words at each position.

        Args:
            picture: `[sample, head, position, unit]`.
            tokens: `[sample, head, token, unit]`.
            marks: bool `[sample, word, token]`.

        Returns:
            `[sample, word, head, position]`, of one head unless heads are kept apart; NaN for words
            that a sample does not have.
        """
        words = marks.to(tokens)
        means = torch.einsum("swt,shtu->swhu", words, tokens) / words.sum(2)[..., None, None]
        scores = torch.einsum("swhu,shpu->swhp", means, picture)
        if "head" not in self._capture.keep:
            # The inner product of all heads' units, as the method has it.
            scores = scores.sum(2, keepdim=True)
        absent = ~marks.any(2)
        scores[absent] = float("-inf")
        shares = scores.softmax(1)
        shares[absent] = float("nan")
        return shares


class _ConceptReader(_OutputReader):
    """Compares them with those of concepts, for which it calls the denoiser a second time."""

    def __init__(
        self,
        capture: AttentionCapture,
        attachment: Attachment,
        batch: Sequence[Sample],
        sums: MapSums,
        concept_pass: ConceptPass,
    ) -> None:
        super().__init__(capture, attachment, batch, sums)
        self._pass = concept_pass
        # Of the call that goes on: its arguments and step, None where it is not to be repeated.
        self._call: tuple[StageCall, tuple[Any, ...], dict[str, Any]] | None = None
        self._is_second = False
        # The states of the picture by block, and whether they are the first of a row; its outputs
        # by layer, and the index of the first token there.
        self._states: dict[str, tuple[Tensor, bool]] = {}
        self._outputs: dict[str, tuple[Tensor, int]] = {}

    @override
    @contextmanager
    def follow(self) -> Iterator[None]:
        blocks = {address: block for address, (_, block) in self._pass.blocks.items()}
        denoiser = {"denoiser": self._pass.denoiser}
        with (
            change_inputs(denoiser, self._begin_call),
            change_inputs(blocks, self._pass_picture),
            watch_outputs(denoiser, self._end_call),
        ):
            yield

    def _begin_call(self, _: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        capture = self._capture
        # Before the stage's hook counts the call.
        call = self._attachment.current_call("denoiser")
        due = capture.steps is None or call.index in capture.steps
        self._call = (call, args, kwargs) if due and capture.branch in call.rows else None

    def _end_call(self, name: str, output: Any) -> None:
        if self._call is None:
            return
        self.check()
        _, args, kwargs = self._call
        states = self._pass.concepts.states
        arguments = concept_arguments(self._pass.denoiser, args, kwargs, states)
        self._is_second = True
        try:
            # Not the module itself, whose hooks would take the call for one of the run.
            with torch.no_grad(), self._attachment.pause(), halt_before(self._pass.later):
                self._pass.denoiser.forward(**arguments)
        finally:
            self._is_second, self._call = False, None
            self._states.clear()
            self._outputs.clear()
        self.check()

    def _pass_picture(self, address: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Note the picture's states of a block, or put them in the place of the second call's."""
        if self._call is None:
            return None
        layer, block = self._pass.blocks[address]
        bound = inspect.signature(type(block).forward).bind(block, *args, **kwargs).arguments
        name = next(name for name in PICTURE_ARGUMENTS if name in bound)
        states: Tensor = bound[name]
        # Two streams are two arguments.
        is_row = bound.get(TEXT) is None
        if not self._is_second:
            picture, words = slice(0, states.shape[1]), slice(0, 0)
            if is_row:
                picture, words = self._spans(layer, states.shape[1], self._call[0])
            is_first = is_row and picture.start < words.start
            # With what fills the picture up to where the text begins.
            part = slice(0, words.start) if is_first else slice(picture.start, None)
            # A copy, since a block may write into what it is given.
            self._states[address] = states[:, part].clone(), is_first
            return None
        picture_states, is_first = self._states.pop(address)
        count = picture_states.shape[1]
        changed = picture_states
        if is_row:
            changed = states.clone()
            changed[:, slice(0, count) if is_first else slice(-count, None)] = picture_states
        if name in kwargs:
            return args, {**kwargs, name: changed}
        # It is the first of all blocks' arguments.
        return (changed, *args[1:]), kwargs

    @override
    def _stage_call(self, layer: AttentionLayer) -> StageCall:
        # The second call is at the step of the first, which was counted by then.
        assert self._call is not None or not self._is_second
        return self._call[0] if self._call is not None else super()._stage_call(layer)

    @override
    def _read_layer(
        self,
        layer: AttentionLayer,
        stage_call: StageCall,
        output: Tensor,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        values, concepts = self._values(output, stage_call), self._pass.concepts
        if not self._is_second:
            picture, words = self._spans(layer, output.shape[2], stage_call)
            self._outputs[layer.address] = values[:, :, picture], words.start
            return
        picture_values, start = self._outputs.pop(layer.address)
        start += concepts.leading
        tokens = values[:, :, start : start + len(concepts.states)]
        marks = concepts.marks.to(values.device).expand(len(values), -1, -1)
        self._add_shares(layer, stage_call, picture_values, tokens, marks)
