"""How much memory the weights of each family take, counted from published configurations.

Networks are built on torch's meta device, which has sizes and no values: nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
CLIP_H = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23}
CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}


def _clip(heads: int, projection: int = 0, **sizes: int) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=49408, num_attention_heads=heads, projection_dim=projection or 512, **sizes
    )
    return CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)


def _eye() -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=1664,
            intermediate_size=8192,
            num_hidden_layers=48,
            num_attention_heads=16,
            patch_size=14,
            projection_dim=1280,
        )
    )


def _t5() -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(
            vocab_size=32128,
            d_model=4096,
            d_kv=64,
            d_ff=10240,
            num_layers=24,
            num_heads=64,
            feed_forward_proj="gated-gelu",
        )
    )


def _language_model(kind: str, **sizes: int) -> Any:
    """The text model of a language model, without its head: pipelines read its states."""
    from transformers import AutoConfig, AutoModel

    return AutoModel.from_config(AutoConfig.for_model(kind, **sizes))


def _gemma_2() -> Any:
    """Gemma 2 2B."""
    return _language_model("gemma2")


def _qwen_3() -> Any:
    """Qwen 3 4B."""
    return _language_model(
        "qwen3",
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
    )


def _qwen_2_5_vl() -> Any:
    """Qwen 2.5 VL 7B, with its vision tower and its head, which the pipeline loads as well."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
            "tie_word_embeddings": False,
        },
        vision_config={"hidden_size": 1280, "out_hidden_size": 3584},
        tie_word_embeddings=False,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def _mistral_3() -> Any:
    """Mistral Small 3.1 24B, with its vision tower and its head."""
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    text = {
        "model_type": "mistral",
        "hidden_size": 5120,
        "intermediate_size": 32768,
        "num_hidden_layers": 40,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 131072,
        "tie_word_embeddings": False,
    }
    return Mistral3ForConditionalGeneration(
        Mistral3Config(text_config=text, tie_word_embeddings=False)
    )


def _vae(channels: int = 4) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=channels,
    )


def _unet(**more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**more)


def _kandinsky() -> list[Any]:
    from diffusers import PriorTransformer, VQModel

    unet = _unet(
        out_channels=8,
        block_out_channels=(384, 768, 1152, 1536),
        layers_per_block=3,
        down_block_types=("ResnetDownsampleBlock2D",) + ("SimpleCrossAttnDownBlock2D",) * 3,
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D",) * 3 + ("ResnetUpsampleBlock2D",),
        cross_attention_dim=768,
        attention_head_dim=64,
        resnet_time_scale_shift="scale_shift",
        encoder_hid_dim=1280,
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
    )
    movq = VQModel(
        block_out_channels=(128, 256, 256, 512),
        down_block_types=("DownEncoderBlock2D",) * 3 + ("AttnDownEncoderBlock2D",),
        up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        latent_channels=4,
        num_vq_embeddings=16384,
        norm_type="spatial",
    )
    prior = PriorTransformer(embedding_dim=1280, num_layers=20)
    return [_clip(20, 1280, **CLIP_G), _eye(), prior, unet, movq]


def _sd3(**sizes: Any) -> list[Any]:
    from diffusers import SD3Transformer2DModel

    net = SD3Transformer2DModel(**sizes)
    return [_clip(12, 768, **CLIP_L), _clip(20, 1280, **CLIP_G), _t5(), net, _vae(16)]


def _sd3_medium() -> list[Any]:
    return _sd3(
        num_layers=24,
        num_attention_heads=24,
        caption_projection_dim=1536,
        pos_embed_max_size=192,
    )


def _sd35_large() -> list[Any]:
    return _sd3(
        num_layers=38,
        num_attention_heads=38,
        caption_projection_dim=2432,
        pos_embed_max_size=192,
        qk_norm="rms_norm",
    )


def _chroma() -> list[Any]:
    from diffusers import ChromaTransformer2DModel

    return [_t5(), ChromaTransformer2DModel(), _vae(16)]


def _flux_2() -> list[Any]:
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel

    return [_mistral_3(), Flux2Transformer2DModel(), AutoencoderKLFlux2()]


def _flux_2_klein() -> list[Any]:
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel

    net = Flux2Transformer2DModel(
        num_layers=5,
        num_single_layers=20,
        num_attention_heads=24,
        joint_attention_dim=7680,
        guidance_embeds=False,
    )
    return [_qwen_3(), net, AutoencoderKLFlux2()]


def _qwen_image() -> list[Any]:
    from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel

    return [_qwen_2_5_vl(), QwenImageTransformer2DModel(), AutoencoderKLQwenImage()]


def _z_image() -> list[Any]:
    from diffusers import ZImageTransformer2DModel

    return [_qwen_3(), ZImageTransformer2DModel(), _vae(16)]


def _sana() -> list[Any]:
    from diffusers import AutoencoderDC, SanaTransformer2DModel

    autoencoder = AutoencoderDC(
        latent_channels=32,
        encoder_block_types=("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
        decoder_block_types=("ResBlock",) * 3 + ("EfficientViTBlock",) * 3,
        encoder_qkv_multiscales=((), (), (), (5,), (5,), (5,)),
        decoder_qkv_multiscales=((), (), (), (5,), (5,), (5,)),
        encoder_layers_per_block=(2, 2, 2, 3, 3, 3),
        decoder_layers_per_block=(3, 3, 3, 3, 3, 3),
    )
    return [_gemma_2(), SanaTransformer2DModel(), autoencoder]


def _lumina_2() -> list[Any]:
    from diffusers import Lumina2Transformer2DModel

    return [_gemma_2(), Lumina2Transformer2DModel(cap_feat_dim=2304), _vae(16)]


def _flux() -> list[Any]:
    from diffusers import FluxTransformer2DModel

    return [_clip(12, **CLIP_L), _t5(), FluxTransformer2DModel(guidance_embeds=True), _vae(16)]


def _pixart() -> list[Any]:
    from diffusers import PixArtTransformer2DModel

    return [_t5(), PixArtTransformer2DModel(sample_size=128, caption_channels=4096), _vae()]


def _sdxl() -> list[Any]:
    unet = _unet(
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
    return [_clip(12, **CLIP_L), _clip(20, 1280, **CLIP_G), unet, _vae()]


def _sd1() -> list[Any]:
    return [_clip(12, **CLIP_L), _unet(cross_attention_dim=768, attention_head_dim=8), _vae()]


def _sd2() -> list[Any]:
    heads = {"attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True}
    return [_clip(16, **CLIP_H), _unet(cross_attention_dim=1024, **heads), _vae()]


INTRO = """# Memory

Generated by `make docs`: weights of the published configurations, counted. Activations come on
top: reading keeps what you read in main memory, and a step holds one batch (`batch=1` at least).
With `offload="model"` one part at a time is on the accelerator: the largest counts.
"""

MODELS: dict[str, Callable[[], list[Any]]] = {
    "Stable Diffusion 1.5": _sd1,
    "Stable Diffusion 2.1": _sd2,
    "SDXL": _sdxl,
    "Kandinsky 2.2 with prior": _kandinsky,
    "Stable Diffusion 3 medium with T5": _sd3_medium,
    "Stable Diffusion 3.5 large with T5": _sd35_large,
    "PixArt Sigma": _pixart,
    "Sana 1.6B": _sana,
    "Lumina 2": _lumina_2,
    "Chroma": _chroma,
    "Z-Image": _z_image,
    "Qwen-Image": _qwen_image,
    "Flux.1 dev": _flux,
    "FLUX.2 Klein 4B": _flux_2_klein,
    "FLUX.2 dev": _flux_2,
}


def page() -> str:
    """The page."""
    import torch

    parts = [
        INTRO,
        "| model | parameters | float32 | half precision | half, with offload |",
        "|---|---|---|---|---|",
    ]
    for name, make in MODELS.items():
        with torch.device("meta"):
            counts = [sum(w.numel() for w in part.parameters()) for part in make()]
        # Kandinsky's prior is never offloaded by diffusers.
        stays = counts.pop(2) if name.startswith("Kandinsky") else 0
        whole, largest = sum(counts) + stays, max(counts) + stays
        cells = [_gigabytes(whole, 4), _gigabytes(whole, 2), _gigabytes(largest, 2)]
        parts.append(f"| {name} | {whole / 1e9:.2f} billion | " + " | ".join(cells) + " |")
    return "\n".join(parts) + "\n"


def _gigabytes(count: int, each: int) -> str:
    return f"{count * each / 2**30:.1f} GiB"
