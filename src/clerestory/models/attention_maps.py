"""What `Model.attention` gives: maps with labels, figures of each word, overlays, files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from clerestory.errors import EvidenceError, OptionError
from clerestory.io.reading import wrap_errors
from clerestory.reporting.overlays import overlay
from clerestory.reporting.pictures import data_address
from clerestory.reporting.results import Result
from clerestory.stats.maps import concentration, mask_figures, peak
from clerestory.types import Floats, Pictures

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["REST", "AttentionMaps", "PictureDifference", "Word"]

REST = "(rest)"
"""Among what words attend to: start and end, padding, other words, and the picture."""
ARRAYS = "attention.zarr"
CHART_SIDE = 220
"""Pixels of the longer side of a picture in a chart."""


@dataclass(frozen=True)
class Word:
    """A word of a prompt.

    Attributes:
        label: The word, numbered where it stands several times: `cat#2`.
        tokens: Its tokens, as the text encoder with the longest window splits it.
        positions: Where its tokens are among those that the layers attend to, of all encoders.
    """

    label: str
    tokens: Sequence[str]
    positions: Sequence[int]


@dataclass(frozen=True)
class PictureDifference:
    """What it does to pictures to compute attention by `scaled_dot_product_attention`.

    Attributes:
        switched: What was switched, in words.
        largest: The largest change of a pixel's channel, from 0 to 1.
        mean: The mean change.
    """

    switched: Sequence[str]
    largest: float
    mean: float

    def __str__(self) -> str:
        return (
            f"For the maps {' and '.join(self.switched)} gave way to scaled_dot_product_attention,"
            f" which changes the picture by {self.largest:.3g} at most and {self.mean:.2g} in the"
            " mean, of 1."
        )


@dataclass(frozen=True, eq=False, repr=False)
class AttentionMaps(Result):
    """The attention of words.

    Attributes:
        array: Dimensions `sample`, `word`, those of `layer`, `step` and `head` that were kept
            apart, then `y` and `x` (fractions of the picture), or `source` where words attend to
            words. Values are shares of attention.
        pictures: `[sample, height, width, 3]`, uint8; None where none were drawn.
        words: Tokens and positions of the words, by prompt.
        difference: What switching to `scaled_dot_product_attention` did to the pictures; None where
            nothing had to be switched, so that they are those of `Model.run`.
    """

    array: xr.DataArray
    pictures: Pictures | None
    words: Mapping[str, Sequence[Word]] = field(default_factory=dict)
    difference: PictureDifference | None = None

    figures_file: ClassVar[str] = "attention.json"

    @property
    def has_maps(self) -> bool:
        """Whether each word has a map of the picture's positions."""
        return "y" in self.array.dims

    def map(self, word: str, sample: int = 0) -> Floats:
        """One word's map, the mean over all layers, steps and heads that there are.

        Args:
            word: Its label.
            sample: The index of the sample.

        Returns:
            float32 `[y, x]`; NaN where the sample's prompt does not have the word so often.

        Raises:
            OptionError: There is no such word, or words have no maps.
        """
        labels = self.array["word"].to_numpy().tolist()
        if word not in labels:
            raise OptionError(f"There is no map of {word!r}; there are {', '.join(labels)}.")
        if not self.has_maps:
            raise OptionError("These layers have no positions of the picture: see `array`.")
        values: Floats = self._mean(sample)[labels.index(word)]
        return values

    def overlays(self, sample: int = 0) -> dict[str, NDArray[np.uint8]]:
        """Each word's map drawn over the picture.

        Args:
            sample: The index of the sample.

        Returns:
            Pictures `[height, width, 3]` by word.

        Raises:
            OptionError: No pictures were drawn, or words have no maps.
        """
        if self.pictures is None:
            raise OptionError("No pictures were drawn, so that maps have nothing to lie over.")
        labels = self.array["word"].to_numpy().tolist()
        maps = {label: self.map(label, sample) for label in labels}
        # A place that this sample's prompt does not have has no map.
        return {
            label: overlay(self.pictures[sample], values)
            for label, values in maps.items()
            if not np.isnan(values).all()
        }

    def figures(
        self, sample: int = 0, masks: Mapping[str, NDArray[np.bool_]] | None = None
    ) -> dict[str, dict[str, Any]]:
        """The figures of each word in one sample.

        Args:
            sample: The index of the sample.
            masks: By word, where it is in the picture, `[row, column]`.

        Returns:
            By word `tokens`, `positions`; of maps `peak` (fractions of height and width),
            `concentration` (the share of the mass in the top tenth of the positions), and with a
            mask `mass_inside`, `iou` and `pointing` (`stats.maps`); where words attend to words
            `reads`; else `share`.

        Raises:
            OptionError: A mask is of no word, or words have no maps.
        """
        labels = self.array["word"].to_numpy().tolist()
        for named in masks or ():
            if named not in labels:
                raise OptionError(f"The mask is of {named!r}; there are {', '.join(labels)}.")
        prompt = str(self.array["prompt"].to_numpy()[sample])
        described = {word.label: word for word in self.words.get(prompt, ())}
        result: dict[str, dict[str, Any]] = {}
        for label, values in zip(labels, self._mean(sample), strict=True):
            word = described.get(label, Word(label, (), ()))
            if not np.isnan(values).all():
                known = {"tokens": list(word.tokens), "positions": list(word.positions)}
                mask = (masks or {}).get(label)
                result[label] = known | self._figures_of(values, mask)
        return result

    def _figures_of(self, values: Floats, mask: NDArray[np.bool_] | None) -> dict[str, Any]:
        if self.has_maps:
            figures: dict[str, Any] = {
                "peak": list(peak(values)),
                "concentration": concentration(values),
            }
            return figures | ({} if mask is None else mask_figures(values, mask))
        if mask is not None:
            raise OptionError("A mask needs maps, which the attention of these layers has not.")
        if values.ndim:
            sources = self.array["source"].to_numpy().tolist()
            pairs = zip(sources, values.tolist(), strict=True)
            # Places that this sample's prompt does not have are left out.
            return {"reads": {source: value for source, value in pairs if value == value}}
        return {"share": float(values)}

    def _mean(self, sample: int) -> Floats:
        """`[word, y, x]`, `[word, source]` or `[word]`."""
        kept = [name for name in ("layer", "step", "head") if name in self.array.dims]
        chosen = self.array.isel(sample=sample)
        # Not xarray's mean, which warns of places that a sample does not have.
        values: Floats = chosen.transpose("word", *kept, ...).to_numpy()
        flat = values.reshape(len(values), -1, *values.shape[1 + len(kept) :])
        counts = (~np.isnan(flat)).sum(1)
        sums = np.nan_to_num(flat).sum(1, dtype=np.float64)
        mean = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        return mean.astype(np.float32)

    @override
    def summary(self) -> str:
        labels, attrs = self.array["word"].to_numpy().tolist(), self.array.attrs
        count, layers = self.array.sizes["sample"], len(attrs["layers"])
        size = ""
        if self.has_maps:
            size = f" over {self.array.sizes['y']}×{self.array.sizes['x']} positions"
        what = f"Attention {attrs['direction']}" if "direction" in attrs else "Attention outputs"
        text = (
            f"{what} of {', '.join(labels)} in {count} "
            f"sample{'s' * (count != 1)}{size}, from {layers} layer{'s' * (layers != 1)} and "
            f"{len(attrs['steps'])} step{'s' * (len(attrs['steps']) != 1)}."
        )
        return text if self.difference is None else f"{text} {self.difference}"

    @override
    def table(self) -> pd.DataFrame:
        import pandas as pd

        rows = []
        for sample in range(self.array.sizes["sample"]):
            told = {
                name: self.array[name].to_numpy()[sample].item()
                if name == "seed"
                else str(self.array[name].to_numpy()[sample])
                for name in ("prompt", "seed")
            }
            for word, figures in self.figures(sample).items():
                tokens = " ".join(figures.pop("tokens"))
                figures.pop("positions")
                if "peak" in figures:
                    figures["peak_y"], figures["peak_x"] = figures.pop("peak")
                reads = figures.pop("reads", {})
                rows.append({**told, "word": word, "tokens": tokens, **figures, **reads})
        return pd.DataFrame(rows)

    @override
    def plot(self, sample: int = 0) -> Any:
        """Overlays side by side; where words attend to words a table of colours, else bars.

        Args:
            sample: The index of the sample.

        Returns:
            An Altair chart.
        """
        import altair as alt
        import pandas as pd

        if self.has_maps:
            drawn = self.overlays(sample)
            pictures = {"picture": self.pictures[sample], **drawn}  # type: ignore[index]
            return alt.hconcat(
                *(_image_chart(alt, title, picture) for title, picture in pictures.items())
            )
        figures = self.figures(sample)
        if "source" in self.array.dims:
            rows = [
                {"word": word, "reads": source, "share": share}
                for word, each in figures.items()
                for source, share in each["reads"].items()
            ]
            encoding: dict[str, Any] = {
                "x": alt.X("reads", sort=None),
                "y": alt.Y("word", sort=None),
                "color": alt.Color("share").scale(scheme="inferno"),
            }
            return alt.Chart(pd.DataFrame(rows)).mark_rect().encode(**encoding)
        shares = [{"word": word, "share": each["share"]} for word, each in figures.items()]
        bars = alt.Chart(pd.DataFrame(shares)).mark_bar()
        return bars.encode(x="share", y=alt.Y("word", sort=None))

    @override
    def to_dict(self) -> dict[str, Any]:
        samples = range(self.array.sizes["sample"])
        return {
            **self.array.attrs,
            "difference": None if self.difference is None else asdict(self.difference),
            "samples": [
                {
                    "prompt": str(self.array["prompt"].to_numpy()[sample]),
                    "seed": int(self.array["seed"].to_numpy()[sample]),
                    "words": self.figures(sample),
                }
                for sample in samples
            ],
        }

    @override
    def write(self, folder: Path) -> None:
        import xarray as xr

        super().write(folder)
        variables: dict[str, Any] = {"attention": self.array}
        if self.pictures is not None:
            axes = ("sample", "row", "column", "channel")
            variables["picture"] = (axes, self.pictures)
        dataset = xr.Dataset(variables)
        words = {prompt: [asdict(word) for word in words] for prompt, words in self.words.items()}
        difference = None if self.difference is None else asdict(self.difference)
        dataset.attrs = {"words": json.dumps(words), "difference": json.dumps(difference)}
        # Consolidated metadata is no part of the format yet, of which zarr warns.
        dataset.to_zarr(folder / ARRAYS, mode="w", consolidated=False)

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        import xarray as xr

        path = Path(folder) / ARRAYS
        if not path.is_dir():
            raise EvidenceError(f"There is no {ARRAYS} in {folder}: give a folder of saved maps.")
        with wrap_errors(path, EvidenceError):
            with xr.open_zarr(path, consolidated=False, chunks=None) as dataset:
                loaded = dataset.load()
            words = {
                prompt: [Word(**word) for word in words]
                for prompt, words in json.loads(loaded.attrs["words"]).items()
            }
            found = json.loads(loaded.attrs["difference"])
            difference = None if found is None else PictureDifference(**found)
            pictures = loaded["picture"].to_numpy() if "picture" in loaded else None
            return cls(loaded["attention"], pictures, words, difference)


def _image_chart(alt: Any, title: str, picture: NDArray[np.uint8]) -> Any:
    import pandas as pd

    height, width = picture.shape[:2]
    scale = CHART_SIDE / max(height, width)
    size = {"width": round(width * scale), "height": round(height * scale)}
    rows = pd.DataFrame([{"url": data_address(picture)}])
    return alt.Chart(rows).mark_image(**size).encode(url="url:N").properties(title=title, **size)
