"""Trained stages to a folder: a Kandinsky 2.2 pipeline, the classifiers, a manifest with checksums.

OUT/model/            the pipeline; DiffusionPipeline.from_pretrained(OUT/model) draws with it
OUT/classifiers/      a.safetensors, b.safetensors, and their measurements on held-out renders
OUT/training/         vision.safetensors: CLIP's image side, for further training
OUT/world.toml        the table of the world that it was trained on
OUT/manifest.json     version, sizes, defaults, sha256 of every file
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import KandinskyV22CombinedPipeline, PriorTransformer, UNet2DConditionModel, VQModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessor,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from clerestory.io.tensor_files import default_permissions
from lancet.checkpoint import checksums
from lancet.training import decoder, prior
from lancet.training.settings import Settings

__all__ = ["DEFAULTS", "Parts", "assemble", "save_classifier", "save_training", "seal"]

DEFAULTS: dict[str, float | int] = {
    "height": 64,
    "width": 64,
    "steps": 8,
    "guidance": 2.5,
    "prior_steps": 10,
    "prior_guidance": 3.0,
}


@dataclass(frozen=True)
class Parts:
    """The trained networks of one pipeline."""

    tokenizer: CLIPTokenizer
    text: CLIPTextModelWithProjection
    eye: CLIPVisionModelWithProjection
    prior: PriorTransformer
    decoder: UNet2DConditionModel
    autoencoder: VQModel


def assemble(parts: Parts, folder: Path) -> None:
    """Write the pipeline folder, in half precision.

    Args:
        parts: The trained networks.
        folder: The folder of the pipeline; an existing one is replaced.
    """
    size = {"height": 64, "width": 64}
    processor = CLIPImageProcessor(
        size=size,
        crop_size=size,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    pipeline = KandinskyV22CombinedPipeline(
        unet=parts.decoder,
        scheduler=decoder.schedule(),
        movq=parts.autoencoder,
        prior_prior=parts.prior,
        prior_image_encoder=parts.eye,
        prior_text_encoder=parts.text,
        prior_tokenizer=parts.tokenizer,
        prior_scheduler=prior.schedule(),
        prior_image_processor=processor,
    )
    # Half the size; the difference is far below the noise of the pictures.
    pipeline.to(torch.float16)
    # `save_pretrained` would leave files of an earlier pipeline beside its own.
    if folder.exists():
        shutil.rmtree(folder)
    pipeline.save_pretrained(folder, safe_serialization=True)
    # transformers loads its encoders in the precision of their configuration, diffusers its
    # networks in float32, and the two would not fit together: float32 for all.
    for part in ("prior_text_encoder", "prior_image_encoder"):
        config = folder / part / "config.json"
        content = json.loads(config.read_text())
        config.write_text(json.dumps({**content, "dtype": "float32"}, indent=2) + "\n")


def save_training(nets: Mapping[str, nn.Module], folder: Path) -> None:
    """Write the networks that only training needs, in half precision, one file each.

    Args:
        nets: Networks by the name of their file.
        folder: The folder; created if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, net in nets.items():
        state = {key: value.half().contiguous() for key, value in net.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors")


def save_classifier(
    state: dict[str, Tensor],
    measured_on_renders: dict[str, Tensor],
    classes: dict[str, tuple[str, ...]],
    folder: Path,
    which: str,
) -> None:
    """Write one set: weights in half precision, classes in the header, and its measurements.

    Args:
        state: Weights and buffers by name.
        measured_on_renders: The arrays of `classifiers.measure`.
        classes: The classes of each factor.
        folder: The folder; created if missing.
        which: `a` or `b`, the name of the set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    half = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in state.items()
        # Counters of training, which inference does not read.
        if not name.endswith("num_batches_tracked")
    }
    header = {"set": which, "classes": json.dumps(classes)}
    save_file(half, folder / f"{which}.safetensors", header)
    measured = {name: value.contiguous() for name, value in measured_on_renders.items()}
    save_file(measured, folder / f"{which}-held-out.safetensors")


def seal(folder: Path, settings: Settings, description: dict[str, Any]) -> None:
    """Write `manifest.json` with the checksum of every other file.

    Args:
        folder: The finished folder.
        settings: What the model was trained with.
        description: Further fields of the manifest.
    """
    # The libraries write weights that only their owner may read.
    with default_permissions(folder):
        pass
    # The manifest cannot hold its own checksum.
    sums = checksums(folder, [path for path in folder.rglob("*") if path.name != "manifest.json"])
    manifest = {**description, "defaults": DEFAULTS, "settings": asdict(settings), "files": sums}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
