"""Tiny random-weight pipelines whose text encoder is a language model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiny import tiny_text, tiny_tokenizer
from tiny_parts import (
    LANGUAGE_WIDTH,
    LANGUAGE_WINDOW,
    clip_without_projection,
    language_settings,
    tiny_chat_glm,
    tiny_language_tokenizer,
    tiny_qwen_vl,
    tiny_scheduler,
    tiny_t5,
    tiny_t5_tokenizer,
    tiny_unet,
    tiny_vae,
    tiny_video_vae,
)


def qwen_image() -> Any:
    from diffusers import QwenImagePipeline, QwenImageTransformer2DModel

    template = "<|im_start|>system\nDescribe it:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n"
    tokenizer = tiny_language_tokenizer([template])
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=LANGUAGE_WIDTH,
        axes_dims_rope=(8, 4, 4),
    )
    pipeline = QwenImagePipeline(
        vae=tiny_video_vae(),
        text_encoder=tiny_qwen_vl(tokenizer),
        tokenizer=tokenizer,
        transformer=transformer,
        scheduler=tiny_scheduler("flow"),
    )
    # Shorter than the pipeline's own, whose words these tokenizers spell letter by letter.
    pipeline.prompt_template_encode = template
    pipeline.prompt_template_encode_start_idx = 5
    return pipeline


CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{{ message.content[0].text }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A chat template, as real tokenizers have one."""
ROLES = "system\nuser\nassistant\n"


def _with_states(kind: Any, *states: int) -> Any:
    """A pipeline's class whose text states come of other blocks, since ours are few."""

    def encode_prompt(
        self: Any, *args: Any, text_encoder_out_layers: Any = states, **more: Any
    ) -> Any:
        return kind.encode_prompt(self, *args, text_encoder_out_layers=states, **more)

    return type(kind.__name__, (kind,), {"encode_prompt": encode_prompt})


def tiny_flux_2_parts(states: int, *, guided: bool) -> dict[str, Any]:
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel

    return {
        "transformer": Flux2Transformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=states * LANGUAGE_WIDTH,
            timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=guided,
        ),
        "vae": AutoencoderKLFlux2(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            layers_per_block=1,
            sample_size=16,
        ),
        "scheduler": tiny_scheduler("flow"),
    }


def flux_2(layers: int = 3) -> Any:
    """FLUX.2 with so many blocks in its text encoder; its own class takes states of the 30th."""
    from diffusers import Flux2Pipeline
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    tokenizer = tiny_language_tokenizer([ROLES, "D:"], chat_template=CHAT, padding_side="left")
    config = Mistral3Config(
        text_config={
            "model_type": "mistral",
            **language_settings(tokenizer, num_hidden_layers=layers),
        },
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "image_size": 16,
            "patch_size": 8,
        },
        image_token_index=0,
    )
    kind = _with_states(Flux2Pipeline, 1, 2) if layers < 30 else Flux2Pipeline
    pipeline = kind(
        text_encoder=Mistral3ForConditionalGeneration(config),
        tokenizer=tokenizer,
        **tiny_flux_2_parts(2 if layers < 30 else 3, guided=True),
    )
    pipeline.system_message, pipeline.tokenizer_max_length = "D:", LANGUAGE_WINDOW
    return pipeline


def flux_2_klein() -> Any:
    from diffusers import Flux2KleinPipeline
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = tiny_language_tokenizer([ROLES], chat_template=CHAT)
    config = Qwen3Config(**language_settings(tokenizer, num_hidden_layers=3))
    pipeline = _with_states(Flux2KleinPipeline, 1, 2)(
        text_encoder=Qwen3ForCausalLM(config),
        tokenizer=tokenizer,
        **tiny_flux_2_parts(2, guided=False),
    )
    pipeline.tokenizer_max_length = LANGUAGE_WINDOW
    return pipeline


def z_image() -> Any:
    from diffusers import ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Config, Qwen3Model

    tokenizer = tiny_language_tokenizer([ROLES], chat_template=CHAT)
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=LANGUAGE_WIDTH,
        axes_dims=[4, 4, 8],
        axes_lens=[600, 32, 32],
    )
    return ZImagePipeline(
        vae=tiny_vae(),
        text_encoder=Qwen3Model(Qwen3Config(**language_settings(tokenizer, num_hidden_layers=3))),
        tokenizer=tokenizer,
        transformer=transformer,
        scheduler=tiny_scheduler("flow"),
    )


INSTRUCTIONS = "Enhance it:", "User Prompt: "


def with_instructions(kind: Any) -> Any:
    """A pipeline's class with shorter instructions than its own before each prompt."""

    def call(
        self: Any, *args: Any, complex_human_instruction: Any = INSTRUCTIONS, **more: Any
    ) -> Any:
        return kind.__call__(
            self, *args, complex_human_instruction=complex_human_instruction, **more
        )

    return type(kind.__name__, (kind,), {"__call__": call})


def tiny_sana(kind: Any, scheduler: Any, **more: Any) -> Any:
    from diffusers import AutoencoderDC, SanaTransformer2DModel
    from transformers import Gemma2Config, Gemma2Model

    tokenizer = tiny_language_tokenizer(["\n".join(INSTRUCTIONS)], start="<|im_start|>")
    config = Gemma2Config(**language_settings(tokenizer))
    transformer = SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=LANGUAGE_WIDTH,
        sample_size=8,
        **more,
    )
    return with_instructions(kind)(
        tokenizer=tokenizer,
        text_encoder=Gemma2Model(config),
        vae=AutoencoderDC(
            latent_channels=4,
            attention_head_dim=2,
            encoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "ResBlock", "EfficientViTBlock"),
            encoder_block_out_channels=(8, 8, 8),
            decoder_block_out_channels=(8, 8, 8),
            encoder_qkv_multiscales=((), (), (5,)),
            decoder_qkv_multiscales=((), (), (5,)),
            encoder_layers_per_block=(1, 1, 1),
            decoder_layers_per_block=(1, 1, 1),
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            decoder_norm_types="rms_norm",
            decoder_act_fns="silu",
            scaling_factor=0.5,
        ),
        transformer=transformer,
        scheduler=scheduler,
    )


def sana() -> Any:
    from diffusers import SanaPipeline

    return tiny_sana(SanaPipeline, tiny_scheduler("flow"))


def sana_sprint() -> Any:
    from diffusers import SanaSprintPipeline, SCMScheduler

    return tiny_sana(
        SanaSprintPipeline,
        SCMScheduler(prediction_type="trigflow", sigma_data=0.5),
        guidance_embeds=True,
        qk_norm="rms_norm_across_heads",
    )


def lumina_2() -> Any:
    from diffusers import Lumina2Pipeline, Lumina2Transformer2DModel
    from transformers import Gemma2Config, Gemma2Model

    system = "Draw it:"
    tokenizer = tiny_language_tokenizer([f"{system} <Prompt Start> "], start="<|im_start|>")
    config = Gemma2Config(**language_settings(tokenizer, num_hidden_layers=3))
    pipeline = Lumina2Pipeline(
        tokenizer=tokenizer,
        text_encoder=Gemma2Model(config),
        vae=tiny_vae(widths=(8, 8, 8, 8)),
        transformer=Lumina2Transformer2DModel(
            sample_size=4,
            patch_size=2,
            in_channels=4,
            hidden_size=24,
            num_layers=2,
            num_refiner_layers=1,
            num_attention_heads=4,
            num_kv_heads=2,
            multiple_of=2,
            axes_dim_rope=(2, 2, 2),
            axes_lens=(300, 32, 32),
            cap_feat_dim=LANGUAGE_WIDTH,
        ),
        scheduler=tiny_scheduler("flow"),
    )
    pipeline.system_prompt = system
    return pipeline


def cogview_4() -> Any:
    from diffusers import CogView4Pipeline, CogView4Transformer2DModel
    from transformers import GlmConfig, GlmModel

    tokenizer = tiny_language_tokenizer(start="<|im_start|>", padding_side="left")
    return CogView4Pipeline(
        tokenizer=tokenizer,
        text_encoder=GlmModel(GlmConfig(**language_settings(tokenizer, num_hidden_layers=3))),
        vae=tiny_vae(),
        transformer=CogView4Transformer2DModel(
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            text_embed_dim=LANGUAGE_WIDTH,
            time_embed_dim=16,
            condition_dim=8,
            sample_size=8,
        ),
        scheduler=tiny_scheduler("flow"),
    )


def kandinsky_5() -> Any:
    from diffusers import Kandinsky5T2IPipeline, Kandinsky5Transformer3DModel

    template = "<|im_start|>system\nDescribe it:<|im_end|>\n<|im_start|>user\n{}<|im_end|>"
    tokenizer, clip_tokenizer = tiny_language_tokenizer([template]), tiny_tokenizer(77)
    transformer = Kandinsky5Transformer3DModel(
        in_text_dim=LANGUAGE_WIDTH,
        in_text_dim2=32,
        time_dim=16,
        model_dim=32,
        ff_dim=48,
        num_text_blocks=2,
        num_visual_blocks=2,
        axes_dims=(4, 6, 6),
    )
    pipeline = Kandinsky5T2IPipeline(
        transformer=transformer,
        vae=tiny_vae(widths=(8, 8, 8, 8)),
        text_encoder=tiny_qwen_vl(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=clip_without_projection(clip_tokenizer),
        tokenizer_2=clip_tokenizer,
        scheduler=tiny_scheduler("flow"),
    )
    # Shorter than the pipeline's own, whose words these tokenizers spell letter by letter.
    pipeline.prompt_template, pipeline.prompt_template_encode_start_idx = template, 5
    pipeline.resolutions = [(16, 16), (16, 32)]
    return pipeline


def hidream() -> Any:
    from diffusers import HiDreamImagePipeline, HiDreamImageTransformer2DModel
    from transformers import LlamaConfig, LlamaForCausalLM

    clip_tokenizer, t5_tokenizer = tiny_tokenizer(128), tiny_t5_tokenizer()
    tokenizer = tiny_language_tokenizer(start="<|im_start|>")
    transformer = HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=4,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        caption_channels=[32, LANGUAGE_WIDTH],
        text_emb_dim=64,
        num_routed_experts=2,
        num_activated_experts=1,
        axes_dims_rope=(8, 4, 4),
        max_resolution=(16, 16),
        llama_layers=[0, 1, 1, 0],
    )
    pipeline = HiDreamImagePipeline(
        scheduler=tiny_scheduler("flow"),
        vae=tiny_vae(),
        text_encoder=tiny_text(clip_tokenizer, layers=1),
        tokenizer=clip_tokenizer,
        text_encoder_2=tiny_text(clip_tokenizer, layers=1),
        tokenizer_2=clip_tokenizer,
        text_encoder_3=tiny_t5(t5_tokenizer),
        tokenizer_3=t5_tokenizer,
        text_encoder_4=LlamaForCausalLM(LlamaConfig(**language_settings(tokenizer))),
        tokenizer_4=tokenizer,
        transformer=transformer,
    )
    # Whatever size is asked for, the pipeline draws as many pixels as of this many latents.
    pipeline.default_sample_size = 8
    return pipeline


def hunyuan_image(*, second_guider: bool = False) -> Any:
    from diffusers import (
        AdaptiveProjectedMixGuidance,
        AutoencoderKLHunyuanImage,
        HunyuanImagePipeline,
        HunyuanImageTransformer2DModel,
    )
    from transformers import ByT5Tokenizer

    template = "<|im_start|>system\nDescribe it:<|im_end|>\n<|im_start|>user\n{}<|im_end|>"
    tokenizer, byte_tokenizer = tiny_language_tokenizer([template]), ByT5Tokenizer()
    pipeline = HunyuanImagePipeline(
        scheduler=tiny_scheduler("flow"),
        vae=AutoencoderKLHunyuanImage(
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            block_out_channels=(32, 32),
            layers_per_block=1,
            spatial_compression_ratio=2,
            sample_size=16,
            scaling_factor=0.5,
        ),
        text_encoder=tiny_qwen_vl(tokenizer, num_hidden_layers=3),
        tokenizer=tokenizer,
        text_encoder_2=tiny_t5(byte_tokenizer),
        tokenizer_2=byte_tokenizer,
        transformer=HunyuanImageTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=8,
            num_layers=2,
            num_single_layers=2,
            num_refiner_layers=1,
            text_embed_dim=LANGUAGE_WIDTH,
            text_embed_2_dim=32,
            rope_axes_dim=(4, 4),
        ),
        guider=AdaptiveProjectedMixGuidance(
            guidance_scale=3.0, adaptive_projected_guidance_start_step=1
        ),
        ocr_guider=AdaptiveProjectedMixGuidance(
            guidance_scale=3.0, adaptive_projected_guidance_start_step=0
        )
        if second_guider
        else None,
    )
    # Shorter than the pipeline's own, whose words these tokenizers spell letter by letter.
    pipeline.prompt_template_encode, pipeline.prompt_template_encode_start_idx = template, 5
    pipeline.tokenizer_max_length, pipeline.tokenizer_2_max_length = LANGUAGE_WINDOW, 32
    return pipeline


def kolors() -> Any:
    from diffusers import EulerDiscreteScheduler, KolorsPipeline

    encoder, tokenizer = tiny_chat_glm()
    unet = tiny_unet(
        cross_attention_dim=24,
        encoder_hid_dim=LANGUAGE_WIDTH,
        encoder_hid_dim_type="text_proj",
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + LANGUAGE_WIDTH,
        use_linear_projection=True,
    )
    return KolorsPipeline(
        vae=tiny_vae(),
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
    )


LANGUAGE_FAMILIES: dict[str, Callable[[], Any]] = {
    "qwen_image": qwen_image,
    "flux_2": flux_2,
    "flux_2_klein": flux_2_klein,
    "z_image": z_image,
    "sana": sana,
    "sana_sprint": sana_sprint,
    "lumina_2": lumina_2,
    "cogview_4": cogview_4,
    "kandinsky_5": kandinsky_5,
    "hidream": hidream,
    "hunyuan_image": hunyuan_image,
    "kolors": kolors,
}
