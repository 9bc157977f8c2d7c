"""Tiny random pipelines whose text windows take the studies' prompts, and a random CLIP."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import families
import torch
from tiny import WINDOW, tiny_text, tiny_tokenizer

from clerestory.studies import Study
from clerestory.studies.tasks import Task

__all__ = ["PIPELINES", "clip", "judges", "pipeline", "shrunk"]

PIPELINES = {"sd": "stable_diffusion", "sdxl": "stable_diffusion_xl", "flux": "flux"}
WIDE = 200
"""Tokens, which are letters here."""
CLIP = "openai/clip-vit-large-patch14"
FEWER: Mapping[str, Mapping[str, Any]] = {
    "record": {"seeds": (0,), "seeds_per_item": 0},
    "familiarity": {"contexts": ("{item} at sea",), "count": 99, "seeds": (0,)},
    "find": {"top": 4},
    "group": {"top": 4},
    "verify": {"items": 2, "baselines": 20},
    "maximize": {"budget": 100, "random_prompts": 20},
    "build": {
        "selection_items": 4,
        "evaluation_items": 4,
        "baselines": 2,
        "strengths": (1.0,),
        "seeds_per_item": 1,
    },
    "show": {"seeds": (0, 1)},
    "attribute": {"paraphrases": 20, "seeds_per_paraphrase": 1},
    "suppress": {
        "selection_paraphrases": 12,
        "evaluation_paraphrases": 12,
        "seeds_per_paraphrase": 1,
        "methods": ("negative prompt",),
    },
}
"""By kind, as few samples as it takes."""


@functools.cache
def pipeline(name: str) -> Any:
    """A model of 16×16 pictures."""
    wide = patch.object(families, "tiny_tokenizer", lambda window=WINDOW: tiny_tokenizer(WIDE))
    with wide, patch.object(families, "tiny_t5_tokenizer", _t5_tokenizer):
        built = families.built(families.FAMILIES[PIPELINES[name]])
    return families.small_model(built, steps=2)


def _t5_tokenizer(window: int = WIDE) -> Any:
    """One that knows some words, so that a search has a choice."""
    from transformers import T5Tokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,'"
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    words += [(f"▁{word}", -3.0) for word in ("a", "cat", "dog", "in", "glass", "window")]
    words += [(letter, -4.0) for letter in letters]
    return T5Tokenizer(vocab=words, extra_ids=0, model_max_length=window)


def clip(folder: Path) -> Path:
    """A random CLIP that looks at pictures of 32×32."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    tokenizer = tiny_tokenizer(64)
    vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    vision |= {"intermediate_size": 48, "image_size": 32, "patch_size": 16}
    text = tiny_text(tokenizer).config.to_dict()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CLIPModel(
            CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
        ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size=size, crop_size=size).save_pretrained(folder)
    return folder


def judges(study: Study, folder: Path) -> dict[str, str]:
    """The study's own classifiers for other models, with the random CLIP in place of the real."""
    return {
        name: entry.default.replace(CLIP, str(folder)) for name, entry in study.classifiers.items()
    }


def shrunk(study: Study, sample: int = 40) -> Study:
    """The same tasks, with as few samples as each can take."""
    plan = {key: _fewer(key, task, sample) for key, task in study.plan.items()}
    return study.model_copy(update={"plan": plan})


def _fewer(key: str, task: Task, sample: int) -> Task:
    fields = task.model_dump()
    changed = dict(FEWER[key.partition(".")[0]])
    if fields.get("sample"):
        changed["sample"] = sample
        # More cells than sentence frames, however few samples there are.
        changed |= {"per_cell": 2} if fields.get("cells") else {}
    elif "subject" in fields.get("prompts", {}).get("levels", {}):
        changed["max_levels"] = {"subject": 8}
    return type(task).model_validate({**fields, **changed})
