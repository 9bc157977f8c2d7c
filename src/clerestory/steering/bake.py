"""Bake a steered model: the edits folded into weights, for people who have never heard of us.

`bake` writes a plain diffusers pipeline, or a LoRA file, where what changes are matrices by a low
rank. Nothing is approximated: an edit that is no matrix at every step, branch and position is
refused, and the nearest edit that is one is told with how far its pictures are from its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clerestory.errors import ClerestoryError, EditError
from clerestory.io.outputs import free_folder, whole_folder
from clerestory.io.tensors import writing
from clerestory.models import Edit
from clerestory.reporting.escaping import markdown, markdown_code
from clerestory.steering.folding import Fold, fold, in_order, nearest
from clerestory.steering.steered import SteeredModel

__all__ = ["Baked", "Refusal", "bake"]

PROMPTS, SEEDS = ("a cat", "a house"), (0, 1)
"""What differences are measured with."""
EXACT = 1e-3
TOLERANCE = 1e-5
"""Singular values below this share of the largest count as none."""
LORA = "pytorch_lora_weights.safetensors"
NOTE = "steering.md"
Seen = tuple[NDArray[np.float32], NDArray[np.int_]]
"""The denoiser's last prediction, and pictures."""


@dataclass(frozen=True)
class Refusal:
    """An edit that cannot be folded and why; the nearest that can.

    `apart` is the mean difference of its pictures from the edit's, of 255, where it was measured.
    """

    edit: str
    why: str
    offer: str | None
    apart: float | None


@dataclass(frozen=True)
class Baked:
    """What was written: `folder` is None where something was refused, and then nothing is.

    `max_difference` is the largest difference of the denoiser's last prediction between the baked
    model and the one with edits, in units of the noise; `pictures_apart` that of pictures, of 255;
    `from_base` the same from the model without edits.
    """

    folder: Path | None
    refused: tuple[Refusal, ...]
    max_difference: float | None = None
    pictures_apart: int | None = None
    from_base: int | None = None

    @property
    def exact(self) -> bool:
        """Whether it draws what the edits draw, to 1e-3."""
        return self.max_difference is not None and self.max_difference <= EXACT

    def told(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "folder": None if self.folder is None else str(self.folder),
            "exact": self.exact,
            "max_difference": self.max_difference,
            "pictures_apart": self.pictures_apart,
            "from_base": self.from_base,
            "refused": [vars(one) for one in self.refused],
        }


def bake(
    steered: SteeredModel, out: str | Path, *, lora: bool = False, measure: bool = True
) -> Baked:
    """Fold the edits into weights and write them to a folder that is empty or not there yet.

    Where an edit cannot be folded nothing is written. `measure` draws a few pictures both ways.
    """
    _unadapted(steered)
    free_folder(Path(out))
    refused = _refused(steered, lora=lora, measure=measure)
    if refused:
        return Baked(None, tuple(refused))
    with whole_folder(Path(out)) as part:
        made = _made(steered, part, lora=lora, measure=measure)
    return replace(made, folder=Path(out))


def _made(steered: SteeredModel, place: Path, *, lora: bool, measure: bool) -> Baked:
    """What was written to `place`."""
    before = [_seen(steered, edits) for edits in (steered.edits, ())] if measure else []
    with _folded(steered, steered.edits) as folds:
        if lora:
            _save_lora(folds, place)
        else:
            steered.model.pipeline.save_pretrained(place, safe_serialization=True)
        after = _seen(steered, ()) if measure and not lora else None
    if measure and lora:
        after = _with_lora(steered, place)
    made = Baked(place, ()) if after is None else _compared(place, before, after)
    (place / NOTE).write_text(_note(steered, made, lora=lora))
    return made


def _compared(place: Path, before: Sequence[Seen], after: Seen) -> Baked:
    """What was written, beside the model with edits and the one without."""
    apart = [int(np.abs(one[1] - after[1]).max()) for one in before]
    return Baked(place, (), float(np.abs(before[0][0] - after[0]).max()), *apart)


def _unadapted(steered: SteeredModel) -> None:
    """EditError where adapters are on: their layers would be saved in a form of their own."""
    parts = getattr(steered.model.pipeline, "components", {}).values()
    if any(getattr(part, "peft_config", None) for part in parts):
        raise EditError(
            f"{steered.model.name} carries a LoRA, which cannot be baked along: fuse it into the "
            "pipeline first (`fuse_lora`, `unload_lora_weights`), save that and open it."
        )


def _with_lora(steered: SteeredModel, place: Path) -> Seen:
    """What is seen with the file that was written, loaded as everybody loads it."""
    pipeline = steered.model.pipeline
    pipeline.load_lora_weights(str(place))
    try:
        return _seen(steered, ())
    finally:
        pipeline.unload_lora_weights()


def _refused(steered: SteeredModel, *, lora: bool, measure: bool) -> list[Refusal]:
    found, taken = [], set()
    for edit in steered.edits:
        why = _why_not(steered, edit, lora=lora)
        layer = "" if why else fold(steered.model, edit).path
        if lora and layer in taken:
            why = f"another edit changes {layer} too, and a LoRA has room for one"
        taken.add(layer)
        if why:
            found.append(_refusal(steered, edit, why, lora=lora, measure=measure))
    return found


def _why_not(steered: SteeredModel, edit: Edit, *, lora: bool) -> str:
    """Why an edit cannot be folded; "" where it can."""
    try:
        made = fold(steered.model, edit)
        if lora:
            _loadable(steered.model.pipeline, made.path)
            _low_rank(made)
    except EditError as error:
        return str(error)
    return ""


def _refusal(steered: SteeredModel, edit: Edit, why: str, *, lora: bool, measure: bool) -> Refusal:
    other = nearest(steered.model, edit)
    if other is None or _why_not(steered, other, lora=lora):
        return Refusal(repr(edit), why, None, None)
    apart = None
    if measure:
        with suppress(ClerestoryError):  # an edit of a word's tokens cannot be made on our prompts
            own, theirs = (_seen(steered, [one])[1] for one in (edit, other))
            apart = float(np.abs(own - theirs).mean())
    return Refusal(repr(edit), why, repr(other), apart)


def _loadable(pipeline: Any, path: str) -> None:
    """EditError where the pipeline loads no LoRA for this part."""
    part = path.partition(".")[0]
    if not hasattr(pipeline, "load_lora_weights"):
        raise EditError(f"a {type(pipeline).__name__} loads no LoRA")
    if part not in ("unet", "transformer"):
        raise EditError(
            f"{part} is no denoiser, and LoRA files for text encoders differ by pipeline"
        )


def _seen(steered: SteeredModel, edits: Sequence[Edit]) -> Seen:
    """The last prediction and the pictures."""
    read = "denoiser/prediction"
    run = steered.model.run(PROMPTS, SEEDS, read=read, pool="none", edits=edits)
    assert run.pictures is not None
    return run.read(read).to_numpy()[:, -1], run.pictures.astype(int)


@contextmanager
def _folded(steered: SteeredModel, edits: Sequence[Edit]) -> Iterator[list[Fold]]:
    """The model with its weights changed, and as it was afterwards."""
    folds: list[Fold] = []
    try:
        for edit in in_order(steered.model, edits):
            made = fold(steered.model, edit)
            assert made.before
            folds.append(made)
            made.put(made.values)
        yield folds
    finally:
        for made in reversed(folds):
            made.put(made.before)


def _low_rank(made: Fold) -> tuple[Tensor, Tensor]:
    """`A` and `B` with `B A` the change of the weight; EditError where that is not all of it."""
    changed = {name: made.values[name] - old for name, old in made.before.items()}
    if "weight" not in changed:
        raise EditError("it changes no matrix, and a LoRA changes nothing else")
    for name, by in changed.items():
        if name != "weight" and by.abs().max() > TOLERANCE:
            raise EditError("it shifts a bias, and a LoRA changes matrices only")
    left, sizes, right = torch.linalg.svd(changed["weight"], full_matrices=False)
    rank = int((sizes > TOLERANCE * sizes[0].clamp_min(1e-30)).sum())
    if rank > min(changed["weight"].shape) // 4:
        raise EditError(f"it changes the matrix by rank {rank}, which is no low one")
    root = sizes[:rank].sqrt()
    return root[:, None] * right[:rank], left[:, :rank] * root


def _save_lora(folds: Sequence[Fold], place: Path) -> None:
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for made in folds:
        down, up = _low_rank(made)
        tensors[f"{made.path}.lora_A.weight"] = down.float().contiguous()
        tensors[f"{made.path}.lora_B.weight"] = up.float().contiguous()
    with writing(place / LORA) as path:
        save_file(tensors, path, metadata={"format": "pt"})


def _note(steered: SteeredModel, made: Baked, *, lora: bool) -> str:
    model = steered.model
    options = ", ".join(f"{name}={value!r}" for name, value in vars(model.defaults).items())
    kind = f"LoRA for {model.name}" if lora else f"copy of {model.name}"
    said = "Whether it draws the same was not measured."
    if made.max_difference is not None:
        said = (
            f"Against the model with edits its predictions differ by {made.max_difference:.1e} at "
            f"most, its pictures by {made.pictures_apart} of 255; those of the base model by "
            f"{made.from_base}."
        )
    site = model.conditioning_site
    if site.startswith("prior/") and any(edit.site == site for edit in steered.edits):
        said += " With a negative prompt, the embedding of that is changed as well."
    shows = steered.calibration.get("shows", "A steered model")
    return (
        f"# {markdown(shows)}\n\nA {markdown(kind)} (revision "
        f"`{markdown_code(model.revision)}`) with edits folded into its weights, to be opened by "
        "diffusers alone. "
        f"{said}\n\nIt was measured with these options: {markdown(options)}.\n"
    )
