"""A tiny random-weight pipeline of every family, built from config classes in a second or two."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from language_families import LANGUAGE_FAMILIES, with_instructions
from tiny import WINDOW, tiny_pipeline, tiny_text, tiny_tokenizer
from tiny_parts import (
    SIDE,
    clip_without_projection,
    small_bert,
    strengthen,
    tiny_bert_tokenizer,
    tiny_roberta_tokenizer,
    tiny_scheduler,
    tiny_t5,
    tiny_t5_tokenizer,
    tiny_unet,
    tiny_vae,
    wide_t5,
)


def stable_diffusion(scheduler: str = "pndm") -> Any:
    from diffusers import StableDiffusionPipeline

    return _with_clip(StableDiffusionPipeline, tiny_unet(), tiny_scheduler(scheduler))


def latent_consistency() -> Any:
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    return _with_clip(
        LatentConsistencyModelPipeline, tiny_unet(time_cond_proj_dim=8), LCMScheduler()
    )


def _with_clip(kind: Any, unet: Any, scheduler: Any) -> Any:
    tokenizer = tiny_tokenizer()
    return kind(
        vae=tiny_vae(),
        text_encoder=clip_without_projection(tokenizer),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl(scheduler: str = "ancestral", *, zeros: bool = True) -> Any:
    from diffusers import StableDiffusionXLPipeline

    tokenizer = tiny_tokenizer()
    unet = tiny_unet(
        cross_attention_dim=64,
        transformer_layers_per_block=(1, 2),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
        attention_head_dim=(2, 3),
        use_linear_projection=True,
    )
    return StableDiffusionXLPipeline(
        vae=tiny_vae(),
        text_encoder=clip_without_projection(tokenizer),
        text_encoder_2=tiny_text(tokenizer),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=tiny_scheduler(scheduler),
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    )


def stable_diffusion_3(scheduler: str = "flow", *, third: bool = True) -> Any:
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline

    tokenizer, t5 = tiny_tokenizer(), tiny_t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=80,
        pooled_projection_dim=64,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
        pos_embed_max_size=16,
    )
    return StableDiffusion3Pipeline(
        vae=tiny_vae(),
        text_encoder=tiny_text(tokenizer),
        text_encoder_2=tiny_text(tokenizer),
        text_encoder_3=wide_t5(t5, 80) if third else None,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=t5 if third else None,
        transformer=transformer,
        scheduler=tiny_scheduler(scheduler),
    )


def flux(scheduler: str = "flow", *, guided: bool = True) -> Any:
    from diffusers import FluxPipeline, FluxTransformer2DModel

    tokenizer, t5 = tiny_tokenizer(), tiny_t5_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=guided,
        axes_dims_rope=(4, 4, 8),
    )
    return FluxPipeline(
        vae=tiny_vae(),
        text_encoder=clip_without_projection(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=tiny_t5(t5),
        tokenizer_2=t5,
        transformer=transformer,
        scheduler=tiny_scheduler(scheduler),
    )


def chroma(scheduler: str = "flow") -> Any:
    from diffusers import ChromaPipeline, ChromaTransformer2DModel

    t5 = tiny_t5_tokenizer()
    transformer = ChromaTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
        approximator_num_channels=8,
        approximator_hidden_dim=16,
        approximator_layers=1,
    )
    strengthen(transformer.context_embedder)
    return ChromaPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_t5(t5),
        tokenizer=t5,
        transformer=transformer,
        scheduler=tiny_scheduler(scheduler),
    )


def bria(scheduler: str = "flow") -> Any:
    from diffusers import BriaPipeline, BriaTransformer2DModel

    t5 = tiny_t5_tokenizer()
    transformer = BriaTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=[4, 4, 8],
    )
    strengthen(transformer.context_embedder)
    return BriaPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_t5(t5),
        tokenizer=t5,
        transformer=transformer,
        scheduler=tiny_scheduler(scheduler),
    )


def aura_flow(scheduler: str = "flow") -> Any:
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel

    t5 = tiny_t5_tokenizer()
    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=2,
        num_single_dit_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=32,
        pos_embed_max_size=256,
    )
    strengthen(transformer.proj_out)
    for block in transformer.joint_transformer_blocks:
        strengthen(block.attn.to_out[0])
    return AuraFlowPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_t5(t5),
        tokenizer=t5,
        transformer=transformer,
        scheduler=tiny_scheduler(scheduler),
    )


def pixart(scheduler: str = "dpm", *, sigma: bool = False) -> Any:
    from diffusers import PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtTransformer2DModel

    t5 = tiny_t5_tokenizer()
    transformer = PixArtTransformer2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_channels=32,
        in_channels=4,
        cross_attention_dim=32,
        out_channels=8,
        use_additional_conditions=False,
    )
    kind = PixArtSigmaPipeline if sigma else PixArtAlphaPipeline
    return kind(
        tokenizer=t5,
        text_encoder=tiny_t5(t5),
        vae=tiny_vae(),
        transformer=transformer,
        scheduler=tiny_scheduler(scheduler),
    )


def perturbed(name: str) -> Any:
    """The same with perturbed-attention guidance, as diffusers makes it of an opened pipeline."""
    import diffusers

    kinds = {
        "stable_diffusion": "StableDiffusionPAGPipeline",
        "stable_diffusion_xl": "StableDiffusionXLPAGPipeline",
        "stable_diffusion_3": "StableDiffusion3PAGPipeline",
        "pixart": "PixArtSigmaPAGPipeline",
        "hunyuan_dit": "HunyuanDiTPAGPipeline",
        "sana": "SanaPAGPipeline",
        "kolors": "KolorsPAGPipeline",
    }
    kind = getattr(diffusers, kinds[name])
    kind = with_instructions(kind) if name == "sana" else kind
    known = inspect.signature(kind.__init__).parameters
    parts = {
        part: value for part, value in ALL_FAMILIES[name]().components.items() if part in known
    }
    parts |= {"requires_safety_checker": False} if "requires_safety_checker" in known else {}
    return kind(**parts)


def unknown_pipeline() -> Any:
    """Karlo by another name, so that it is of no family and the generic one serves it."""
    pipeline = karlo()
    pipeline.__class__ = type("OtherPipeline", (type(pipeline),), {})
    return pipeline


def karlo() -> Any:
    from diffusers import UnCLIPPipeline, UnCLIPScheduler, UNet2DModel
    from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
    from tiny import tiny_prior

    tokenizer = tiny_tokenizer()
    small = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
    small |= {"down_block_types": ("ResnetDownsampleBlock2D",) * 2}
    small |= {"up_block_types": ("ResnetUpsampleBlock2D",) * 2, "in_channels": 6, "out_channels": 3}
    decoder = tiny_unet(
        in_channels=3,
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        resnet_time_scale_shift="scale_shift",
        class_embed_type="identity",
        cross_attention_dim=32,
        attention_head_dim=8,
    )
    return UnCLIPPipeline(
        prior=tiny_prior(),
        decoder=decoder,
        text_encoder=tiny_text(tokenizer),
        tokenizer=tokenizer,
        text_proj=UnCLIPTextProjModel(
            clip_embeddings_dim=32, time_embed_dim=64, cross_attention_dim=32
        ),
        super_res_first=UNet2DModel(sample_size=16, **small),
        super_res_last=UNet2DModel(sample_size=16, **small),
        prior_scheduler=UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", num_train_timesteps=1000
        ),
        decoder_scheduler=UnCLIPScheduler(
            variance_type="learned_range", prediction_type="epsilon", num_train_timesteps=1000
        ),
        super_res_scheduler=UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="epsilon", num_train_timesteps=1000
        ),
    )


def stable_cascade(*, repeats: int = 1) -> Any:
    from diffusers import DDPMWuerstchenScheduler, StableCascadeCombinedPipeline, StableCascadeUNet
    from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel

    tokenizer, kinds = tiny_tokenizer(), ("Res", "Timestep", "Attn")
    blocks = tuple(f"SDCascade{kind}Block" for kind in kinds)
    small = {
        "conditioning_dim": 24,
        "clip_text_pooled_in_channels": 32,
        "clip_seq": 2,
        "block_out_channels": (24, 24),
        "num_attention_heads": (2, 4),
        "down_num_layers_per_block": (1, 1),
        "up_num_layers_per_block": (1, 1),
        "up_blocks_repeat_mappers": (1, repeats),
        "timestep_ratio_embedding_dim": 8,
        "dropout": 0.1,
    }
    prior = StableCascadeUNet(
        in_channels=4,
        out_channels=4,
        block_types_per_layer=(blocks, blocks),
        clip_text_in_channels=32,
        clip_image_in_channels=32,
        switch_level=(False,),
        **small,
    )
    decoder = StableCascadeUNet(
        in_channels=4,
        out_channels=4,
        block_types_per_layer=(blocks[:2], blocks),
        self_attn=(True, False),
        effnet_in_channels=4,
        timestep_conditioning_type=("sca",),
        **small,
    )
    for network in (prior, decoder):
        strengthen(network.clip_txt_pooled_mapper)
    pipeline = StableCascadeCombinedPipeline(
        tokenizer=tokenizer,
        text_encoder=tiny_text(tokenizer),
        decoder=decoder,
        scheduler=DDPMWuerstchenScheduler(),
        vqgan=PaellaVQModel(bottleneck_blocks=1, embed_dim=16, levels=2, num_vq_embeddings=2),
        prior_prior=prior,
        prior_text_encoder=tiny_text(tokenizer),
        prior_tokenizer=tokenizer,
        prior_scheduler=DDPMWuerstchenScheduler(),
    )
    # A map of 2×2 for 16×16 pixels, in place of 24×24 for 1024×1024.
    pipeline.prior_pipe.register_to_config(resolution_multiple=8)
    pipeline.decoder_pipe.register_to_config(latent_dim_scale=2)
    return pipeline


def kandinsky_2_1() -> Any:
    from diffusers import KandinskyCombinedPipeline
    from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP

    newer, tokenizer = tiny_pipeline(), tiny_roberta_tokenizer()
    encoder = MultilingualCLIP(
        MCLIPConfig(transformerDimSize=32, imageDimSize=32, **small_bert(tokenizer))
    )
    unet = tiny_unet(
        sample_size=4,
        out_channels=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        attention_head_dim=8,
        resnet_time_scale_shift="scale_shift",
        encoder_hid_dim=32,
        encoder_hid_dim_type="text_image_proj",
        addition_embed_type="text_image",
        addition_embed_type_num_heads=2,
        addition_time_embed_dim=32,
    )
    parts = {name: part for name, part in newer.components.items() if name != "unet"}
    return KandinskyCombinedPipeline(unet=unet, text_encoder=encoder, tokenizer=tokenizer, **parts)


def hunyuan_dit() -> Any:
    from diffusers import DDPMScheduler, HunyuanDiT2DModel, HunyuanDiTPipeline
    from transformers import BertConfig, BertModel

    tokenizer, t5 = tiny_bert_tokenizer(), tiny_t5_tokenizer()
    transformer = HunyuanDiT2DModel(
        sample_size=2,
        num_layers=2,
        patch_size=1,
        attention_head_dim=8,
        num_attention_heads=4,
        in_channels=4,
        hidden_size=32,
        cross_attention_dim=32,
        cross_attention_dim_t5=32,
        pooled_projection_dim=16,
    )
    for block in transformer.blocks:
        strengthen(block.attn2.to_out[0])
    return HunyuanDiTPipeline(
        vae=tiny_vae(widths=(8, 8, 8, 8)),
        text_encoder=BertModel(BertConfig(**small_bert(tokenizer))),
        tokenizer=tokenizer,
        transformer=transformer,
        # From the noisiest step on, so that a picture of a single step depends on its text.
        scheduler=DDPMScheduler(
            beta_schedule="scaled_linear", clip_sample=False, timestep_spacing="trailing"
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        text_encoder_2=tiny_t5(t5),
        tokenizer_2=t5,
    )


def deepfloyd_if() -> Any:
    from diffusers import DDPMScheduler, IFPipeline

    t5 = tiny_t5_tokenizer()
    unet = tiny_unet(
        sample_size=SIDE,
        in_channels=3,
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        attention_head_dim=8,
        resnet_time_scale_shift="scale_shift",
        encoder_hid_dim=32,
        encoder_hid_dim_type="text_proj",
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
    )
    return IFPipeline(
        tokenizer=t5,
        text_encoder=tiny_t5(t5),
        unet=unet,
        scheduler=DDPMScheduler(
            beta_schedule="squaredcos_cap_v2", variance_type="learned_range", thresholding=True
        ),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


def kandinsky_3() -> Any:
    """Of no family here: its text is cut to the longest prompt of a batch."""
    from diffusers import DDPMScheduler, Kandinsky3Pipeline, Kandinsky3UNet, VQModel

    t5 = tiny_t5_tokenizer()
    movq = VQModel(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        vq_embed_dim=4,
        num_vq_embeddings=2,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    unet = Kandinsky3UNet(
        in_channels=4,
        time_embedding_dim=16,
        groups=2,
        attention_head_dim=4,
        layers_per_block=3,
        block_out_channels=(8, 8, 16, 16),
        cross_attention_dim=16,
        encoder_hid_dim=32,
    )
    return Kandinsky3Pipeline(
        tokenizer=t5,
        text_encoder=tiny_t5(t5),
        unet=unet,
        scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False),
        movq=movq,
    )


FAMILIES: dict[str, Callable[[], Any]] = {
    "unclip": tiny_pipeline,
    "stable_diffusion": stable_diffusion,
    "stable_diffusion_xl": stable_diffusion_xl,
    "stable_diffusion_3": stable_diffusion_3,
    "flux": flux,
    "pixart": pixart,
    "chroma": chroma,
    "bria": bria,
    "aura_flow": aura_flow,
    "stable_cascade": stable_cascade,
    "kandinsky_2_1": kandinsky_2_1,
    "hunyuan_dit": hunyuan_dit,
    "karlo": karlo,
    "deepfloyd_if": deepfloyd_if,
}
"""Families for tests of everything."""
ALL_FAMILIES = {**FAMILIES, **LANGUAGE_FAMILIES}
"""Every family, for the tests of what a family owes."""


def built(make: Callable[..., Any], *args: Any, seed: int = 0, **how: Any) -> Any:
    """A pipeline with the same random weights for a seed, ready to draw."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = make(*args, **how)
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval()
                _liven(part)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _liven(part: torch.nn.Module) -> None:
    """Gates and outputs that start at zero would hide every edit behind them."""
    for weight in part.parameters():
        if weight.ndim > 1 and float(weight.detach().abs().max()) == 0.0:
            torch.nn.init.normal_(weight, std=0.1)


@functools.cache
def family_model(name: str) -> Any:
    """A model of a family, with small defaults; one for the whole test run."""
    return small_model(built(ALL_FAMILIES[name]))


def small_model(pipeline: Any, **options: Any) -> Any:
    """A model around a pipeline that draws small pictures, most of 16×16, in three steps."""
    from clerestory.models import wrap

    model = wrap(pipeline)
    side = max(SIDE, model.family.size_multiple)
    told = {"height": side, "width": side, "steps": 3, "prior_steps": 3, "prior_guidance": 1.5}
    told |= {"guidance": 3.0}
    model.defaults = model.defaults.replace(**{**told, **options})
    return model


__all__ = [
    "ALL_FAMILIES",
    "FAMILIES",
    "SIDE",
    "WINDOW",
    "built",
    "family_model",
    "kandinsky_3",
    "karlo",
    "perturbed",
    "small_model",
    "unknown_pipeline",
]
