"""Bake a steered model: its edits folded into weights, for people without this library.

`bake` writes a plain diffusers pipeline, or a LoRA file, where what changes are matrices by a low
rank. Nothing is approximated: an edit that is not one affine map at every step, branch and position
is refused, and the nearest edit that is one is offered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from clerestory.errors import ClerestoryError, EditError
from clerestory.io.tensor_files import default_permissions, write_tensors
from clerestory.io.writing import atomic_folder, check_empty_folder
from clerestory.models import Edit
from clerestory.reporting.escaping import markdown, markdown_code
from clerestory.steering.folding import Fold, fold, in_order, nearest
from clerestory.steering.steered import SteeredModel
from clerestory.types import Floats, Integers

__all__ = ["BakeResult", "Refusal", "bake"]

PROMPTS, SEEDS = ("a cat", "a house"), (0, 1)
"""What is drawn to measure differences."""
EXACT = 1e-3
"""The largest difference of a prediction, in units of the noise, that counts as none."""
TOLERANCE = 1e-5
"""Singular values below this share of the largest count as zero."""
LORA = "pytorch_lora_weights.safetensors"
NOTE = "steering.md"


class _Measurement(NamedTuple):
    """The denoiser's last prediction, and the pictures."""

    prediction: Floats
    pictures: Integers


@dataclass(frozen=True)
class Refusal:
    """An edit that cannot be folded into weights.

    Attributes:
        edit: The edit.
        reason: Why not.
        alternative: The nearest edit that can be folded; None where there is none.
        picture_difference: Mean difference of the alternative's pictures from the edit's, 0 to 255;
            None where it was not measured.
    """

    edit: str
    reason: str
    alternative: str | None = None
    picture_difference: float | None = None


@dataclass(frozen=True)
class BakeResult:
    """What was written, and how closely its pictures match those of the edits.

    Attributes:
        folder: None where an edit was refused: then nothing is written.
        refusals: The edits that were refused.
        max_difference: Largest difference of the denoiser's last prediction from that of the model
            with edits, in units of the noise; None where it was not measured.
        picture_difference: The same of pictures, 0 to 255.
        base_picture_difference: The same from pictures of the model without edits.
    """

    folder: Path | None
    refusals: tuple[Refusal, ...] = ()
    max_difference: float | None = None
    picture_difference: int | None = None
    base_picture_difference: int | None = None

    @property
    def exact(self) -> bool:
        """Whether it draws what the edits draw, to 1e-3."""
        return self.max_difference is not None and self.max_difference <= EXACT

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        folder = None if self.folder is None else str(self.folder)
        return {**asdict(self), "folder": folder, "exact": self.exact}


def bake(
    steered: SteeredModel, out: str | Path, *, lora: bool = False, measure: bool = True
) -> BakeResult:
    """Fold the edits of a steered model into weights.

    Args:
        steered: The steered model.
        out: A new or empty folder.
        lora: Whether to write a LoRA file in place of a whole pipeline.
        measure: Whether to draw a few pictures both ways, and compare them.

    Returns:
        What was written; nothing is where an edit cannot be folded.

    Raises:
        EditError: The model carries adapters.
        OutputError: The folder holds something else.
    """
    _check_adapters(steered)
    # Before the measurements, which take minutes.
    check_empty_folder(Path(out))
    refusals = _refusals(steered, lora=lora, measure=measure)
    if refusals:
        return BakeResult(None, tuple(refusals))
    # Weights are written for minutes: a folder that is there is complete.
    with atomic_folder(Path(out)) as part:
        result = _write(steered, part, lora=lora, measure=measure)
    return replace(result, folder=Path(out))


def _write(steered: SteeredModel, folder: Path, *, lora: bool, measure: bool) -> BakeResult:
    """Write the weights and their note."""
    # Before folding, while the weights are still those of the base model.
    before = [_measure(steered, edits) for edits in (steered.edits, ())] if measure else []
    with _folded(steered) as folds:
        if lora:
            _save_lora(folds, folder)
        else:
            with default_permissions(folder):
                steered.model.pipeline.save_pretrained(folder, safe_serialization=True)
        after = _measure(steered, ()) if measure and not lora else None
    if measure and lora:
        after = _measure_lora(steered, folder)
    result = BakeResult(folder) if after is None else _compared(folder, before, after)
    (folder / NOTE).write_text(_note(steered, result, lora=lora))
    return result


def _compared(folder: Path, before: Sequence[_Measurement], after: _Measurement) -> BakeResult:
    """The baked model beside the model with edits and the one without."""
    pictures = [int(np.abs(each.pictures - after.pictures).max()) for each in before]
    difference = float(np.abs(before[0].prediction - after.prediction).max())
    return BakeResult(folder, (), difference, *pictures)


def _check_adapters(steered: SteeredModel) -> None:
    """EditError where adapters are on: their layers would be saved in a form of their own."""
    parts = getattr(steered.model.pipeline, "components", {}).values()
    if any(getattr(part, "peft_config", None) for part in parts):
        raise EditError(
            f"{steered.model.name} carries a LoRA, which cannot be baked too: fuse it into the "
            "pipeline first (`fuse_lora`, `unload_lora_weights`), save that and open it."
        )


def _measure_lora(steered: SteeredModel, folder: Path) -> _Measurement:
    """The model with the file that was written, loaded as diffusers loads it."""
    pipeline = steered.model.pipeline
    pipeline.load_lora_weights(str(folder))
    try:
        return _measure(steered, ())
    finally:
        pipeline.unload_lora_weights()


def _refusals(steered: SteeredModel, *, lora: bool, measure: bool) -> list[Refusal]:
    """The edits that cannot be folded, with reasons."""
    refusals, layers = [], set()
    for edit in steered.edits:
        reason = _refusal_reason(steered, edit, lora=lora)
        # Folding twice would multiply the second change with the first.
        layer = "" if reason else fold(steered.model, edit).path
        if lora and layer in layers:
            reason = f"another edit changes {layer} too, and a LoRA has room for one"
        layers.add(layer)
        if reason:
            refusals.append(_refusal(steered, edit, reason, lora=lora, measure=measure))
    return refusals


def _refusal_reason(steered: SteeredModel, edit: Edit, *, lora: bool) -> str:
    """Why an edit cannot be folded; "" where it can."""
    try:
        change = fold(steered.model, edit)
        if lora:
            _check_loadable(steered.model.pipeline, change.path)
            _low_rank_factors(change)
    except EditError as error:
        return str(error)
    return ""


def _refusal(
    steered: SteeredModel, edit: Edit, reason: str, *, lora: bool, measure: bool
) -> Refusal:
    """A refusal with the nearest edit that can be folded, where there is one."""
    alternative = nearest(steered.model, edit)
    if alternative is None or _refusal_reason(steered, alternative, lora=lora):
        return Refusal(repr(edit), reason)
    difference = None
    if measure:
        with suppress(ClerestoryError):  # an edit of a word's tokens needs prompts with the word
            first, second = (_measure(steered, [each]).pictures for each in (edit, alternative))
            difference = float(np.abs(first - second).mean())
    return Refusal(repr(edit), reason, repr(alternative), difference)


def _check_loadable(pipeline: Any, path: str) -> None:
    """EditError where the pipeline loads no LoRA for this part."""
    part = path.partition(".")[0]
    if not hasattr(pipeline, "load_lora_weights"):
        raise EditError(f"a {type(pipeline).__name__} loads no LoRA")
    if part not in ("unet", "transformer"):
        raise EditError(
            f"{part} is not a denoiser, and LoRA files for text encoders differ by pipeline"
        )


def _measure(steered: SteeredModel, edits: Sequence[Edit]) -> _Measurement:
    """Draw the base model with some edits."""
    site = "denoiser/prediction"
    run = steered.model.run(PROMPTS, SEEDS, read=site, pool="none", edits=edits)
    assert run.pictures is not None
    # The last step, in which all earlier differences have added up. Pictures as integers, whose
    # differences may be negative.
    return _Measurement(run.read(site).to_numpy()[:, -1], run.pictures.astype(int))


@contextmanager
def _folded(steered: SteeredModel) -> Iterator[list[Fold]]:
    """The model with its edits folded into its weights, which are restored afterwards."""
    folds: list[Fold] = []
    try:
        # Each is computed after the one before was put in: it starts from the changed weights.
        for edit in in_order(steered.model, steered.edits):
            change = fold(steered.model, edit)
            assert change.before  # read before the layer is changed: the property caches it
            folds.append(change)
            change.put(change.values)
        yield folds
    finally:
        # In reverse order, so that a layer that was folded twice ends at its first values.
        for change in reversed(folds):
            change.put(change.before)


def _low_rank_factors(change: Fold) -> tuple[Tensor, Tensor]:
    """`A` and `B` with `B A` the change of the weight; EditError where that is not all of it."""
    deltas = {name: change.values[name] - before for name, before in change.before.items()}
    if "weight" not in deltas:
        raise EditError("it changes no matrix, and a LoRA changes nothing else")
    for name, delta in deltas.items():
        if name != "weight" and delta.abs().max() > TOLERANCE:
            raise EditError("it shifts a bias, and a LoRA changes matrices only")
    u, singular_values, vh = torch.linalg.svd(deltas["weight"], full_matrices=False)
    # The bound below keeps a change of zero, whose singular values are all 0, at rank 0.
    rank = int((singular_values > TOLERANCE * singular_values[0].clamp_min(1e-30)).sum())
    # At a quarter of full rank both factors already hold half the numbers of a square matrix.
    if rank > min(deltas["weight"].shape) // 4:
        raise EditError(f"it changes the matrix by rank {rank}, which is not low")
    # The square root is shared between both factors, so that neither is much larger.
    root = singular_values[:rank].sqrt()
    return root[:, None] * vh[:rank], u[:, :rank] * root


def _save_lora(folds: Sequence[Fold], folder: Path) -> None:
    """Write the changes of the weights in the format of diffusers and peft."""
    tensors: dict[str, Tensor] = {}
    for change in folds:
        down, up = _low_rank_factors(change)
        tensors[f"{change.path}.lora_A.weight"] = down.float().contiguous()
        tensors[f"{change.path}.lora_B.weight"] = up.float().contiguous()
    write_tensors(folder / LORA, tensors, metadata={"format": "pt"})


def _note(steered: SteeredModel, result: BakeResult, *, lora: bool) -> str:
    """The page beside the weights, in Markdown."""
    model = steered.model
    options = ", ".join(f"{name}={value!r}" for name, value in vars(model.defaults).items())
    kind = f"LoRA for {model.name}" if lora else f"copy of {model.name}"
    exactness = "Whether it draws the same was not measured."
    if result.max_difference is not None:
        exactness = (
            "Compared with the model with edits, predictions differ by at most "
            f"{result.max_difference:.1e} and pictures by {result.picture_difference} of 255; "
            f"pictures of the base model differ by {result.base_picture_difference}."
        )
    site = model.conditioning_site
    if site.startswith("prior/") and any(edit.site == site for edit in steered.edits):
        exactness += " With a negative prompt, the embedding of that is changed as well."
    label = steered.calibration.get("label", "A steered model")
    return (
        f"# {markdown(label)}\n\nA {markdown(kind)} (revision "
        f"`{markdown_code(model.revision)}`) with edits folded into its weights, to be opened by "
        f"diffusers alone. {exactness}\n\nIt was measured with these options: "
        f"{markdown(options)}.\n"
    )
