"""A LoRA concept slider, to be held to: a few minutes of training instead of an edit.

The adapter teaches the denoiser to predict, for the plain prompt, what it predicts for the words.
Source: Gandikota et al. 2023 (Concept Sliders), in its text form; adapters by peft.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clerestory.errors import ModelError
from clerestory.evaluation import fill
from clerestory.models import Model
from clerestory.types import Progress

__all__ = ["Slider"]

NAME = "slider"
RANK, BATCH, RATE = 8, 8, 2e-4
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "add_k_proj", "add_v_proj"]
LATENT = "denoiser/latent"


@dataclass(frozen=True, eq=False)
class Slider:
    """A model whose denoiser carries a trained adapter, switched on for its own drawings only."""

    model: Model
    losses: tuple[float, ...] = field(repr=False)

    @classmethod
    def trained(
        cls,
        model: Model,
        patterns: tuple[str, str],
        contents: Sequence[str],
        *,
        steps: int = 400,
        progress: Progress | None = None,
    ) -> Slider:
        """Train it; ModelError for models without a prior, or without peft.

        `patterns` are those of the prompts that are drawn and of what they should become. Every
        content is drawn once each way; the latents on the way are what is trained on.
        """
        if not model.conditioning_site.startswith("prior/"):
            raise ModelError("The slider is trained on models of Kandinsky's kind only.")
        try:
            peft: Any = importlib.import_module("peft")
        except ImportError as error:
            raise ModelError("A LoRA slider needs peft: install clerestory[lora].") from error
        material = _Material.of(model, patterns, contents)
        unet = model.pipeline.unet
        unet.add_adapter(
            peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS), adapter_name=NAME
        )
        try:
            losses = _fit(unet, material, steps, progress)
        except BaseException:
            unet.delete_adapters(NAME)
            raise
        unet.disable_adapters()
        return cls(model, tuple(losses))

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
        """Pictures `[sample, height, width, 3]` of the model with the adapter on."""
        self.model.pipeline.unet.enable_adapters()
        try:
            pictures = self.model.run(prompts, seeds).pictures
        finally:
            self.model.pipeline.unet.disable_adapters()
        assert pictures is not None
        return pictures

    def close(self) -> None:
        """Take the adapter off the model."""
        self.model.pipeline.unet.delete_adapters(NAME)


@dataclass(frozen=True, eq=False)
class _Material:
    """Embeddings `[content, unit]` of both prompts, and latents `[content, step, …]` on the way."""

    plain: Tensor
    said: Tensor
    latents: Tensor
    timesteps: Tensor

    @classmethod
    def of(cls, model: Model, patterns: tuple[str, str], contents: Sequence[str]) -> _Material:
        unet, parts = model.pipeline.unet, []
        sites = [model.conditioning_site, LATENT]
        for pattern in patterns:
            prompts = [fill(pattern, item) for item in contents]
            run = model.run(prompts, 0, read=sites, pool="none", pictures=False, stop="never")
            parts.append([torch.as_tensor(run.read(site).to_numpy()) for site in sites])
        latents, usual = parts[1][1], model.defaults
        high = round((latents.shape[2] * usual.height / usual.width) ** 0.5)
        shaped = latents.transpose(2, 3).unflatten(3, (high, -1))
        times = [step.timestep or 0.0 for step in run.site_values[LATENT].steps]
        plain, other = (part[0][:, 0, 0] for part in parts)
        made = (plain, other, shaped, torch.tensor(times))
        return cls(*(one.to(unet.device, unet.dtype) for one in made))

    def batches(self, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Latents, timesteps, and both embeddings."""
        chance = torch.Generator().manual_seed(0)
        for _ in range(count):
            rows = torch.randint(len(self.plain), (BATCH,), generator=chance)
            at = torch.randint(len(self.timesteps), (BATCH,), generator=chance)
            yield self.latents[rows, at], self.timesteps[at], self.plain[rows], self.said[rows]


def _fit(unet: Any, material: _Material, steps: int, progress: Progress | None) -> list[float]:
    trained = [one for one in unet.parameters() if one.requires_grad]
    learning = torch.optim.AdamW(trained, lr=RATE * 5)
    losses = []
    for done, (latents, times, plain, said) in enumerate(material.batches(steps), 1):
        with torch.no_grad(), _off(unet):
            wanted = _predicted(unet, latents, times, said)
        loss = torch.nn.functional.mse_loss(_predicted(unet, latents, times, plain), wanted)
        learning.zero_grad()
        loss.backward()
        learning.step()
        losses.append(float(loss.detach()))
        if progress is not None:
            progress("training the slider", done, steps)
    return losses


def _predicted(unet: Any, latents: Tensor, times: Tensor, embedding: Tensor) -> Tensor:
    answer: Tensor = unet(
        latents, times, encoder_hidden_states=None, added_cond_kwargs={"image_embeds": embedding}
    ).sample
    return answer


@contextmanager
def _off(unet: Any) -> Iterator[None]:
    unet.disable_adapters()
    try:
        yield
    finally:
        unet.enable_adapters()
