"""Trained siblings to a compact folder, in half precision; what they share is stored once.

OUT/autoencoder/       both siblings' autoencoder
OUT/NAME/unet/ or OUT/NAME/transformer/, OUT/NAME/scheduler/
OUT/NAME/manifest.json version, sizes, defaults, sha256 of every file of the sibling

The tokenizer and the text encoder are Lancet 1.0's and stay there; `lancet.siblings` puts plain
pipeline folders together from these.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL

import clerestory
from clerestory.io.tensor_files import default_permissions
from lancet import checkpoint
from lancet.siblings import ARCHITECTURES, AUTOENCODER, Architecture
from lancet.training.siblings import mmdit, unet
from lancet.training.siblings.settings import SiblingSettings

__all__ = ["DEFAULTS", "write_autoencoder", "write_sibling"]

DEFAULTS: dict[str, dict[str, float | int]] = {
    "lancet-unet": {"height": 128, "width": 128, "steps": 12, "guidance": 3.0},
    "lancet-mmdit": {"height": 128, "width": 128, "steps": 12, "guidance": 3.0},
}
SCHEDULES = {"lancet-unet": unet.schedule, "lancet-mmdit": mmdit.schedule}


def write_autoencoder(model: AutoencoderKL, folder: Path) -> None:
    """Write the autoencoder that the siblings share.

    Args:
        model: The folded autoencoder.
        folder: The compact folder.
    """
    model.to(torch.float16).save_pretrained(folder / AUTOENCODER)
    with default_permissions(folder):  # the libraries write weights that only their owner may read
        pass


def write_sibling(
    name: str, network: Any, folder: Path, settings: SiblingSettings, about: dict[str, Any]
) -> None:
    """Write one denoiser with its scheduler and manifest, beside the autoencoder.

    Args:
        name: `lancet-unet` or `lancet-mmdit`.
        network: The trained denoiser.
        folder: The compact folder, which has the autoencoder already.
        settings: What it was trained with.
        about: Further fields of the manifest.
    """
    architecture: Architecture = ARCHITECTURES[name]
    place = folder / name
    network.to(torch.float16).save_pretrained(place / architecture.denoiser)
    SCHEDULES[name]().save_pretrained(place / "scheduler")
    with default_permissions(place):
        pass
    files = [path for part in (place, folder / AUTOENCODER) for path in part.rglob("*")]
    # The manifest cannot hold its own checksum.
    sums = checkpoint.checksums(folder, [path for path in files if path.name != "manifest.json"])
    manifest = {
        "name": name,
        "made_by": f"clerestory {clerestory.__version__}",
        "lancet": checkpoint.revision(),
        **about,
        "defaults": DEFAULTS[name],
        "settings": asdict(settings),
        "files": sums,
    }
    (place / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
