"""Latent consistency models: Stable Diffusion with guidance distilled into a few steps."""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from clerestory.models.core.family import families
from clerestory.models.core.types import Options
from clerestory.models.families.stable_diffusion import StableDiffusion

__all__ = ["LatentConsistency"]


@families.register("LatentConsistencyModelPipeline")
class LatentConsistency(StableDiffusion):
    """Latent consistency models: CLIP text encoder, UNet, autoencoder; a few steps, one branch."""

    single_file_types: ClassVar[tuple[str, ...]] = ()
    # The pipeline takes no negative prompt: the distilled guidance is against the empty one.
    negative_option = ""

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self.defaults = self.defaults.replace(steps=4, guidance=8.5)

    @override
    def has_two_branches(self, options: Options) -> bool:
        # The guidance scale is an input of the UNet.
        return False
