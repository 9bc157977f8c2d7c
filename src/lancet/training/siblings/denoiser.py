"""What the training of both siblings' denoisers shares: their rows and what they read of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lancet.training.decoder import DROP
from lancet.training.loop import Stage
from lancet.training.settings import Plan
from lancet.training.siblings.latents import Latents
from lancet.training.siblings.text_states import TextStates

__all__ = ["Denoiser"]


class Denoiser(Stage):
    """A network that learns latents from text states.

    Args:
        plan: The plan of the stage.
        latents: The scenes' latents.
        states: The text states of their captions.
        model: The untrained network.
    """

    def __init__(self, plan: Plan, latents: Latents, states: TextStates, model: Any) -> None:
        self.plan, self.rows = plan, len(latents)
        self.latents, self.states, self.model = latents, states, model

    def read(self, rows: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A batch, with the empty prompt in place of some captions.

        Args:
            rows: Numbers of scenes, `[n]`.
            noise: The step's generator.

        Returns:
            Clean latents `[n, channel, 16, 16]`, hidden states `[n, token, width]` and pooled
            ones `[n, width]`.
        """
        # Classifier-free guidance (Ho & Salimans 2022): some rows learn without their caption.
        dropped = torch.rand(len(rows), generator=noise) < DROP
        hidden, pooled = self.states.read(rows, dropped)
        return self.latents[rows], hidden, pooled
