"""Tiny random-weight pipelines whose text encoder is a language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

LANGUAGE_WIDTH, WINDOW = 32, 48
MARKS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


def tiny_language_tokenizer(texts: Sequence[str] = (), start: str = "", **more: Any) -> Any:
    """A byte-level tokenizer that has a token for each word of some texts, for ` cat` and ` dog`.

    It begins a text with `start`.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        min_frequency=2,
        special_tokens=list(MARKS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, "a cat dog"] * 2, trainer)
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    if start:
        tokenizer.post_processor = TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, tokenizer.token_to_id(start))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=8192,
        **more,
    )


def language_settings(tokenizer: Any, **more: Any) -> dict[str, Any]:
    """What configurations of language models share: two layers, four heads, two of keys."""
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": LANGUAGE_WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 4096,
        # Small weights would hide a prompt behind the rest of the template.
        "initializer_range": 0.3,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    return {**settings, **more}


def flow() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler()


def tiny_video_vae() -> Any:
    """Qwen-Image's autoencoder, which has an axis of frames."""
    from diffusers import AutoencoderKLQwenImage

    return AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2],
        num_res_blocks=1,
        temperal_downsample=[True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


def tiny_image_vae(channels: int = 4, widths: tuple[int, ...] = (8, 16)) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        latent_channels=channels,
        norm_num_groups=4,
        layers_per_block=1,
        sample_size=16,
        shift_factor=0.0,
        scaling_factor=0.5,
    )


def tiny_qwen_vl(tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        text_config=language_settings(
            tokenizer,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
        ),
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": LANGUAGE_WIDTH,
        },
    )
    return Qwen2_5_VLForConditionalGeneration(config)


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
        scheduler=flow(),
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
        "scheduler": flow(),
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
    pipeline.system_message, pipeline.tokenizer_max_length = "D:", WINDOW
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
    pipeline.tokenizer_max_length = WINDOW
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
        vae=tiny_image_vae(),
        text_encoder=Qwen3Model(Qwen3Config(**language_settings(tokenizer, num_hidden_layers=3))),
        tokenizer=tokenizer,
        transformer=transformer,
        scheduler=flow(),
    )


def _with_instructions(kind: Any, *instructions: str) -> Any:
    """A pipeline's class with shorter instructions than its own before each prompt."""

    def call(
        self: Any, *args: Any, complex_human_instruction: Any = instructions, **more: Any
    ) -> Any:
        return kind.__call__(
            self, *args, complex_human_instruction=complex_human_instruction, **more
        )

    return type(kind.__name__, (kind,), {"__call__": call})


def tiny_sana(kind: Any, scheduler: Any, **more: Any) -> Any:
    from diffusers import AutoencoderDC, SanaTransformer2DModel
    from transformers import Gemma2Config, Gemma2Model

    instructions = "Enhance it:", "User Prompt: "
    tokenizer = tiny_language_tokenizer(["\n".join(instructions)], start="<|im_start|>")
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
    return _with_instructions(kind, *instructions)(
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

    return tiny_sana(SanaPipeline, flow())


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
        vae=tiny_image_vae(widths=(8, 8, 8, 8)),
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
        scheduler=flow(),
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
        vae=tiny_image_vae(),
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
        scheduler=flow(),
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
}
