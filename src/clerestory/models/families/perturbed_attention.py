"""Perturbed-attention guidance (Ahn et al. 2024) on families that have pipelines with it.

The pipelines draw with further rows after those of the branches, the prompt's once more, in which
the self-attentions of some blocks see only their own position. These rows are neither read nor
edited: an edit of the branch `cond` within the denoiser moves it away from them as well. In those
blocks the perturbed rows have calls of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from typing_extensions import override

from clerestory.models.core.family import Encoding, Handoff, StageCall, families
from clerestory.models.core.types import Options, Sample
from clerestory.models.families.hunyuan_dit import HunyuanDiT
from clerestory.models.families.kolors import Kolors
from clerestory.models.families.pixart import PixArt
from clerestory.models.families.sana import Sana
from clerestory.models.families.stable_diffusion import StableDiffusion
from clerestory.models.families.stable_diffusion_3 import StableDiffusion3
from clerestory.models.families.stable_diffusion_xl import StableDiffusionXL
from clerestory.models.families.text_family import TextFamily
from clerestory.types import Floats, Pictures

__all__ = [
    "HunyuanDiTPAG",
    "KolorsPAG",
    "PixArtPAG",
    "SanaPAG",
    "StableDiffusion3PAG",
    "StableDiffusionPAG",
    "StableDiffusionXLPAG",
]


class PerturbedAttention(TextFamily):
    """A pipeline with perturbed rows, which come last."""

    option_names = (*TextFamily.option_names, "perturbed_guidance")
    # Checkpoints are those of the family without perturbed attention.
    single_file_types: ClassVar[tuple[str, ...]] = ()

    @override
    def pipeline_options(self, options: Options) -> dict[str, Any]:
        return {**super().pipeline_options(options), "pag_scale": options.perturbed_guidance}

    @override
    def denoiser_call(self, call: int, batch: Sequence[Sample]) -> StageCall:
        stage_call = super().denoiser_call(call, batch)
        perturbs = batch[0].options.perturbed_guidance > 0 and self.pipeline.pag_applied_layers
        return replace(stage_call, other_rows=len(batch)) if perturbs else stage_call

    @override
    def draw(
        self, batch: Sequence[Sample], encoding: Encoding, handoff: Handoff, until: str
    ) -> Pictures | Floats | None:
        processors = dict(self.denoiser.attn_processors)
        try:
            return super().draw(batch, encoding, handoff, until)
        finally:
            # The pipeline puts them back at its end only, which an error or an interrupt skips.
            self.denoiser.set_attn_processor(processors)


@families.register("StableDiffusionPAGPipeline")
class StableDiffusionPAG(PerturbedAttention, StableDiffusion):
    """Stable Diffusion 1 and 2 with perturbed-attention guidance."""


@families.register("StableDiffusionXLPAGPipeline")
class StableDiffusionXLPAG(PerturbedAttention, StableDiffusionXL):
    """SDXL with perturbed-attention guidance."""


@families.register("StableDiffusion3PAGPipeline")
class StableDiffusion3PAG(PerturbedAttention, StableDiffusion3):
    """Stable Diffusion 3 with perturbed-attention guidance."""


@families.register("PixArtSigmaPAGPipeline")
class PixArtPAG(PerturbedAttention, PixArt):
    """PixArt Sigma with perturbed-attention guidance."""


@families.register("HunyuanDiTPAGPipeline")
class HunyuanDiTPAG(PerturbedAttention, HunyuanDiT):
    """HunyuanDiT with perturbed-attention guidance."""


@families.register("SanaPAGPipeline")
class SanaPAG(PerturbedAttention, Sana):
    """Sana with perturbed-attention guidance."""


@families.register("KolorsPAGPipeline")
class KolorsPAG(PerturbedAttention, Kolors):
    """Kolors with perturbed-attention guidance."""
