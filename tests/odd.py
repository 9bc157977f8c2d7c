"""A pipeline of no known family, whose network has what diffusers' own rarely have.

Its network takes and gives lists, calls a layer twice, and has maps with the channels last.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from torch import nn

SIDE, CHANNELS, WIDTH = 4, 3, 6


class OddText(nn.Module):
    """A text encoder: a vector for each letter."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(256, WIDTH)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.letters(ids)


class OddNetwork(nn.Module):
    """Takes latents and captions as lists, one tensor for each row; gives a list in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.last = nn.Linear(CHANNELS, 4)
        self.twice = nn.Linear(4, 4)
        self.back = nn.Linear(4, CHANNELS)
        self.caption = nn.Linear(WIDTH, CHANNELS)
        self.line = nn.Conv1d(CHANNELS, 5, 1)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: list[torch.Tensor], cap_feats: list[torch.Tensor]) -> tuple[Any]:
        rows = []
        for latent, states in zip(x, cap_feats, strict=True):
            value = self.inside(latent[None]) + self.caption(states).mean(0)[:, None, None]
            # Two rows of four columns: height and width differ from the number of units.
            value = self.last(value.permute(0, 2, 3, 1)[:, :2])
            value = self.back(self.twice(self.twice(value)))
            line = self.line(latent[None].flatten(2)).mean()
            value = torch.cat([value] * (latent.shape[1] // 2), 1).permute(0, 3, 1, 2)[0]
            rows.append(latent - value + 0.01 * line)
        return (rows,)


class OddPipeline(DiffusionPipeline):
    """Draws from text with guidance in one call of lists: a row of the prompt, one without."""

    def __init__(self, text_encoder: Any, transformer: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(
            text_encoder=text_encoder, transformer=transformer, scheduler=scheduler
        )

    @torch.no_grad()
    def __call__(
        self,
        prompt: str,
        num_inference_steps: int = 3,
        generator: Any = None,
        output_type: str = "np",
        height: int = SIDE,
    ) -> Any:
        cond = self.text_encoder(torch.tensor(list(prompt.encode())))
        uncond = self.text_encoder(torch.tensor(list(b"-")))
        # Like some, it rounds the size that it is asked for.
        rows = max(height // SIDE, 1) * SIDE
        latent = torch.randn(CHANNELS, rows, SIDE, generator=generator)
        self.scheduler.set_timesteps(num_inference_steps)
        for timestep in self.scheduler.timesteps:
            with_prompt, without = self.transformer([latent, latent], cap_feats=[cond, uncond])[0]
            prediction = without + 2.0 * (with_prompt - without)
            latent = self.scheduler.step(prediction, timestep, latent, return_dict=False)[0]
        return (latent.sigmoid().permute(1, 2, 0)[None].numpy(),)


def odd_pipeline(**scheduler: Any) -> OddPipeline:
    """The pipeline with random weights, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, text = OddNetwork(), OddText()
    pipeline = OddPipeline(text, network, FlowMatchEulerDiscreteScheduler(**scheduler))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
