"""Sizes of Lancet's parts and plans of their training: `full` and `smoke`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from clerestory.registry import Registry

__all__ = ["Plan", "Settings", "presets"]


@dataclass(frozen=True)
class Plan:
    """One stage's training: `steps` batches, a learning rate that warms up and then decays.

    `decay` is the share of the rate at the end (1 keeps it constant); `ema` the decay of the moving
    average of the weights, 0 for none.
    """

    steps: int
    batch: int
    rate: float
    decay: float = 0.02
    ema: float = 0.0
    weight_decay: float = 0.01
    warmup: int = 200
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """The learning rate: a linear warm-up, then down to `decay` of the rate.

        Args:
            step: The step, from 0.

        Returns:
            The rate of this step.
        """
        # At most a tenth of the steps, so that short runs reach their rate.
        warmup = min(self.warmup, max(1, self.steps // 10))
        left = self.decay + (1 - self.decay) * self.height(step)
        # From 1 / warm-up, not from 0: the first step would be lost.
        return self.rate * min(1.0, (step + 1) / warmup) * left

    def height(self, step: int) -> float:
        """Where the rate is between its end and its peak: half a cosine.

        Args:
            step: The step, from 0.

        Returns:
            From 1, the peak, down to 0.
        """
        return 0.5 * (1 + math.cos(math.pi * step / self.steps))


@dataclass(frozen=True)
class Settings:
    """What a training run depends on, besides the world and its art."""

    renders: int = 90_000
    renders_second: int = 60_000
    held_out: int = 4_000
    vocabulary: int = 2_048
    window: int = 32
    width: int = 192
    text_layers: int = 4
    prior_layers: int = 5
    eye_layers: int = 5
    latent_channels: int = 8
    autoencoder_widths: tuple[int, ...] = (16, 32, 64)
    decoder_widths: tuple[int, ...] = (96, 192)
    vision_widths: tuple[int, ...] = (32, 64, 128, 192)
    autoencoder: Plan = field(default_factory=lambda: Plan(5_000, 24, 2e-3, seed=11))
    vision: Plan = field(default_factory=lambda: Plan(8_000, 96, 3e-3, seed=12))
    text: Plan = field(default_factory=lambda: Plan(2_400, 128, 1.5e-3, seed=13))
    prior: Plan = field(
        default_factory=lambda: Plan(2_000, 96, 1.5e-3, decay=0.05, ema=0.99, seed=14)
    )
    decoder: Plan = field(
        default_factory=lambda: Plan(8_600, 32, 5e-4, decay=0.1, ema=0.998, seed=15)
    )
    eye: Plan = field(default_factory=lambda: Plan(150, 64, 1e-3, seed=16))
    classifier_a: Plan = field(default_factory=lambda: Plan(8_000, 96, 3e-3, seed=17))
    classifier_b: Plan = field(default_factory=lambda: Plan(8_000, 96, 2e-3, seed=18))

    def scaled(self, factor: float) -> Settings:
        """The same settings with fewer or more steps.

        Args:
            factor: Multiplies the steps of every stage, which are at least two.

        Returns:
            Other settings; sizes stay.
        """
        plans = {name: getattr(self, name) for name in STAGES}
        return replace(
            self,
            **{
                name: replace(plan, steps=max(2, round(plan.steps * factor)))
                for name, plan in plans.items()
            },
        )


STAGES = (
    "autoencoder",
    "vision",
    "text",
    "prior",
    "decoder",
    "eye",
    "classifier_a",
    "classifier_b",
)

presets: Registry[Settings] = Registry("training preset")
presets.add("full", Settings())
presets.add(
    "smoke",
    replace(
        Settings(
            renders=1_500,
            renders_second=600,
            held_out=200,
            width=64,
            text_layers=2,
            prior_layers=2,
            eye_layers=2,
            autoencoder_widths=(16, 16, 32),
            decoder_widths=(32, 64),
            vision_widths=(16, 32, 48, 64),
        ).scaled(0.01),
    ),
)
