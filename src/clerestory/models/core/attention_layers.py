"""The attentions of a model, and where words and picture are among their queries and keys.

They follow from the sites: an attention is the module around the matrix of a `q`, and the text
windows of its sites tell which positions are tokens. A layer has the address of its block with
`self_attn`, `cross_attn` or `second_attn`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from clerestory.errors import SiteError
from clerestory.models.core.family import Family, SiteHook, StageCall

__all__ = ["AttentionLayer", "Direction", "LayerKind", "Space", "Spans", "attention_layers"]

Direction = Literal["to-words", "from-words", "between-words"]
"""Who attends to whom: the picture to words, words to the picture, or words to words."""
Space = Literal["weights", "output"]
"""What maps are made of: the weights that positions give to words, or what attention gives."""
LayerKind = Literal[
    "cross", "condition", "trailing", "joint", "row", "streams", "text", "prior", "picture"
]
"""Which tokens an attention has.

`cross`: the picture's queries, the keys of tokens alone. `condition`: keys of the picture follow
those of tokens; `trailing`: they precede them. `joint`: the two streams of a block, one after the
other. `row`: tokens, then the picture, in one stream. `streams`: the same at places that each call
has of its own. `text`: tokens alone. `prior`: tokens, then what the image embedding is predicted
from. `picture`: no tokens.
"""
DIRECTIONS: dict[LayerKind, tuple[Direction, ...]] = {
    "cross": ("to-words",),
    "condition": ("to-words",),
    "trailing": ("to-words",),
    "joint": ("to-words", "from-words", "between-words"),
    "row": ("to-words", "from-words", "between-words"),
    "streams": ("to-words", "from-words", "between-words"),
    "text": ("between-words",),
    "prior": ("to-words", "between-words"),
    "picture": (),
}
"""Directions that each kind has, the usual one first."""
TAPS = {"q": "self_attn", "cross_q": "cross_attn", "second_q": "second_attn"}
"""Names of layers by the taps of their queries."""
TEXT_BLOCKS = ("context_refiner", "text_blocks")
"""What blocks of a denoiser are called that see the text alone (Z-Image, Kandinsky 5)."""


@dataclass(frozen=True)
class Spans:
    """Where words and picture are in one call of an attention; None for what it does not have.

    Attributes:
        word_keys: Keys of the text window, from its first token on.
        word_queries: Queries of the text window.
        picture_keys: Keys of the picture's positions.
        picture_queries: Queries of the picture's positions; of a prior, the one that the image
            embedding is read from.
    """

    word_keys: slice
    word_queries: slice | None = None
    picture_keys: slice | None = None
    picture_queries: slice | None = None


@dataclass(frozen=True)
class AttentionLayer:
    """One attention of a model.

    Attributes:
        address: Its address, such as `denoiser.blocks.3.image/self_attn`.
        kind: Which tokens it has.
        path: The dotted path of its module.
        module: The module.
        query_site: The address of its queries, or of the picture's.
        window: The text window of its tokens; "" where it has none.
        heads: Number of attention heads, where the sites tell.
        text_comes_first: Of two streams: whether the text's positions are the first.
    """

    address: str
    kind: LayerKind
    path: str
    module: nn.Module
    query_site: str
    window: str
    heads: int | None
    text_comes_first: bool = True

    @property
    def stage(self) -> str:
        """The part of the model that it belongs to."""
        return self.address.split("/")[0].split(".")[0]

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The directions of attention that it has, the usual one first."""
        return DIRECTIONS[self.kind]

    @property
    def has_maps(self) -> bool:
        """Whether the picture's positions are among its queries, so that a word has a map."""
        return self.kind not in ("text", "prior", "picture")

    def spans(self, queries: int, keys: int, tokens: int, call: StageCall) -> Spans:
        """Where words and picture are in one call.

        Args:
            queries: Number of queries.
            keys: Number of keys.
            tokens: Number of tokens in the text window.
            call: The call of the stage.

        Returns:
            The positions of words and picture.

        Raises:
            SiteError: The numbers are not those that the sites of this layer tell.
        """
        words = slice(0, tokens)
        if self.kind == "streams":
            text = slice(*call.streams["text"].indices(keys))
            picture = slice(*call.streams["image"].indices(keys))
            words = slice(text.start, text.start + tokens)
            self._check(words.stop <= text.stop, queries, keys, tokens)
            return Spans(words, words, picture, picture)
        if self.kind == "joint" and not self.text_comes_first:
            words, picture = slice(keys - tokens, keys), slice(0, keys - tokens)
        else:
            picture = slice(tokens, keys)
        if self.kind in ("joint", "row"):
            self._check(queries == keys > tokens, queries, keys, tokens)
            return Spans(words, words, picture, picture)
        if self.kind == "condition":
            self._check(keys in (tokens, tokens + queries), queries, keys, tokens)
            return Spans(words, None, None, slice(0, queries))
        if self.kind == "trailing":
            self._check(keys >= queries + tokens, queries, keys, tokens)
            return Spans(slice(queries, queries + tokens), None, None, slice(0, queries))
        if self.kind == "cross":
            # Tokens of a pooled state may follow.
            self._check(keys >= tokens, queries, keys, tokens)
            return Spans(words, None, None, slice(0, queries))
        self._check(queries == keys >= tokens, queries, keys, tokens)
        # A prior's prediction is read from its last position.
        last = slice(queries - 1, queries) if self.kind == "prior" else None
        return Spans(words, words, None, last)

    def _check(self, fits: bool, queries: int, keys: int, tokens: int) -> None:
        if not fits:
            raise SiteError(
                f"{self.address} has {queries} queries and {keys} keys, which do not fit the "
                f"{tokens} tokens of its text window: its words cannot be told from the rest."
            )


def attention_layers(family: Family) -> list[AttentionLayer]:
    """The attentions of a model.

    Args:
        family: Its family, whose sites are known.

    Returns:
        Layers in the order of their sites; none for a pipeline of no known family, whose sites do
        not tell queries from keys.
    """
    groups: dict[str, list[SiteHook]] = {}
    for hook in family.site_hooks:
        if hook.site.tap.rsplit("_", 1)[-1] in ("q", "k") and hook.site.module is not None:
            groups.setdefault(hook.site.path.rpartition(".")[0], []).append(hook)
    layers = [_layer(family, path, hooks) for path, hooks in groups.items()]
    return [layer for layer in layers if layer is not None]


def _layer(family: Family, path: str, hooks: Sequence[SiteHook]) -> AttentionLayer | None:
    queries = [hook for hook in hooks if hook.site.tap in TAPS]
    if not queries:
        return None
    # Of two streams the picture's: the text's queries are those of the same module.
    main = next((hook for hook in queries if hook.site.stream != "text"), queries[0])
    kind, window = _kind(family, queries, [hook for hook in hooks if hook not in queries])
    block, _, tap = main.site.address.rpartition("/")
    root, _, inside = path.partition(".")
    module: Any = getattr(family.pipeline, root)
    return AttentionLayer(
        f"{block}/{TAPS[tap]}",
        kind,
        path,
        module.get_submodule(inside),
        main.site.address,
        window,
        main.site.heads,
        family.text_comes_first,
    )


def _kind(
    family: Family, queries: Sequence[SiteHook], keys: Sequence[SiteHook]
) -> tuple[LayerKind, str]:
    """The kind of an attention with these sites, and the text window of its tokens."""
    site, window = queries[0].site, queries[0].text_window
    text = [hook for hook in queries if hook.site.stream == "text"]
    if len(queries) > 1 and text:
        has_places = any(hook.stream for hook in queries)
        return ("streams" if has_places else "joint"), text[0].text_window
    condition = [hook for hook in keys if hook.text_window]
    if not window and condition:
        added = condition[0].site.tap.startswith("condition")
        return ("condition" if added else "cross"), condition[0].text_window
    if not window:
        trailing = family.trailing_windows.get(site.stage, "")
        return ("trailing" if trailing else "picture"), trailing
    part = site.address.split(".")[1]
    if site.stage in family.text_windows or part in TEXT_BLOCKS:
        return "text", window
    return ("prior" if site.stage == "prior" else "row"), window
