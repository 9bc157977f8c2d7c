"""Folders of sdxl-unbox (Surkov et al. 2024): `config.json` and a pickle, `state_dict.pth`.

Its dictionaries are of what an attention of the UNet adds to its map, its output minus its input:
the sites `denoiser.….attn.N/update`.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.format import (
    Format,
    formats,
    has_files,
    read_config,
    read_k,
    read_pickle,
    take,
)
from clerestory.dictionaries.kinds.topk import TopK
from clerestory.errors import DictionaryError
from clerestory.io.reading import path_inside

__all__ = ["SDXLUnbox"]

CONFIG, WEIGHTS = "config.json", "state_dict.pth"


@formats.register("sdxl-unbox")
class SDXLUnbox(Format):
    """TopK autoencoders with a bias before the encoder, after OpenAI's."""

    @override
    def matches(self, path: Path) -> bool:
        return has_files(path, CONFIG, WEIGHTS)

    @override
    def read(self, path: Path, *, allow_pickles: bool) -> Dictionary:
        config = read_config(path, CONFIG)
        file = path_inside(path, WEIGHTS, DictionaryError)
        content = read_pickle(file, allow_pickles=allow_pickles)
        state = content.get("state_dict", content) if isinstance(content, dict) else {}
        tensors = {name: each for name, each in state.items() if isinstance(each, Tensor)}
        return Dictionary(
            # Weights of linear layers, [output, input].
            take(tensors, file, "encoder.weight").T.contiguous(),
            take(tensors, file, "latent_bias"),
            take(tensors, file, "decoder.weight").T.contiguous(),
            take(tensors, file, "pre_bias"),
            TopK(read_k(config, path)),
            apply_b_dec_to_input=True,
            metadata={
                "format": "sdxl-unbox",
                # Published folders have the module's name in theirs.
                "hookpoint": path.resolve().name,
                "trained_on": "output minus input",
                "tap": "update",
            },
        )
