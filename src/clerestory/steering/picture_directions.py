"""A direction from a few reference pictures, by the model's own image encoder.

    found = direction_from_pictures(model, "good", "plain")
    found.auroc, found.interval          # do left-out pictures lie on their side?
    SteeredModel(model, [found.edit(1.0)])

An unCLIP decoder draws from an image embedding, `prior/embedding`, whose space is that of the
pipeline's image encoder. So the difference of means of two sets of pictures there is a direction
of the conditioning site; at strength 1 the edit moves as far as the pictures differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
import torch
from pydantic import Field, SkipValidation
from typing_extensions import override

from clerestory.arguments import checked
from clerestory.contrasts.features.embedding import ImageEmbedding
from clerestory.edits import Add
from clerestory.errors import EvidenceError
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.io.reading import path_inside
from clerestory.io.tensor_files import read_tensors, write_tensors
from clerestory.models import Model
from clerestory.models.core.weight_digests import values_digest
from clerestory.models.provenance import provenance_of
from clerestory.reporting.pictures import open_picture
from clerestory.reporting.results import Provenance, Result
from clerestory.stats.clustered_intervals import auroc_interval
from clerestory.stats.ranks import auroc
from clerestory.steering.steered import SteeredModel
from clerestory.types import Pictures

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "FEW",
    "PictureDirection",
    "ReferencePicture",
    "direction_from_pictures",
    "left_out_projections",
]

FEW = 8
"""Pictures of a side below which it is warned that they are few."""
MIN_PICTURES = 3
"""Pictures of a side below which there is no direction; two remain when one is left out."""
SIDES = ("good", "against")
SUFFIXES = (".png", ".jpg", ".jpeg")
SAMPLES = "samples.json"
"""What `clerestory draw` writes beside its pictures and their grid."""
TENSORS = "direction.safetensors"


@dataclass(frozen=True)
class ReferencePicture:
    """A picture and where it lies.

    Attributes:
        name: Its file's name, or its number.
        digest: SHA-256 of its pixels.
        side: `good` or `against`.
        projection: Its place along the direction that was fitted without it, in standard deviations
            of the pictures against.
    """

    name: str
    digest: str
    side: str
    projection: float


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PictureDirection(Result):
    """A direction at the conditioning site, from pictures.

    Attributes:
        site: The address of the conditioning site.
        encoder: Class of the image encoder.
        encoder_digest: A digest of its weights.
        pictures: The pictures with their left-out projections.
        auroc: How well left-out pictures are told apart along directions fitted without them.
        interval: Its 95% interval over pictures.
        length: Length of the difference of means.
        provenance: The model and the options.
        warnings: What readers of the figures should know.
        direction: `[unit]`, the difference of means of the embeddings, float32.
    """

    site: str
    encoder: str
    encoder_digest: str
    pictures: tuple[ReferencePicture, ...]
    auroc: float
    interval: tuple[float, float]
    length: float
    provenance: Provenance
    warnings: tuple[EvidenceWarning, ...]
    direction: Annotated[Any, SkipValidation, Field(exclude=True)] = field(
        default_factory=lambda: np.zeros(0, np.float32)
    )

    figures_file: ClassVar[str] = "direction.json"

    def edit(self, strength: float = 1.0) -> Add:
        """The edit that adds the direction.

        Args:
            strength: At 1 it moves as far as the means of the pictures differ.

        Returns:
            The edit.
        """
        return Add(self.site, self.direction, strength)

    def steered(self, model: Model, strength: float = 1.0) -> SteeredModel:
        """The model with that edit; it is not calibrated, which takes a classifier of the target.

        Args:
            model: The model whose encoder gave the direction.
            strength: As for `edit`.

        Returns:
            The steered model; its provenance has the digests of pictures and encoder.

        Raises:
            EvidenceError: The model is another one.
        """
        here = provenance_of(model, {}).digest
        if here != self.provenance.digest:
            raise EvidenceError(
                f"The direction is of {self.provenance.model}, whose weights are others than those "
                f"of {model.name}: an embedding of one is none of the other."
            )
        provenance = {"from_pictures": self.to_dict(), "strength": strength}
        return SteeredModel(model, [self.edit(strength)], provenance=provenance)

    @override
    def summary(self) -> str:
        counts = {side: sum(each.side == side for each in self.pictures) for side in SIDES}
        low, high = self.interval
        return (
            f"A direction at {self.site} from {counts['good']} pictures against "
            f"{counts['against']}: left-out pictures are told apart with AUROC {self.auroc:.2f} "
            f"({low:.2f} to {high:.2f})."
        )

    @override
    def table(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(
            {"picture": each.name, "side": each.side, "projection": each.projection}
            for each in self.pictures
        )

    @override
    def plot(self) -> Any:
        """Where left-out pictures lie, as an Altair chart."""
        import altair as alt

        return alt.Chart(self.table()).mark_tick().encode(x="projection:Q", y="side:N")

    @override
    def write(self, folder: Path) -> None:
        super().write(folder)
        write_tensors(folder / TENSORS, {"direction": torch.from_numpy(self.direction)})

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        result = super().load(Path(folder))
        tensors = read_tensors(path_inside(Path(folder), TENSORS, EvidenceError), EvidenceError)
        direction = tensors.get("direction")
        if direction is None or direction.ndim != 1 or direction.dtype != torch.float32:
            raise EvidenceError(f"{folder}/{TENSORS} has no direction [unit] in float32.")
        return replace(result, direction=direction.numpy())


@checked(EvidenceError)
def direction_from_pictures(
    model: Model,
    good: str | Path | Sequence[Any],
    against: str | Path | Sequence[Any],
    *,
    paired: bool | None = None,
) -> PictureDirection:
    """Fit a direction of the conditioning site to two sets of pictures.

    Args:
        model: A model whose conditioning site is an image embedding of its own image encoder.
        good: Pictures with what is wanted: a folder, or arrays `[height, width, 3]`, uint8. Of a
            folder that `clerestory draw` wrote its pictures, without the grid.
        against: Pictures without it, as similar as possible otherwise; not as many are needed.
        paired: Whether picture i of both sides shows the same thing. Then both are left out
            together: a picture whose thing remains on the other side alone would seem to lie there.
            By default where the files of both folders have the same names.

    Returns:
        The direction, with how well it tells left-out pictures apart.

    Raises:
        EvidenceError: There are fewer than three pictures on a side, a picture is on both, a file
            cannot be read, or the model has no image encoder that gives its conditioning site.
    """
    encoder = _encoder_of(model)
    sides = {"good": _read_side("good", good), "against": _read_side("against", against)}
    shared = sorted(set(sides["good"]) & set(sides["against"]))
    if shared:
        raise EvidenceError(
            f"{len(shared)} pictures are on both sides, such as {sides['good'][shared[0]][0]}."
        )
    if paired is None:
        names = [[Path(name).stem for name, _ in each.values()] for each in sides.values()]
        paired = isinstance(good, str | Path) and names[0] == names[1]
    if paired and len(sides["good"]) != len(sides["against"]):
        raise EvidenceError(
            f"Pairs need as many different pictures on both sides; there are {len(sides['good'])} "
            f"and {len(sides['against'])}."
        )
    values = {}
    for side, pictures in sides.items():
        # Pictures of any sizes: the encoder's processor resizes each.
        listed: Any = [picture for _, picture in pictures.values()]
        values[side] = encoder.of_pictures(listed).astype(np.float64)
    site = model.conditioning_site
    if model.sites[site].shape != (1, values["good"].shape[1]):
        raise EvidenceError(
            f"The image encoder of {model.name} gives {values['good'].shape[1]} units, and its "
            f"conditioning site {site} is {list(model.sites[site].shape)}: a direction of one is "
            "none of the other."
        )
    direction = values["good"].mean(0) - values["against"].mean(0)
    length = float(np.linalg.norm(direction))
    if not length > 0:
        raise EvidenceError("The means of both sides are the same: there is no direction.")
    projections = left_out_projections(values["good"], values["against"], paired=paired)
    positive, negative = projections
    spread = negative.std() or 1.0
    listed = [
        ReferencePicture(name, digest, side, float(projection / spread))
        for (side, pictures), each in zip(sides.items(), projections, strict=True)
        for (digest, (name, _)), projection in zip(pictures.items(), each, strict=True)
    ]
    network, _ = encoder.parts()
    interval = auroc_interval(positive[:, None], negative[:, None], paired=paired)
    return PictureDirection(
        site=site,
        encoder=type(network).__name__,
        encoder_digest=values_digest([network]),
        pictures=tuple(listed),
        auroc=float(auroc(positive[:, None], negative[:, None])[0]),
        interval=(interval.low, interval.high),
        length=length,
        provenance=provenance_of(model, {"paired": paired}),
        warnings=tuple(_warnings(len(positive), len(negative), interval.low)),
        direction=direction.astype(np.float32),
    )


def left_out_projections(
    good: NDArray[np.float64], against: NDArray[np.float64], *, paired: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project each picture on the direction that is fitted without it.

    Args:
        good: Embeddings `[picture, unit]`.
        against: The same of the other side.
        paired: Whether row i of both is one pair, which is left out together.

    Returns:
        Projections of both sides, from the mean of all pictures. Where the sides do not differ,
        their AUROC is 0.5 on average if they are as many, and nearly so otherwise.
    """
    # One centre for all: the middle of the other pictures would be nearer to the other side, and
    # left-out pictures would seem to lie on the wrong one.
    centre = np.concatenate([good, against]).mean(0)
    sides = (good, against)
    # The means of each side without each of its pictures.
    rests = [(side.sum(0) - side) / (len(side) - 1) for side in sides]
    projections = []
    for own, sign, side in ((0, 1.0, good), (1, -1.0, against)):
        other = rests[1 - own] if paired else sides[1 - own].mean(0)
        ways = sign * (rests[own] - other)
        ways /= np.linalg.norm(ways, axis=1, keepdims=True).clip(1e-12)
        projections.append(((side - centre) * ways).sum(1))
    return projections[0], projections[1]


def _encoder_of(model: Model) -> ImageEmbedding:
    encoder = ImageEmbedding(None, model)
    try:
        encoder.parts()
    except EvidenceError as error:
        raise EvidenceError(
            f"{model.name} has no image encoder beside its other parts, so that pictures have no "
            "place in it: a model of Kandinsky's kind has one (Lancet, Kandinsky 2.2)."
        ) from error
    if not model.conditioning_site.endswith("/embedding"):
        raise EvidenceError(
            f"{model.name} has an image encoder, and is conditioned by "
            f"{model.conditioning_site or 'no known site'}, which is no image embedding: an "
            "IP-Adapter adds image tokens that are no site of their own; give its picture as "
            "`extra` of a run."
        )
    return encoder


def _read_side(side: str, pictures: Any) -> dict[str, tuple[str, Pictures]]:
    """Pictures of a side with their names, by digest: copies count once."""
    named = _read_folder(Path(pictures)) if isinstance(pictures, str | Path) else []
    if not named:
        named = [(f"{side} {index}", np.asarray(each)) for index, each in enumerate(pictures)]
    result: dict[str, tuple[str, Pictures]] = {}
    for name, picture in named:
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise EvidenceError(
                f"{name} is {picture.dtype} {list(picture.shape)}; a picture is uint8 "
                "[height, width, 3]."
            )
        shape = str(picture.shape).encode()
        digest = hashlib.sha256(shape + np.ascontiguousarray(picture).tobytes()).hexdigest()
        result.setdefault(digest, (name, picture))
    if len(result) < MIN_PICTURES:
        raise EvidenceError(
            f"There are {len(result)} different pictures {side}; {MIN_PICTURES} are needed, and "
            f"{FEW} or more recommended."
        )
    return result


def _read_folder(folder: Path) -> list[tuple[str, Pictures]]:
    """The pictures of a folder in the order of their names."""
    if not folder.is_dir():
        raise EvidenceError(f"{folder} is no folder of pictures.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if (folder / SAMPLES).exists():
        # A grid of the others is no picture.
        paths = [path for path in paths if path.name != "grid.png"]
    if not paths:
        raise EvidenceError(f"There is no picture in {folder}: PNG or JPEG files are read.")
    named = []
    for path in paths:
        try:
            with open_picture(path) as picture:
                named.append((path.name, np.asarray(picture.convert("RGB"))))
        except OSError as error:
            raise EvidenceError(f"The picture {path} cannot be read: {error}.") from error
    return named


def _warnings(good: int, against: int, low: float) -> list[EvidenceWarning]:
    warnings = []
    if min(good, against) < FEW:
        text = (
            f"There are {good} and {against} pictures; with fewer than {FEW} a direction is noisy."
        )
        warnings.append(EvidenceWarning("few-items", text))
    if low <= 0.5:
        text = "Left-out pictures are not told apart: the direction need not generalise."
        warnings.append(EvidenceWarning("insufficient", text))
    return warnings
