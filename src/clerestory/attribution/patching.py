"""Activation patching: at which token's position does each text block carry a value?

The prompt is run with all of its pieces, and one token of one block gets the activation that the
prompt without them has there. What the value loses by that was carried there. Where pieces are
deleted, their own tokens have no counterpart and are not patched.

Source: activation patching in the direction that tests what is necessary, Zhang & Nanda 2024.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clerestory.attribution.measurement import BATCH
from clerestory.attribution.paraphrases import template_groups, template_means
from clerestory.attribution.pieces import Characters, Removal, SegmentedPrompt
from clerestory.attribution.results import PatchEffect
from clerestory.attribution.targets import Target
from clerestory.edits import Patch
from clerestory.evaluation import Evaluator
from clerestory.evaluation.objectives import DirectionTerm
from clerestory.evaluation.terms import measure_terms
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.models.core.seeds import item_seeds
from clerestory.models.core.text_windows import TextEncoder
from clerestory.models.lens import text_blocks
from clerestory.stats.clustered_intervals import mean_interval
from clerestory.types import Floats, Integers, Progress

__all__ = ["patch_tokens"]

MAX_PARAPHRASES = 20
END = "(end)"
MIN_SHARE = 1e-6
"""Shares below are rounding errors: the target does not depend on that text encoder."""


@dataclass(frozen=True)
class Token:
    """A token, or the words around the pieces, that paraphrases share.

    Attributes:
        order: Its part of the prompt, and its index within that part.
        label: What it is called.
    """

    order: tuple[int, int]
    label: str


Positions = dict[Token, list[tuple[int, int]]]
"""Pairs of a position in the full prompt and its counterpart in the prompt without the pieces."""


def patch_tokens(
    model: Model,
    paraphrases: Sequence[SegmentedPrompt],
    targets: Sequence[Target],
    *,
    removal: Removal = "baseline",
    seeds: Sequence[int] = (),
    progress: Progress,
) -> tuple[PatchEffect, ...]:
    """Patch every token at every text block, for targets read at the conditioning site or before.

    Args:
        model: The model.
        paraphrases: The replicates; the first 20 are used.
        targets: Only blocks that a target is read after are patched for it.
        removal: What happens to the pieces in the prompt that the patches are read from.
        seeds: The seed of each paraphrase's one sample; by default `item_seeds` of its text.
        progress: Receives how many blocks are patched.

    Returns:
        One effect per target, block and token. There are none for labels, targets that the pieces
        do not change, text encoders that a target does not depend on, and tokenizers that
        give no offsets of tokens in the text.
    """
    # A limit, since each token of each block takes a run of its own for all paraphrases.
    seeds = seeds or [item_seeds(each.full_text, 1)[0] for each in paraphrases]
    usable = [
        (each, (own,))
        for each, own in zip(paraphrases, seeds, strict=True)
        if each.text_without_pieces(removal)
    ][:MAX_PARAPHRASES]
    effects: list[PatchEffect] = []
    for stage, window in model.family.text_windows.items():
        readers = {
            site: site_readers
            for site in text_blocks(model, stage)
            # A one-element loop binds the name within the comprehension.
            for site_readers in [[each for each in targets if _is_read_after(model, each, site)]]
            if site_readers
        }
        if readers and isinstance(window, TextEncoder):
            of_stage = _patch_stage(model, window, readers, usable, removal, progress)
            # A target may read one text encoder alone: what it shows of another is rounding error.
            dependent = {each.target for each in of_stage if abs(each.lost) > MIN_SHARE}
            effects += [each for each in of_stage if each.target in dependent]
    return tuple(effects)


def _is_read_after(model: Model, target: Target, block: str) -> bool:
    """Whether a target is read at a block of a text encoder, or where its output may lead."""
    if not isinstance(target.term, DirectionTerm):
        return False
    site, family = parse(target.term.site).site, model.family
    stage = model.sites[site].stage
    if stage == model.sites[block].stage:
        order = list(model.sites)
        return order.index(block) <= order.index(site)
    # A prior reads all text encoders; a text encoder reads no other one.
    encoded = stage in family.encoder_stages and stage not in family.text_windows
    return encoded or site in model.conditioning_sites


def _patch_stage(
    model: Model,
    window: TextEncoder,
    readers: Mapping[str, Sequence[Target]],
    samples: Sequence[tuple[SegmentedPrompt, tuple[int]]],
    removal: Removal,
    progress: Progress,
) -> list[PatchEffect]:
    """Patch one text encoder; `readers` are the targets that are read after each block.

    `samples` are the paraphrases with their seeds.
    """
    paraphrases, seeds = zip(*samples, strict=True)
    groups = template_groups(paraphrases)
    full_texts = [each.full_text for each in paraphrases]
    removed_texts = [each.text_without_pieces(removal) for each in paraphrases]
    positions = [_positions(window, each, removal) for each in paraphrases]
    # Each term once, in a fixed order, whatever number of blocks it is read after.
    terms = [target.term for target in dict.fromkeys(itertools.chain(*readers.values()))]
    # Values per position are used once: a cache would only fill memory.
    evaluator = Evaluator(model, cache=False, batch=BATCH)
    full, removed = (
        measure_terms(evaluator, terms, texts, seeds, sites=list(readers), pool="none")
        for texts in (full_texts, removed_texts)
    )
    effects: list[PatchEffect] = []
    for completed, (site, targets) in enumerate(readers.items(), 1):
        activations = full.sites[site].values[:, 0]
        counterparts = removed.sites[site].values[:, 0]
        # A token for all paraphrases at once: one run instead of one for each.
        for position, token in enumerate(_shared(positions)):
            pairs = [each.get(token, []) for each in positions]
            edit = Patch(site, _patched(activations, counterparts, pairs))
            site_terms = [target.term for target in targets]
            patched = measure_terms(evaluator, site_terms, full_texts, seeds, edits=[edit])
            # Paraphrases without the token would dilute its share.
            has_token = np.array([bool(each) for each in pairs])
            for target in targets:
                values, without, with_patch = (
                    readings.values[target.term][has_token] for readings in (full, removed, patched)
                )
                share = _share_lost(values, without, with_patch, groups[has_token])
                if share is not None:
                    effects.append(PatchEffect(target.name, site, token.label, position, *share))
        progress("patching tokens", completed, len(readers))
    return effects


def _shared(positions: Sequence[Positions]) -> list[Token]:
    """Tokens that at least half of the paraphrases have, in their order."""
    tokens = sorted({token for each in positions for token in each}, key=lambda token: token.order)
    return [
        token for token in tokens if 2 * sum(token in each for each in positions) >= len(positions)
    ]


def _share_lost(
    full: Floats, removed: Floats, patched: Floats, groups: Integers
) -> tuple[float, float, float] | None:
    """The share of the pieces' effect that the patch removes, with its interval.

    None where the interval of the effect itself includes 0.
    """
    # Paraphrases of one template are no independent evidence: their mean is.
    effect, lost = (
        template_means(values, groups)[:, None] for values in (full - removed, full - patched)
    )
    if len(effect) < 2 or not np.isfinite([effect, lost]).all():
        return None
    low, high = mean_interval(effect)
    # A share of an effect that may be zero has no meaning, and its interval no bounds.
    if low[0] <= 0 <= high[0]:
        return None
    share = float(lost.mean() / effect.mean())
    # The delta method: what a template adds to the quotient of two means, both of which vary.
    low, high = mean_interval(share + (lost - share * effect) / effect.mean())
    return share, float(low[0]), float(high[0])


def _patched(
    activations: Floats, counterparts: Floats, pairs: Sequence[Sequence[tuple[int, int]]]
) -> Floats:
    """Activations `[prompt, position, unit]` with those of the pairs' positions exchanged."""
    patched = activations.copy()
    for row, positions in enumerate(pairs):
        for position, counterpart in positions:
            patched[row, position] = counterparts[row, counterpart]
    return patched


def _positions(window: TextEncoder, paraphrase: SegmentedPrompt, removal: Removal) -> Positions:
    """Tokens of pieces one by one, the words around them together, and the end token.

    The last tokens of a piece are paired with the last ones of its baseline. Empty where the
    tokenizer gives no offsets of tokens in the text.
    """
    count = len(paraphrase.pieces)
    full, removed = (
        _tokens_by_part(window, paraphrase.characters([present] * count, removal))
        for present in (True, False)
    )
    positions: Positions = {}
    for part, tokens in full.items():
        counterparts = removed.get(part, [])
        if not counterparts:
            continue
        for index, (position, text) in enumerate(tokens):
            # Odd parts are pieces, even ones the words around them.
            if part % 2:
                token = Token((part, index), text)
                # A piece of more tokens than its baseline: its first ones share the baseline's
                # first token.
                counterpart = max(len(counterparts) - len(tokens) + index, 0)
            else:
                token = Token((part, 0), _context_label(paraphrase, part // 2))
                # Context may lose tokens with a piece, such as its article:
                # the rest share the last one.
                counterpart = min(index, len(counterparts) - 1)
            pair = position, counterparts[counterpart][0]
            positions.setdefault(token, []).append(pair)
    texts = paraphrase.full_text, paraphrase.text_without_pieces(removal)
    ends = _end(window, texts[0]), _end(window, texts[1])
    positions[Token((2 * count + 1, 0), END)] = [ends] if full else []
    return positions


def _context_label(paraphrase: SegmentedPrompt, index: int) -> str:
    pieces = paraphrase.pieces
    return f"before {pieces[index].words}" if index < len(pieces) else f"after {pieces[-1].words}"


def _end(window: TextEncoder, text: str) -> int:
    """The position of the end-of-text token."""
    return int(window.end_mask([text])[0].nonzero()[-1])


def _tokens_by_part(
    window: TextEncoder, characters: Characters
) -> dict[int, list[tuple[int, str]]]:
    """Positions and texts of the tokens of each part of the prompt.

    Even parts are the words before, between and after the pieces, odd parts are the pieces.
    """
    text = "".join(character for character, _ in characters)
    offsets = window.offsets(text)
    if offsets is None:
        return {}
    parts = [2 * owner + 1 if owner >= 0 else -2 * (owner + 1) for _, owner in characters]
    tokens: dict[int, list[tuple[int, str]]] = {}
    for position, (start, end) in enumerate(offsets):
        token = text[start:end]
        if token.strip():
            # A token may begin with the blank before its word, which belongs to the part before.
            first = start + len(token) - len(token.lstrip())
            tokens.setdefault(parts[first], []).append((position, token.strip()))
    return tokens
