"""Parts of tiny pipelines with random weights: tokenizers, encoders, networks, schedulers."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tiny import tiny_text

SIDE = 16
"""Pictures of 16×16; latents of 8×8."""
LANGUAGE_WIDTH, LANGUAGE_WINDOW = 32, 48
MARKS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


def tiny_t5_tokenizer(window: int = 512) -> Any:
    """T5's tokenizer with single letters and two whole words."""
    from transformers import T5Tokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,'"
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁cat", -3.0)]
    words += [("▁a", -3.0), *((letter, -4.0) for letter in letters)]
    return T5Tokenizer(vocab=words, extra_ids=0, model_max_length=window)


def tiny_t5(tokenizer: Any) -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=0,
    )
    return T5EncoderModel(config)


def wide_t5(tokenizer: Any, width: int) -> Any:
    from transformers import T5EncoderModel

    config = tiny_t5(tokenizer).config
    config.d_model = width
    return T5EncoderModel(config)


def tiny_bert_tokenizer(window: int = 77) -> Any:
    """BERT's tokenizer with single letters and two whole words."""
    from transformers import BertTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", *letters]
    words += [f"##{letter}" for letter in letters]
    return BertTokenizer(
        vocab={word: number for number, word in enumerate(words)}, model_max_length=window
    )


def small_bert(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 80,
        "initializer_range": 0.2,
        "pad_token_id": tokenizer.pad_token_id,
    }


def tiny_roberta_tokenizer(window: int = 77) -> Any:
    """XLM-RoBERTa's tokenizer with single letters and two whole words."""
    from transformers import XLMRobertaTokenizer

    words = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    words += [("▁cat", -3.0), ("▁a", -3.0)]
    words += [(letter, -4.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789.,'"]
    return XLMRobertaTokenizer(vocab=[*words, ("<mask>", 0.0)], model_max_length=window)


def clip_without_projection(tokenizer: Any) -> Any:
    from transformers import CLIPTextModel

    return CLIPTextModel(tiny_text(tokenizer).config)


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


def tiny_qwen_vl(tokenizer: Any, **more: Any) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        text_config=language_settings(
            tokenizer,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
            **more,
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


@functools.cache
def _sentencepiece_model() -> str:
    """A file with a model of single letters and a few words, until the tests end."""
    from sentencepiece import SentencePieceTrainer

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    text = folder / "text.txt"
    text.write_text("a cat\na dog\n" * 20 + "abcdefghijklmnopqrstuvwxyz 0123456789.,'\n")
    SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=56,
        model_type="bpe",
        minloglevel=2,
    )
    return str(folder / "tokenizer.model")


def tiny_chat_glm() -> tuple[Any, Any]:
    """ChatGLM and its tokenizer."""
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
    from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer

    tokenizer = ChatGLMTokenizer(_sentencepiece_model())
    encoder = ChatGLMModel(
        ChatGLMConfig(
            num_layers=3,
            padded_vocab_size=72,
            hidden_size=LANGUAGE_WIDTH,
            ffn_hidden_size=48,
            kv_channels=8,
            num_attention_heads=4,
            seq_length=256,
            rmsnorm=True,
            add_qkv_bias=True,
            multi_query_attention=True,
            multi_query_group_num=2,
            original_rope=True,
        )
    )
    # The class leaves memory as it was.
    for name, weight in encoder.named_parameters():
        if "norm" in name:
            torch.nn.init.ones_(weight)
        else:
            torch.nn.init.normal_(weight, std=0.3)
    return encoder, tokenizer


def tiny_vae(channels: int = 4, widths: tuple[int, ...] = (8, 16)) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        latent_channels=channels,
        norm_num_groups=4,
        layers_per_block=1,
        sample_size=SIDE,
        shift_factor=0.0,
        scaling_factor=0.5,
    )


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


def tiny_unet(**more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    settings = {
        "sample_size": 8,
        "block_out_channels": (16, 24),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**{**settings, **more})


def tiny_scheduler(name: str) -> Any:
    import diffusers

    known = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    known |= {"steps_offset": 1}
    kind, settings = {
        "ddim": ("DDIMScheduler", {**known, "clip_sample": False}),
        "pndm": ("PNDMScheduler", {**known, "skip_prk_steps": True}),
        "heun": ("HeunDiscreteScheduler", known),
        "ancestral": ("EulerAncestralDiscreteScheduler", known),
        "turbo": ("EulerAncestralDiscreteScheduler", {**known, "timestep_spacing": "trailing"}),
        "dpm": ("DPMSolverMultistepScheduler", known),
        "flow": ("FlowMatchEulerDiscreteScheduler", {}),
    }[name]
    return getattr(diffusers, kind)(**settings)


def strengthen(layer: Any) -> None:
    """Random weights hardly listen to the text."""
    layer.weight.data.mul_(30)
