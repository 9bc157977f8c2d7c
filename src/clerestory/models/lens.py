"""The diffusion lens: the picture of a prompt as drawn from each layer of its text encoder.

lens = model.lens("a cat in a library", range(2))
lens.pictures["text.blocks.3/resid"]     # [sample, height, width, 3]
lens.plot()

The blocks after a layer pass its output on unchanged, and all that follows is as usual: the final
norm, the prior, the denoiser. So the picture shows what the encoder has made of the prompt so far.

Source: Toker et al. 2024, Diffusion Lens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from clerestory.errors import OptionError, SiteError
from clerestory.models.core.requests import Request
from clerestory.models.core.sweeps import run_sweep
from clerestory.models.core.types import Edit, Sample
from clerestory.registry import suggest
from clerestory.reporting.pictures import grid, save
from clerestory.reporting.results import PicturedResult
from clerestory.types import Floats, Pictures, ProgressOption

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from clerestory.models.model import Model

__all__ = ["LayerClasses", "LensQuestion", "LensResult", "read_lens", "text_blocks"]

CHART_SIDE = 140
"""Pixels of the longer side of a picture in a chart."""
Classify = Callable[[Pictures], Floats]
"""From pictures `[n, height, width, 3]` to probabilities `[n, class]`."""


@dataclass(frozen=True)
class LayerClasses:
    """What a classifier predicts of the pictures of each layer.

    Attributes:
        classifier: The classifier's name.
        labels: The predicted class, `[layer][sample]`.
        stable_from: Of each sample, the first layer from which on the prediction is that of the
            whole encoder, also at all layers after it.
    """

    classifier: str
    labels: tuple[tuple[str, ...], ...]
    stable_from: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class LensResult(PicturedResult):
    """Pictures drawn from each layer.

    Attributes:
        layers: Addresses of the blocks, the first block first; of several text encoders those of
            the one with most blocks.
        cuts: By layer, the block after which each text encoder's blocks pass their input on.
        prompts: The prompt of each sample.
        seeds: The seed of each sample.
        classes: What classifiers predict; see `classify`.
        pictures: `[sample, height, width, 3]` by layer.
    """

    figures_file: ClassVar[str] = "lens.json"
    layers: tuple[str, ...]
    cuts: tuple[Mapping[str, str], ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    classes: tuple[LayerClasses, ...] = field(default=(), kw_only=True)

    def classify(self, name: str, classes: Sequence[str], classifier: Classify) -> LensResult:
        """Add what a classifier predicts of each picture.

        Args:
            name: The classifier's name.
            classes: Its classes.
            classifier: From pictures to probabilities `[picture, class]`.

        Returns:
            A copy.
        """
        labels = tuple(
            tuple(classes[index] for index in np.asarray(classifier(pictures)).argmax(1))
            for pictures in (self.pictures[layer] for layer in self.layers)
        )
        stable = tuple(self.layers[_stable_from(column)] for column in zip(*labels, strict=True))
        return replace(self, classes=(*self.classes, LayerClasses(name, labels, stable)))

    @override
    def summary(self) -> str:
        parts = [
            f"{len(self.prompts)} sample{'s' * (len(self.prompts) != 1)} drawn from "
            f"{len(self.layers)} layers, {self.layers[0]} to {self.layers[-1]}"
        ]
        for each in self.classes:
            indices = sorted(self.layers.index(layer) for layer in each.stable_from)
            middle = self.layers[indices[(len(indices) - 1) // 2]]
            parts.append(f"{each.classifier} is stable from {middle} on in half of them")
        return "; ".join(parts) + "."

    @override
    def table(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(
            {
                "layer": layer,
                "prompt": prompt,
                "seed": seed,
                **{each.classifier: each.labels[row][sample] for each in self.classes},
            }
            for row, layer in enumerate(self.layers)
            for sample, (prompt, seed) in enumerate(zip(self.prompts, self.seeds, strict=True))
        )

    def sheet(self) -> Pictures:
        """All pictures as one: a row for each layer, the first on top, a column for each sample."""
        tiles = [picture for layer in self.layers for picture in self.pictures[layer]]
        return grid(tiles, columns=len(self.prompts))

    @override
    def plot(self) -> Any:
        """The pictures with their layers and predictions, as an Altair chart."""
        import altair as alt
        import pandas as pd

        from clerestory.reporting.pictures import data_address

        rows = []
        for row, layer in enumerate(self.layers):
            for sample, picture in enumerate(self.pictures[layer]):
                labels = [each.labels[row][sample] for each in self.classes]
                column = f"{sample + 1}. {self.prompts[sample]} ({self.seeds[sample]})"
                rows.append({"layer": layer, "sample": column, "url": data_address(picture)})
                rows[-1]["prediction"] = ", ".join(labels)
        base = alt.Chart(pd.DataFrame(rows)).encode(
            x=alt.X("sample:N", sort=None, title=None, axis=alt.Axis(labelAngle=0)),
            y=alt.Y("layer:N", sort=None, title=None),
        )
        pictures = base.mark_image(width=CHART_SIDE, height=CHART_SIDE).encode(url="url:N")
        text = base.mark_text(dy=CHART_SIDE // 2 + 8, fontSize=10).encode(text="prediction:N")
        step = CHART_SIDE + 24
        return (pictures + text).properties(width=alt.Step(step), height=alt.Step(step))

    @override
    def write(self, folder: Path) -> None:
        super().write(folder)
        save(self.sheet(), folder / "grid.png")


def text_blocks(model: Model, stage: str) -> list[str]:
    """The residual stream after each block of a text encoder that something reads.

    Args:
        model: The model.
        stage: A text encoder's stage.

    Returns:
        Addresses, the first block first.
    """
    return [
        site.address
        for site in model.sites.values()
        if site.stage == stage and site.tap == "resid" and site.affects_output is not False
    ]


@dataclass(frozen=True)
class LensQuestion:
    """What is drawn, as `Model.lens` takes it.

    Attributes:
        layers: Indices of blocks, of the encoder with most of them; None for all.
        encoders: Stages of the text encoders that are cut; None for all of them.
    """

    layers: Sequence[int] | None = None
    encoders: Sequence[str] | None = None


def read_lens(
    model: Model,
    samples: tuple[Sample, ...],
    question: LensQuestion,
    *,
    batch: int,
    progress: ProgressOption,
) -> LensResult:
    """Draw samples from each layer of the text encoders.

    Args:
        model: The model.
        samples: What is drawn.
        question: Layers and encoders.
        batch: As in `Model.run`.
        progress: As in `Model.run`.

    Returns:
        The pictures.

    Raises:
        ClerestoryError: As `Model.lens`.
    """
    blocks = _blocks(model, question.encoders)
    # The encoder of most blocks sets the depths: each of its blocks is drawn once.
    longest = max(blocks.values(), key=len)
    chosen = _layers(longest, question.layers)
    # Text encoders draw no noise: the states of a prompt are those of all its seeds.
    prompts = {sample.prompt: sample for sample in samples}
    request = Request(
        samples=tuple(prompts.values()),
        read=model.sites.select([site for sites in blocks.values() for site in sites]),
        edit_sets=((),),
        pool="none",
        branch="cond",
        pictures=False,
        stop="auto",
        batch=batch,
        taps={},
        progress=False,
    )
    values = run_sweep(model, request)[0].site_values
    rows = [list(prompts).index(sample.prompt) for sample in samples]
    states = {site: values[site].array()[:, 0][rows] for site in values}
    cuts = [_cut(blocks, (index + 1) / len(longest)) for index in chosen]
    edits = tuple(
        tuple(
            _PassOn(later, states[site])
            for stage, site in cut.items()
            for later in blocks[stage][blocks[stage].index(site) + 1 :]
        )
        for cut in cuts
    )
    drawn = replace(
        request, samples=samples, read={}, edit_sets=edits, pictures=True, progress=progress
    )
    runs = run_sweep(model, drawn)
    pictures: dict[str, Pictures] = {}
    for index, run in zip(chosen, runs, strict=True):
        assert run.pictures is not None
        pictures[longest[index]] = run.pictures
    return LensResult(
        tuple(pictures),
        tuple(cuts),
        tuple(sample.prompt for sample in samples),
        tuple(sample.seed for sample in samples),
        pictures=pictures,
    )


@dataclass(frozen=True, eq=False)
class _PassOn:
    """Makes a block give what an earlier one gave, so that it changes nothing.

    `values` are `[sample, position, unit]`, NaN at positions that a sample does not have.
    """

    site: str
    values: Floats

    @property
    def samples(self) -> int:
        return len(self.values)

    def at(self, rows: Sequence[int]) -> Edit:
        return replace(self, values=self.values[list(rows)])

    def __call__(self, value: Tensor) -> Tensor:
        # What is beyond belongs to longer prompts, which are in another batch.
        part = torch.from_numpy(self.values[:, : value.shape[1]]).to(value.device, value.dtype)
        return torch.where(part.isnan(), value, part)


def _blocks(model: Model, encoders: Sequence[str] | None) -> dict[str, list[str]]:
    """The blocks of each text encoder that is cut."""
    stages = model.family.text_windows
    known = {stage: text_blocks(model, stage) for stage in stages}
    known = {stage: sites for stage, sites in known.items() if sites}
    if not known:
        raise SiteError(
            f"{model.name} has no text encoder whose blocks are known, so that nothing can be "
            "drawn from its layers."
        )
    if encoders is None:
        return known
    for stage in encoders:
        if stage not in known:
            raise SiteError(
                f"{model.name} has no text encoder {stage!r} with blocks.{suggest(stage, known)}"
            )
    if not encoders:
        raise SiteError(f"No text encoder is named; there are {', '.join(known)}.")
    return {stage: known[stage] for stage in known if stage in encoders}


def _layers(longest: Sequence[str], layers: Sequence[int] | None) -> list[int]:
    if layers is None:
        return list(range(len(longest)))
    absent = [layer for layer in layers if not 0 <= layer < len(longest)]
    if absent or not layers:
        raise OptionError(
            f"layers is {list(layers)!r}; the text encoder has the layers 0 to {len(longest) - 1}."
        )
    return sorted(set(layers))


def _cut(blocks: Mapping[str, Sequence[str]], depth: float) -> dict[str, str]:
    """The block after which each encoder is cut, at a share of its depth.

    Encoders of 12 and 24 blocks are cut at blocks 6 and 12 together: half-way in both.
    """
    return {stage: sites[max(round(depth * len(sites)), 1) - 1] for stage, sites in blocks.items()}


def _stable_from(labels: Sequence[str]) -> int:
    """The first index from which on all labels are the last one."""
    others = [index for index, label in enumerate(labels) if label != labels[-1]]
    return others[-1] + 1 if others else 0
