"""How large the siblings are and how long they are trained: `full` and `smoke`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from clerestory.registry import Registry
from lancet.training.settings import Plan

__all__ = ["TRAINED", "SiblingSettings", "SteadyPlan", "presets"]

TRAINED = ("autoencoder", "unet", "mmdit")
"""The stages that train a network."""


@dataclass(frozen=True)
class SteadyPlan(Plan):
    """A plan with a constant learning rate between its warm-up and a short cooldown at its end.

    Until the cooldown begins the rate does not depend on `steps`, so a run can be stopped, resumed
    and lengthened at will. `cooldown` is the share of the steps in which the rate falls to `decay`
    of itself. Source: Hägele et al. 2024.
    """

    ema: float = 0.999
    cooldown: float = 0.15

    def height(self, step: int) -> float:
        """Where the rate is between its end and its peak: at its peak, then 1 - √progress."""
        length = max(1, round(self.cooldown * self.steps))
        progress = min(1.0, max(0.0, (step - (self.steps - length)) / length))
        # 1 − √progress (Hägele et al. 2024): a run can be prolonged, as only the
        # cooldown depends on its end.
        return 1 - math.sqrt(progress)


@dataclass(frozen=True)
class SiblingSettings:
    """Everything that a training run depends on besides Lancet 1.0 and the art.

    `renders` pictures are stored for the autoencoder; the denoisers learn from the latents of
    `scenes` scenes, whose pictures are not stored. `exclude_evaluation` leaves out scenes whose
    captions are among the evaluation's prompts; finding these takes half a minute.
    `autoencoder_sight` weighs how the body of the selection classifiers sees reconstructions.
    `autoencoder_crop` is the side of the squares that most of the autoencoder's batches are cut to,
    and `autoencoder_whole` the share of batches of whole pictures.
    """

    renders: int = 60_000
    held_out: int = 2_000
    scenes: int = 150_000
    exclude_evaluation: bool = True
    latent_channels: int = 16
    autoencoder_widths: tuple[int, ...] = (16, 32, 64, 112)
    autoencoder_sight: float = 0.0
    autoencoder_crop: int = 64
    autoencoder_whole: float = 0.25
    unet_widths: tuple[int, ...] = (96, 192)
    unet_layers: int = 1
    mmdit_width: int = 224
    mmdit_layers: int = 5
    mmdit_patch: int = 2
    autoencoder: SteadyPlan = field(
        default_factory=lambda: SteadyPlan(9_000, 16, 1.5e-3, ema=0.998, seed=31)
    )
    unet: SteadyPlan = field(default_factory=lambda: SteadyPlan(24_000, 64, 8e-4, seed=32))
    mmdit: SteadyPlan = field(
        default_factory=lambda: SteadyPlan(40_000, 64, 8e-4, warmup=500, seed=33)
    )

    def with_plans(self, names: Sequence[str] = TRAINED, **changes: int) -> SiblingSettings:
        """The same with other plans.

        Args:
            names: The stages whose plans change; others than trained ones are passed over.
            **changes: Fields of the plans, such as `steps` or `seed`.

        Returns:
            Other settings; sizes stay.
        """
        chosen = [name for name in names if name in TRAINED]
        return replace(self, **{n: replace(getattr(self, n), **changes) for n in chosen})


presets: Registry[SiblingSettings] = Registry("sibling preset")
presets.add("full", SiblingSettings())
presets.add(
    "smoke",
    SiblingSettings(
        renders=96,
        held_out=32,
        scenes=96,
        exclude_evaluation=False,
        autoencoder_widths=(8, 8, 16, 16),
        unet_widths=(32, 64),
        mmdit_width=64,
        mmdit_layers=2,
        autoencoder=SteadyPlan(6, 8, 1.5e-3, seed=31),
        unet=SteadyPlan(6, 8, 8e-4, seed=32),
        mmdit=SteadyPlan(6, 8, 8e-4, seed=33),
    ),
)
