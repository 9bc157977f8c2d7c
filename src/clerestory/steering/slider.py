"""A LoRA concept slider as a baseline: a few minutes of training instead of an edit.

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
RANK, BATCH, RATE = 8, 8, 1e-3
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "add_k_proj", "add_v_proj"]
LATENT = "denoiser/latent"


@dataclass(frozen=True, eq=False)
class Slider:
    """A model whose denoiser carries a trained adapter, switched on for its own drawings only."""

    model: Model
    losses: tuple[float, ...] = field(repr=False)

    @classmethod
    def train(
        cls,
        model: Model,
        templates: tuple[str, str],
        items: Sequence[str],
        *,
        steps: int = 400,
        progress: Progress | None = None,
    ) -> Slider:
        """Train an adapter; it is off afterwards.

        Args:
            model: The model.
            templates: Of the prompts that are drawn, and of what they should become.
            items: Each is drawn once by each template; the latents on the way are trained on.
            steps: Training steps.
            progress: Receives updates.

        Returns:
            The slider; `close` removes its adapter.

        Raises:
            ModelError: The model has no prior, or peft is not installed.
        """
        if not model.conditioning_site.startswith("prior/"):
            raise ModelError("The slider is trained on models of Kandinsky's kind only.")
        try:
            peft: Any = importlib.import_module("peft")
        except ImportError as error:
            raise ModelError("A LoRA slider needs peft: install clerestory[lora].") from error
        data = _TrainingData.of(model, templates, items)
        unet = model.pipeline.unet
        unet.add_adapter(
            peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS), adapter_name=NAME
        )
        try:
            losses = _fit(unet, data, steps, progress)
        # Also Ctrl-C: an adapter that is left behind would draw in everything that follows.
        except BaseException:
            unet.delete_adapters(NAME)
            raise
        unet.disable_adapters()
        return cls(model, tuple(losses))

    def draw(self, prompts: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
        """Pictures `[sample, height, width, 3]` of the model with the adapter on.

        Args:
            prompts: The prompt of each sample.
            seeds: The seed of each sample.

        Returns:
            Pictures, sample by sample; the adapter is off again afterwards, also after an error.
        """
        self.model.pipeline.unet.enable_adapters()
        try:
            (run,) = self.model.sweep(prompts, seeds, [()], paired=True)
        finally:
            self.model.pipeline.unet.disable_adapters()
        assert run.pictures is not None
        return run.pictures

    def close(self) -> None:
        """Take the adapter off the model."""
        self.model.pipeline.unet.delete_adapters(NAME)


@dataclass(frozen=True, eq=False)
class _TrainingData:
    """What a slider is trained on.

    Attributes:
        plain: Embeddings of the prompts that are drawn, `[item, unit]`.
        target: Embeddings of what they should become, `[item, unit]`.
        latents: Latents on the way, `[item, step, …]`.
        timesteps: `[step]`.
    """

    plain: Tensor
    target: Tensor
    latents: Tensor
    timesteps: Tensor

    @classmethod
    def of(cls, model: Model, templates: tuple[str, str], items: Sequence[str]) -> _TrainingData:
        unet, parts = model.pipeline.unet, []
        sites = [model.conditioning_site, LATENT]
        for template in templates:
            prompts = [fill(template, item) for item in items]
            # The latents on the way to the target's pictures, since those are where the slider must
            # work.
            run = model.run(prompts, 0, read=sites, pool="none", pictures=False, stop="never")
            parts.append([torch.as_tensor(run.read(site).to_numpy()) for site in sites])
        latents, options = parts[1][1], model.defaults
        # The site is read with its positions in one axis; the picture's proportions give the two.
        height = round((latents.shape[2] * options.height / options.width) ** 0.5)
        shaped = latents.transpose(2, 3).unflatten(3, (height, -1))
        times = [step.timestep or 0.0 for step in run.site_values[LATENT].steps]
        plain, target = (part[0][:, 0, 0] for part in parts)
        tensors = (plain, target, shaped, torch.tensor(times))
        return cls(*(tensor.to(unet.device, unet.dtype) for tensor in tensors))

    def batches(self, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Latents, timesteps, and both embeddings of random items and steps."""
        # On the CPU and with a fixed seed: the baseline is the same on every machine.
        generator = torch.Generator().manual_seed(0)
        for _ in range(count):
            rows = torch.randint(len(self.plain), (BATCH,), generator=generator)
            steps = torch.randint(len(self.timesteps), (BATCH,), generator=generator)
            latents, timesteps = self.latents[rows, steps], self.timesteps[steps]
            yield latents, timesteps, self.plain[rows], self.target[rows]


def _fit(unet: Any, data: _TrainingData, steps: int, progress: Progress | None) -> list[float]:
    parameters = [each for each in unet.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE)
    losses = []
    for completed, (latents, times, plain, target) in enumerate(data.batches(steps), 1):
        # The goal is what the base model predicts for the words.
        with torch.no_grad(), _adapter_off(unet):
            goal = _prediction(unet, latents, times, target)
        loss = torch.nn.functional.mse_loss(_prediction(unet, latents, times, plain), goal)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if progress is not None:
            progress("training the slider", completed, steps)
    return losses


def _prediction(unet: Any, latents: Tensor, times: Tensor, embedding: Tensor) -> Tensor:
    prediction: Tensor = unet(
        latents, times, encoder_hidden_states=None, added_cond_kwargs={"image_embeds": embedding}
    ).sample
    return prediction


@contextmanager
def _adapter_off(unet: Any) -> Iterator[None]:
    unet.disable_adapters()
    try:
        yield
    finally:
        unet.enable_adapters()
