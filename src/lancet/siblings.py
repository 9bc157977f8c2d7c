"""Lancet's siblings as the workbench sees them: `lancet-unet` and `lancet-mmdit`.

They were taught the same world through the same text encoder, in the formats of Stable Diffusion
and Stable Diffusion 3. What they share is stored once:

WEIGHTS/siblings/autoencoder/       both siblings' autoencoder
WEIGHTS/siblings/NAME/              manifest.json, the denoiser, its scheduler
WEIGHTS/model/prior_tokenizer/, WEIGHTS/model/prior_text_encoder/    Lancet 1.0's

A plain diffusers folder is put together from these in the user's cache when a sibling is first
opened: `$XDG_CACHE_HOME/clerestory/models/NAME-DIGEST`, by default in `~/.cache`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clerestory.errors import ModelError, OutputError
from clerestory.io.caches import cache_folder
from clerestory.io.reading import read_json
from clerestory.io.tensor_files import read_tensors, write_tensors
from clerestory.io.writing import atomic_folder
from clerestory.models.core.types import Options
from clerestory.models.profile import Checkpoint
from lancet import checkpoint
from lancet.profile import LancetProfile

__all__ = [
    "ARCHITECTURES",
    "AUTOENCODER",
    "SHIPPED",
    "WEIGHTS_FILE",
    "Architecture",
    "SiblingPlugin",
    "assemble_pipeline",
    "lancet_folder",
    "mmdit",
    "unet",
]

SHIPPED = checkpoint.SHIPPED / "siblings"
"""The compact folder of the shipped siblings."""
AUTOENCODER = "autoencoder"
"""The folder, beside the siblings' own, of the autoencoder that they share."""
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class Architecture:
    """The format of one sibling's pipeline.

    Attributes:
        pipeline: diffusers' class.
        denoiser: The name of the denoiser among the pipeline's parts.
        denoiser_class: diffusers' class of the denoiser.
        scheduler_class: diffusers' class of the scheduler.
        text_class: transformers' class that the text encoder is saved as.
        encoders: How many text encoders the pipeline has; all are the same one.
        extra: Further entries of `model_index.json`.
    """

    pipeline: str
    denoiser: str
    denoiser_class: str
    scheduler_class: str
    text_class: str
    encoders: int
    extra: Mapping[str, Any]


ABSENT = [None, None]
ARCHITECTURES = {
    "lancet-unet": Architecture(
        "StableDiffusionPipeline",
        "unet",
        "UNet2DConditionModel",
        "DDIMScheduler",
        # The pipeline takes the hidden states, and fails with an encoder that projects.
        "CLIPTextModel",
        1,
        {
            "feature_extractor": ABSENT,
            "image_encoder": ABSENT,
            "requires_safety_checker": False,
            "safety_checker": ABSENT,
        },
    ),
    "lancet-mmdit": Architecture(
        "StableDiffusion3Pipeline",
        "transformer",
        "SD3Transformer2DModel",
        "FlowMatchEulerDiscreteScheduler",
        "CLIPTextModelWithProjection",
        2,
        {
            "feature_extractor": ABSENT,
            "image_encoder": ABSENT,
            "text_encoder_3": ABSENT,
            "tokenizer_3": ABSENT,
        },
    ),
}


@dataclass(frozen=True)
class SiblingPlugin:
    """Opens one shipped sibling by name, and folders of it that training wrote."""

    name: str
    default: bool = False

    def recognizes(self, folder: Path) -> bool:
        """Whether a folder has this sibling's denoiser beside the shared autoencoder.

        Args:
            folder: Any folder.

        Returns:
            Whether it can be opened; nothing in it is read.
        """
        denoiser = folder / ARCHITECTURES[self.name].denoiser
        # Stored once for both, beside their folders.
        shared = folder.parent / AUTOENCODER
        return (folder / "manifest.json").is_file() and denoiser.is_dir() and shared.is_dir()

    def checkpoint(self, source: str | Path) -> Checkpoint:
        """The plain pipeline of a sibling, put together unless the cache has it.

        Args:
            source: The sibling's name for the shipped one, or its folder in a compact folder.

        Returns:
            The pipeline's folder, with its defaults, revision and profile.

        Raises:
            ModelError: A file is missing or damaged, or the cache cannot be written to.
        """
        folder = SHIPPED / self.name if source == self.name else Path(source)
        if not (folder / "manifest.json").is_file():
            raise ModelError(f"This installation has no weights of {self.name}.")
        manifest = _verify(folder)
        digest = _digest(manifest)
        return Checkpoint(
            pipeline=_cached(folder, self.name, digest),
            name=str(source),
            defaults=Options().replace(**manifest["defaults"]),
            revision="-".join(filter(None, [manifest.get("version"), digest])),
            profile=LancetProfile(name="Lancet"),
        )


unet = SiblingPlugin("lancet-unet")
mmdit = SiblingPlugin("lancet-mmdit")


def lancet_folder(source: str) -> Path | None:
    """The folder with the world, the prompts and the classifiers that judge a model.

    Args:
        source: `lancet`, a sibling, or a folder of one of them.

    Returns:
        The folder of a Lancet that `clerestory lancet train` wrote; None, which stands for the
        shipped Lancet, where the model is that one or a sibling.
    """
    if source == "lancet" or source in ARCHITECTURES:
        return None
    folder = Path(source)
    return None if any(plugin.recognizes(folder) for plugin in (unet, mmdit)) else folder


def assemble_pipeline(folder: Path, name: str, out: Path) -> None:
    """Write the plain diffusers folder of a sibling.

    Args:
        folder: The sibling's folder in a compact folder.
        name: `lancet-unet` or `lancet-mmdit`.
        out: An empty folder.

    Raises:
        ModelError: A file is missing or damaged.
    """
    architecture = ARCHITECTURES[name]
    shutil.copytree(folder / architecture.denoiser, out / architecture.denoiser)
    shutil.copytree(folder / "scheduler", out / "scheduler")
    shutil.copytree(folder.parent / AUTOENCODER, out / "vae")
    # Text encoder and tokenizer are those of Lancet 1.0 and are not stored again.
    lancet = checkpoint.verified() / "model"
    suffixes = ["", "_2"][: architecture.encoders]
    for suffix in suffixes:
        shutil.copytree(lancet / "prior_tokenizer", out / f"tokenizer{suffix}")
        _write_text_encoder(
            lancet / "prior_text_encoder", out / f"text_encoder{suffix}", architecture.text_class
        )
    # Parts in alphabetical order, as `save_pretrained` writes them.
    index: dict[str, Any] = {
        **architecture.extra,
        architecture.denoiser: ["diffusers", architecture.denoiser_class],
        "scheduler": ["diffusers", architecture.scheduler_class],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    for suffix in suffixes:
        index[f"text_encoder{suffix}"] = ["transformers", architecture.text_class]
        index[f"tokenizer{suffix}"] = ["transformers", "CLIPTokenizer"]
    config = read_json(out / "vae" / "config.json", ModelError)
    head = {
        "_class_name": architecture.pipeline,
        "_diffusers_version": config["_diffusers_version"],
    }
    text = json.dumps({**head, **dict(sorted(index.items()))}, indent=2)
    (out / "model_index.json").write_text(text + "\n")


def _write_text_encoder(source: Path, out: Path, text_class: str) -> None:
    """Lancet 1.0's text encoder, saved as a class with or without a projection."""
    shutil.copytree(source, out)
    if text_class == "CLIPTextModelWithProjection":
        return
    tensors = read_tensors(source / "model.safetensors", ModelError)
    # The class without projection refuses a weight that it does not have.
    tensors.pop("text_projection.weight")
    write_tensors(out / "model.safetensors", tensors, metadata={"format": "pt"})
    config = read_json(source / "config.json", ModelError)
    (out / "config.json").write_text(
        json.dumps({**config, "architectures": [text_class]}, indent=2) + "\n"
    )


def _cached(folder: Path, name: str, digest: str) -> Path:
    """The plain folder in the cache, put together where it is not there or not as it was."""
    # The digest in its name: other weights get another folder, and no file is ever changed.
    place = cache_folder("models") / f"{name}-{digest}"
    # Checked each time: a cache may be cleaned in part.
    if _is_complete(place):
        return place
    try:
        if place.exists():
            shutil.rmtree(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(place) as part:
            assemble_pipeline(folder, name, part)
            sums = checkpoint.checksums(part, part.rglob("*"))
            (part / "sums.json").write_text(json.dumps(sums))
    except (OSError, OutputError) as error:
        # Another process may have put the same folder there meanwhile.
        if not _is_complete(place):
            raise ModelError(
                f"{name} cannot be put together in {place}: {error}. Name another cache folder"
                " in XDG_CACHE_HOME."
            ) from error
    return place


def _is_complete(place: Path) -> bool:
    path = place / "sums.json"
    if not path.is_file():
        return False
    sums = read_json(path, ModelError)
    if not isinstance(sums, dict):
        return False
    try:
        checkpoint.check_files(place, sums)
    except ModelError:
        return False
    return True


def _verify(folder: Path) -> dict[str, Any]:
    """The manifest of a sibling, after every file's checksum has been compared."""
    manifest = checkpoint.manifest(folder)
    checkpoint.check_files(folder.parent, manifest["files"])
    return manifest


def _digest(manifest: Mapping[str, Any]) -> str:
    """What tells these weights, and the text encoder that they go with, from any others."""
    # The text encoder's own sum: further files of Lancet 1.0 do not change what is drawn here.
    text = {
        name: value
        for name, value in checkpoint.manifest()["files"].items()
        if name.startswith(("model/prior_text_encoder/", "model/prior_tokenizer/"))
    }
    sums = json.dumps([sorted(manifest["files"].items()), sorted(text.items())])
    return hashlib.sha256(sums.encode()).hexdigest()[:12]
