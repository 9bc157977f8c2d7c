"""Attention maps of words: which layers, which words, and the run that reads them.

maps = model.attention("a cat and a ship", 0, words=["cat", "ship"])
maps.array                              # DataArray, dims sample word y x
maps.plot()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from clerestory.checks import check_choice
from clerestory.errors import OptionError, SiteError
from clerestory.models.attention_maps import REST, AttentionMaps, PictureDifference, Word
from clerestory.models.attention_outputs import (
    concept_pass,
    describe_concepts,
    joint_layers,
    usual_layers,
)
from clerestory.models.attention_words import (
    WordOccurrence,
    find_words,
    token_texts,
    word_token_masks,
)
from clerestory.models.core.addresses import select
from clerestory.models.core.attention import AttentionCapture
from clerestory.models.core.attention_backends import switch_to_sdpa
from clerestory.models.core.attention_layers import (
    AttentionLayer,
    Direction,
    Space,
    attention_layers,
)
from clerestory.models.core.attention_outputs import OutputCapture
from clerestory.models.core.pipeline_state import hold_pipeline
from clerestory.models.core.requests import Request, branch_texts
from clerestory.models.core.runs import Run, step_coordinates
from clerestory.models.core.sweeps import run_sweep
from clerestory.models.core.types import Branch, Edit, Sample
from clerestory.types import Pictures, ProgressOption

if TYPE_CHECKING:
    import xarray as xr

    from clerestory.models.model import Model

__all__ = ["AttentionQuestion", "read_attention", "select_layers"]

KEPT = ("layer", "step", "head")


@dataclass(frozen=True)
class AttentionQuestion:
    """What is asked of the attention, as `Model.attention` takes it.

    Attributes:
        words: Words or phrases; None for all words of the prompts.
        layers: Patterns of layers; None for all in which the picture attends to words.
        steps: Indices of steps; None for all.
        heads: Indices of heads; None for all.
        keep: What is kept apart: `layer`, `step`, `head`.
        direction: Who attends to whom; None for the layers' usual.
        branch: The branch of guidance.
        space: `weights` of attention, or its `output`; None for `output` with concepts alone.
        concepts: Words or phrases that prompts need not have, in place of `words`.
    """

    words: Sequence[str] | None = None
    layers: str | Sequence[str] | None = None
    steps: Sequence[int] | None = None
    heads: Sequence[int] | None = None
    keep: Sequence[str] = ()
    direction: Direction | None = None
    branch: Branch = "cond"
    space: Space | None = None
    concepts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_choice(OptionError, get_args(Branch), branch=self.branch)
        if self.direction is not None:
            check_choice(OptionError, get_args(Direction), direction=self.direction)
        for name in self.keep:
            check_choice(OptionError, KEPT, keep=name)
        for name in ("steps", "heads"):
            chosen = getattr(self, name)
            if chosen is not None and (not chosen or min(chosen) < 0):
                raise OptionError(f"{name} is {list(chosen)!r}; write indices such as [0, 1].")
        if self.space is not None:
            check_choice(OptionError, get_args(Space), space=self.space)
        if self.reads_output and self.direction is not None:
            raise OptionError("direction is of weights; maps of outputs have none.")
        if self.concepts is not None:
            self._check_concepts(self.concepts)

    @property
    def reads_output(self) -> bool:
        """Whether maps are of attention's outputs."""
        return self.space == "output" or self.concepts is not None

    def _check_concepts(self, concepts: Sequence[str]) -> None:
        if self.words is not None or self.space == "weights":
            raise OptionError(
                "concepts are compared in the output space, in place of words of the prompt: give "
                "concepts or words, and no space='weights' with concepts."
            )
        names = [name.strip() for name in concepts]
        if not all(names) or len(set(names)) < len(names):
            raise OptionError(f"concepts is {list(concepts)!r:.200}; write each once.")
        _check_count(names)


def select_layers(
    model: Model, patterns: str | Sequence[str] | None, direction: Direction | None
) -> tuple[list[AttentionLayer], Direction]:
    """The layers that are asked for, and who attends to whom in them.

    Args:
        model: The model.
        patterns: Addresses with `*`; None for all layers in which the picture attends to words.
        direction: Who attends to whom; None for the usual.

    Returns:
        Layers in the order in which they run, and the direction.

    Raises:
        SiteError: There are no such layers, or none with words.
        OptionError: The layers have no common kind of map.
    """
    layers = attention_layers(model.family)
    if not layers:
        raise SiteError(
            f"{model.name} is of no known family, so that it is not known which of its modules "
            "attend to words."
        )
    chosen = [layer for layer in layers if layer.has_maps]
    if patterns is not None:
        chosen = _match(layers, patterns)
    if not chosen:
        raise SiteError(_no_maps(model.name, layers))
    worded = [layer for layer in chosen if layer.directions]
    if not worded:
        raise SiteError(
            f"The layers {patterns!r} have no words among their queries and keys: in "
            f"{chosen[0].address} positions of the picture attend to one another, or to tokens that"
            " are made of an image embedding."
        )
    if direction is None:
        _check_kinds(worded)
    found = direction or worded[0].directions[0]
    fitting = [layer for layer in worded if found in layer.directions]
    if not fitting:
        raise SiteError(
            f"{worded[0].address} has no attention {found}; it has "
            f"{' and '.join(worded[0].directions)}."
        )
    _check_kinds(fitting)
    return fitting, found


def read_attention(
    model: Model,
    samples: tuple[Sample, ...],
    question: AttentionQuestion,
    *,
    edits: Sequence[Edit],
    pictures: bool | None,
    batch: int,
    progress: ProgressOption,
) -> AttentionMaps:
    """Draw samples and read the attention of words on the way.

    Args:
        model: The model.
        samples: What is drawn.
        question: What is read.
        edits: As in `Model.run`.
        pictures: Whether pictures are drawn; None for where words have maps.
        batch: As in `Model.run`.
        progress: As in `Model.run`.

    Returns:
        The maps and the pictures.

    Raises:
        ClerestoryError: As `Model.attention`.
    """
    layers, direction = _layers(model, question)
    _check_heads(layers, question.heads)
    if pictures is None:
        pictures = layers[0].has_maps and direction != "between-words"
    request = Request(
        samples=samples,
        read={},
        edit_sets=(tuple(edits),),
        pool="mean",
        branch=question.branch,
        pictures=pictures,
        stop="auto",
        batch=batch,
        taps={},
        progress=progress,
    )
    if edits:
        # Imported here, since masks of words are maps of attention themselves.
        from clerestory.models.word_masks import with_word_masks

        request = with_word_masks(model, request)
    with hold_pipeline(model.pipeline):
        words, capture = _capture(model, samples, question, layers, direction)
        addresses = [layer.address for layer in layers]
        capture.rebuild = partial(_rebuild, samples, question, addresses, direction)
        with switch_to_sdpa(model.pipeline, layers) as switched:
            # To tell what the switch does to pictures, they must be there.
            drawn = pictures or bool(switched)
            (run,) = run_sweep(model, replace(request, attention=capture, pictures=drawn))
        capture.check()
        difference = None
        if switched:
            (unswitched,) = run_sweep(model, replace(request, pictures=True))
            difference = _difference(run.pictures, unswitched.pictures, tuple(switched))
    array = _array(capture, run, words)
    array.attrs = {
        "model": model.name,
        "revision": model.revision,
        "space": "output" if question.reads_output else "weights",
        **({} if question.reads_output else {"direction": direction}),
        "branch": question.branch,
        "layers": [layer.address for layer in layers],
        "steps": sorted(capture.seen_steps),
    }
    if isinstance(capture, OutputCapture) and capture.concept_pass is not None:
        tokens = capture.concept_pass.concepts
        concepts = describe_concepts(model, words, tokens)
        described = {sample.prompt: concepts for sample in samples}
    else:
        described = _describe(model, layers[0].window, question.branch, samples, words)
    return AttentionMaps(array, run.pictures if pictures else None, described, difference)


def _layers(
    model: Model, question: AttentionQuestion
) -> tuple[Sequence[AttentionLayer], Direction]:
    """The layers that are asked for, of maps of outputs those of joint attention."""
    if not question.reads_output:
        return select_layers(model, question.layers, question.direction)
    joint = joint_layers(model)
    if question.layers is None:
        return usual_layers(joint), "to-words"
    chosen = _match(attention_layers(model.family), question.layers)
    others = [layer.address for layer in chosen if layer not in joint]
    if others:
        raise SiteError(
            f"{others[0]} has no output-space maps: text and picture do not attend to each other "
            f"in it, as they do in {joint[0].address}."
        )
    return chosen, "to-words"


def _capture(
    model: Model,
    samples: Sequence[Sample],
    question: AttentionQuestion,
    layers: Sequence[AttentionLayer],
    direction: Direction,
) -> tuple[list[WordOccurrence], AttentionCapture]:
    """What is asked for by name, and what reads it."""
    family, branch = model.family, question.branch
    texts = branch_texts(samples, branch)
    if question.concepts is None:
        words = find_words(family.text_window(layers[0].window, branch), texts, question.words)
    else:
        names = [name.strip() for name in question.concepts]
        family.check_prompts(names)
        words = [WordOccurrence(name, name) for name in names]

    def marks(name: str, batch: Sequence[Sample]) -> Any:
        window, texts = family.text_window(name, branch), branch_texts(batch, branch)
        if question.concepts is not None:
            # Of the window's tokens only their number counts then.
            return window.token_mask(texts)[:, None]
        return word_token_masks(window, texts, words)

    asked = (
        layers,
        direction,
        marks,
        branch,
        None if question.steps is None else tuple(sorted(set(question.steps))),
        None if question.heads is None else tuple(sorted(set(question.heads))),
        tuple(question.keep),
    )
    if not question.reads_output:
        return words, AttentionCapture(*asked)
    _check_count(words)
    second = None
    if question.concepts is not None:
        second = concept_pass(model, layers, [word.word for word in words], samples[0].options)
    return words, OutputCapture(*asked, concept_pass=second)


def _rebuild(
    samples: Sequence[Sample],
    question: AttentionQuestion,
    addresses: Sequence[str],
    direction: Direction,
    model: Model,
) -> AttentionCapture:
    """What reads the same in another process, whose model has layers of its own."""
    layers = {layer.address: layer for layer in attention_layers(model.family)}
    chosen = [layers[address] for address in addresses]
    return _capture(model, samples, question, chosen, direction)[1]


def _check_count(words: Sequence[Any]) -> None:
    """OptionError for a single word, whose share among itself is 1 everywhere."""
    if len(words) < 2:
        raise OptionError(
            "Maps of outputs are shares among words or concepts: name at least two, such as the "
            "object and what is around it."
        )


def _check_heads(layers: Sequence[AttentionLayer], heads: Sequence[int] | None) -> None:
    """SiteError where a layer does not have a head, as far as its sites tell."""
    for layer in layers:
        if heads is not None and layer.heads is not None and max(heads) >= layer.heads:
            raise SiteError(
                f"{layer.address} has no head {max(heads)}; its {layer.heads} heads are 0 to "
                f"{layer.heads - 1}."
            )


def _check_kinds(layers: Sequence[AttentionLayer]) -> None:
    """OptionError where layers have no common kind of map."""
    kinds = {"maps" if layer.has_maps else layer.kind: layer.address for layer in layers}
    if len(kinds) > 1:
        first, other, *_ = kinds.values()
        raise OptionError(
            f"{first} and {other} have maps of different kinds: ask for the layers of one part of "
            "the model."
        )


def _match(layers: Sequence[AttentionLayer], patterns: str | Sequence[str]) -> list[AttentionLayer]:
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if "[" in pattern or "@" in pattern:
            raise OptionError(
                f"The layer {pattern!r} has units or steps; write heads=[0] and steps=[0, 1]."
            )
    known: dict[str, int | None] = {layer.address: None for layer in layers}
    chosen = select(patterns, known, noun="attention layer")
    return [layer for layer in layers if layer.address in chosen]


def _no_maps(name: str, layers: Sequence[AttentionLayer]) -> str:
    """Why a model has no maps of words, and what it has."""
    offers = {
        "layers='prior.*' tells how much the image embedding is made of each word": "prior",
        "layers='text.*' tells which word reads which": "text",
    }
    kinds = {layer.kind for layer in layers}
    others = " and ".join(offer for offer, kind in offers.items() if kind in kinds)
    return (
        f"{name} has no maps of words: its denoiser is given an image embedding or a pooled state "
        "in place of word tokens, so that no position of the picture attends to a word. "
        f"{others or 'There is no other attention to words'}."
    )


def _array(capture: AttentionCapture, run: Run, words: Sequence[WordOccurrence]) -> xr.DataArray:
    """The maps with labels; axes that they are averaged over are left out."""
    import xarray as xr

    batches = [capture.batches[start] for start in sorted(capture.batches)]
    values = np.concatenate([batch.mean().numpy() for batch in batches])
    first, labels = batches[0], [word.label for word in words]
    rows, columns = first.grid
    cells: dict[str, Any] = {}
    if rows:
        values = values.reshape(*values.shape[:-1], rows, columns)
        cells = {
            "y": (np.arange(rows) + 0.5) / rows,
            "x": (np.arange(columns) + 0.5) / columns,
        }
    elif capture.direction == "between-words":
        cells = {"source": np.array([*labels, REST], dtype=object)}
    else:
        values = values[..., 0]
    steps = [capture.seen_steps[index] for index in first.steps if index >= 0]
    heads = capture.heads or range(values.shape[4])
    kept = {
        "layer": {"layer": np.array(first.layers, dtype=object)},
        "step": step_coordinates(steps),
        "head": {"head": list(heads)},
    }
    dropped = tuple(2 + axis for axis, name in enumerate(KEPT) if name not in capture.keep)
    coordinates = {
        **run.sample_coordinates(),
        "word": np.array(labels, dtype=object),
        **{
            key: entry for name in KEPT if name in capture.keep for key, entry in kept[name].items()
        },
        **cells,
    }
    dims = ("sample", "word", *(name for name in KEPT if name in capture.keep), *cells)
    return xr.DataArray(values.squeeze(dropped), dims=dims, coords=coordinates, name="attention")


def _describe(
    model: Model,
    name: str,
    branch: Branch,
    samples: Sequence[Sample],
    words: Sequence[WordOccurrence],
) -> dict[str, list[Word]]:
    """Tokens and positions of the words, by prompt."""
    family, described = model.family, dict[str, list[Word]]()
    for sample in {sample.prompt: sample for sample in samples}.values():
        (text,) = branch_texts([sample], branch)
        masks = [word.mask(family.text_window(name, branch), [text])[0] for word in words]
        described[sample.prompt] = [
            Word(word.label, token_texts(family, text, word), mask.nonzero()[:, 0].tolist())
            for word, mask in zip(words, masks, strict=True)
        ]
    return described


def _difference(
    switched: Pictures | None, before: Pictures | None, what: tuple[str, ...]
) -> PictureDifference:
    assert switched is not None and before is not None
    change = np.abs(switched.astype(np.float32) - before) / 255
    return PictureDifference(what, float(change.max()), float(change.mean()))
