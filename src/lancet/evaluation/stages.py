"""Which stage of a Lancet limits its pictures: each stage alone, on held-out renders.

Each stage receives the true output of the one before it, so that its figure is its own loss:
renders through the autoencoder; pictures decoded from true image embeddings; the prior's embedding
of a caption beside that of its render; retrieval of renders by the text encoder's embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from clerestory.errors import PromptError
from clerestory.models import Model
from clerestory.types import Pictures, Progress
from lancet import checkpoint
from lancet.classifiers import LancetClassifiers
from lancet.evaluation.rates import Rate, rate
from lancet.training.settings import Settings
from lancet.training.text import retrieval
from lancet.training.train import FIRST_HELD_OUT
from lancet.training.vision import VisionEncoder
from lancet.world.render import render
from lancet.world.sampler import sample
from lancet.world.scene import NONE, Scene
from lancet.world.table import World

__all__ = ["FACTORS", "StageRates", "stage_rates"]

SCENES, AMONG, BATCH = 512, 256, 64
FACTORS = ("style", "subject", "place", "mood", "perspective", "artwork")


@dataclass(frozen=True)
class StageRates:
    """Rates by factor, by the evaluation classifiers, and the errors of prior and text encoder.

    `renders` are the held-out renders themselves, `autoencoder` the same through the autoencoder,
    `decoder` pictures decoded from their embeddings. `prior_error` is the squared error of the
    predicted embedding over that of the mean embedding (0 perfect, 1 no better than the mean);
    `prior_cosine` their cosine around the mean. `retrieval`: how often a caption's own render is
    the nearest of 256.
    """

    renders: dict[str, Rate]
    autoencoder: dict[str, Rate]
    decoder: dict[str, Rate]
    prior_error: float
    prior_cosine: float
    retrieval: float
    count: int

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values."""
        return asdict(self)


@torch.no_grad()
def stage_rates(
    model: Model, art: Path, folder: Path | None = None, *, progress: Progress | None = None
) -> StageRates:
    """Measure the stages of a Lancet.

    Args:
        model: The Lancet.
        art: The folder that `clerestory lancet art` wrote.
        folder: The Lancet's folder; by default the shipped one.
        progress: A callback of (label, completed, total); None for silence.

    Returns:
        Rates and errors of every stage.
    """
    report = progress or (lambda label, completed, total: None)
    weights = checkpoint.verified(folder)
    world = World.load(weights / "world.toml")
    held_out = (sample(world, seed) for seed in count(FIRST_HELD_OUT))
    scenes = list(
        islice((scene for scene in held_out if _fits_window(model, scene.caption)), SCENES)
    )
    truth = render(world, art, scenes)
    # To −1 … 1, as in training.
    scaled = torch.from_numpy(truth).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)
    embeddings = _vision_encoder(weights)(scaled)
    classifiers = LancetClassifiers.load("evaluation", folder)
    predicted = _predicted_embeddings(model, scenes, report)
    return StageRates(
        renders=_rates(classifiers, truth, scenes),
        autoencoder=_rates(classifiers, _reconstructed(model, scaled), scenes),
        # Of true embeddings, so that the decoder is measured without the prior's errors.
        decoder=_rates(classifiers, _decode(model, embeddings, report), scenes),
        prior_error=_error(predicted, embeddings),
        prior_cosine=_cosine(predicted, embeddings),
        retrieval=retrieval(_text_embeddings(model, scenes), embeddings, AMONG),
        count=SCENES,
    )


def _fits_window(model: Model, caption: str) -> bool:
    """Whether a caption fits the text window: training cuts those that do not."""
    try:
        model.check_prompt(caption)
    except PromptError:
        return False
    return True


def _vision_encoder(folder: Path) -> VisionEncoder:
    """CLIP's image side as trained, which the pipeline's own image encoder only approximates."""
    saved = checkpoint.manifest(folder)["settings"]
    settings = Settings(vision_widths=tuple(saved["vision_widths"]), width=saved["width"])
    encoder = VisionEncoder(settings.vision_widths, settings.width)
    state = load_file(folder / "training" / "vision.safetensors")
    # The file has the heads as well, which only training needs.
    weights_of_encoder = {
        name.removeprefix("eye."): value for name, value in state.items() if "eye." in name
    }
    encoder.load_state_dict(
        {name: value.float() for name, value in weights_of_encoder.items()}, strict=False
    )
    return encoder.eval().requires_grad_(False)


def _rates(
    classifiers: LancetClassifiers, pictures: Pictures, scenes: Sequence[Scene]
) -> dict[str, Rate]:
    probabilities = classifiers.probabilities(pictures)
    return {factor: _accuracy(classifiers, probabilities, scenes, factor) for factor in FACTORS}


def _accuracy(
    classifiers: LancetClassifiers,
    probabilities: dict[str, NDArray[np.float32]],
    scenes: Sequence[Scene],
    factor: str,
) -> Rate:
    """How often the prediction is right (of two objects either), in scenes that have the factor."""
    names = [classifiers.classes[factor][at] for at in probabilities[factor].argmax(1)]
    hits = [
        name
        in ((scene.subject, scene.second) if factor == "subject" else (getattr(scene, factor),))
        for name, scene in zip(names, scenes, strict=True)
        if getattr(scene, factor) != NONE
    ]
    return rate(sum(hits), len(hits))


def _reconstructed(model: Model, scaled: Tensor) -> Pictures:
    """Pictures `[n, 3, 64, 64]` through the autoencoder and back."""
    movq = cast(Any, model.pipeline).movq
    parts = [
        # Trained without its codebook; quantising would measure another autoencoder.
        movq.decode(movq.encode(part).latents, force_not_quantize=True).sample
        for part in scaled.split(BATCH)
    ]
    return _bytes(torch.cat(parts))


def _decode(model: Model, embeddings: Tensor, report: Progress) -> Pictures:
    """Pictures decoded from embeddings `[n, width]`, with the model's own options."""
    decoder, options = cast(Any, model.pipeline).decoder_pipe, model.defaults
    decoder.set_progress_bar_config(disable=True)
    empty = cast(Any, model.pipeline).prior_pipe.get_zero_embed()
    parts = []
    for start in range(0, len(embeddings), BATCH):
        condition = embeddings[start : start + BATCH]
        pictures = decoder(
            condition,
            empty.expand(len(condition), -1),
            height=options.height,
            width=options.width,
            num_inference_steps=options.steps,
            guidance_scale=options.guidance,
            # By the place of the batch: the same noise whenever this is measured again.
            generator=torch.Generator().manual_seed(start),
            output_type="pt",
        ).images
        parts.append(pictures)
        report("decoding true embeddings", start + len(condition), len(embeddings))
    return _bytes(torch.cat(parts))


def _predicted_embeddings(model: Model, scenes: Sequence[Scene], report: Progress) -> Tensor:
    """The prior's embeddings of the scenes' captions, `[n, width]`."""
    address = "prior/embedding"
    run = model.run(
        list(dict.fromkeys(scene.caption for scene in scenes)),
        0,
        read=[address],
        pictures=False,
        progress=lambda _, completed, total: report("embedding captions", completed, total),
    )
    values = run.read(address).mean("step").values
    # A caption that several scenes share is run once.
    rows = {prompt: at for at, prompt in enumerate(run.samples["prompt"])}
    return torch.from_numpy(np.stack([values[rows[scene.caption]] for scene in scenes]))


def _text_embeddings(model: Model, scenes: Sequence[Scene]) -> Tensor:
    """The text encoder's embeddings of the captions, `[n, width]`."""
    pipeline = cast(Any, model.pipeline)
    coded = pipeline.prior_tokenizer(
        [scene.caption for scene in scenes],
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    )
    parts = zip(coded.input_ids.split(BATCH), coded.attention_mask.split(BATCH), strict=True)
    return torch.cat([pipeline.prior_text_encoder(*part).text_embeds for part in parts])


def _error(predicted: Tensor, truth: Tensor) -> float:
    # In units of the error of the mean embedding, which does not depend on the caption.
    spread = (truth - truth.mean(0)).square().mean()
    return float((predicted - truth).square().mean() / spread)


def _cosine(predicted: Tensor, truth: Tensor) -> float:
    # Around the mean: all embeddings share a large component, which alone gives a high cosine.
    middle = truth.mean(0)
    return float(functional.cosine_similarity(predicted - middle, truth - middle).mean())


def _bytes(pictures: Tensor) -> Pictures:
    raw = pictures.clamp(-1, 1).add(1).mul(127.5).round().byte()
    return raw.permute(0, 2, 3, 1).contiguous().numpy()
