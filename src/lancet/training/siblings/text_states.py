"""What Lancet's frozen text encoder makes of captions, computed once a caption, memory-mapped.

`last` is the output of the text encoder, which `StableDiffusionPipeline` takes; `penultimate` the
output of the layer before the last, and `pooled` the projected embedding, which
`StableDiffusion3Pipeline` takes. Both pipelines pass no attention mask, so padding has states too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from clerestory.errors import TrainingError
from lancet.evaluation.prompts import digest
from lancet.training.blocks import BlockFolder, blocks
from lancet.training.loop import is_late
from lancet.training.renders import Progress
from lancet.training.text import tokenize

__all__ = ["TextStates", "build"]

BLOCK = 512
FLUSH = 20
"""Blocks between two markers of progress."""


class TextStates:
    """Text states by row of the captions, and those of the empty prompt in place of dropped rows.

    Args:
        folder: What `build` wrote.
        layer: Which hidden states are read.

    Raises:
        TrainingError: The states are missing or not finished.
    """

    def __init__(self, folder: Path, layer: Literal["last", "penultimate"]) -> None:
        if not (folder / "done.json").exists():
            raise TrainingError(f"No finished states in {folder}: run the stage 'states' first.")
        self.index = torch.from_numpy(np.load(folder / "index.npy"))
        self.hidden: NDArray[np.float16] = np.load(folder / f"{layer}.npy", mmap_mode="r")
        self.pooled: NDArray[np.float32] = np.load(folder / "pooled.npy", mmap_mode="r")

    def read(self, rows: Tensor, dropped: Tensor) -> tuple[Tensor, Tensor]:
        """The states of these captions.

        Args:
            rows: Numbers of captions, `[n]`.
            dropped: Which of them are replaced by the empty prompt, bool `[n]`.

        Returns:
            Hidden states `[n, token, width]` and pooled ones `[n, width]`, float32.
        """
        # The empty prompt is the last text of all.
        at = torch.where(dropped, len(self.hidden) - 1, self.index[rows]).numpy()
        hidden = torch.from_numpy(self.hidden[at]).float()
        return hidden, torch.from_numpy(self.pooled[at])


@torch.no_grad()
def build(
    encoder: CLIPTextModelWithProjection,
    tokenizer: CLIPTokenizer,
    captions: list[str],
    folder: Path,
    *,
    progress: Progress | None = None,
    deadline: float | None = None,
) -> bool:
    """Run the text encoder over all different captions, going on where a killed run stopped.

    In full precision, as the pipelines run it.

    Args:
        encoder: The text encoder.
        tokenizer: Its tokenizer.
        captions: One a row; they may repeat.
        folder: The folder of the states; created if missing.
        progress: A callback of (completed, total).
        deadline: When to stop, by `time.monotonic`; None for never.

    Returns:
        Whether all states are there.

    Raises:
        TrainingError: The folder holds the states of other captions.
    """
    plan = {"captions": digest(captions)}
    stored = BlockFolder(folder, plan, "the states of other captions", "texts")
    if stored.finished:
        return True
    # Different captions only: half of all scenes share theirs with another.
    texts = [*dict.fromkeys(captions), ""]
    numbers = {text: number for number, text in enumerate(texts)}
    np.save(folder / "index.npy", np.array([numbers[text] for text in captions], np.int64))
    window, config = tokenizer.model_max_length, encoder.config
    shape = (len(texts), window, config.hidden_size)
    last = stored.array("last", np.float16, shape)
    penultimate = stored.array("penultimate", np.float16, shape)
    pooled = stored.array("pooled", np.float32, (len(texts), config.projection_dim))
    for count, block in enumerate(blocks(stored.done, len(texts), BLOCK), 1):
        # Without a mask, as the siblings' pipelines call the encoder.
        ids, _ = tokenize(tokenizer, texts[block])
        output = encoder(ids.long(), output_hidden_states=True)
        last[block] = output.last_hidden_state.numpy()
        penultimate[block] = output.hidden_states[-2].numpy()
        pooled[block] = output.text_embeds.numpy()
        late = is_late(deadline)
        if count % FLUSH == 0 or late or block.stop == len(texts):
            # Before the state, so that a text that counts is on disk.
            for array in (last, penultimate, pooled):
                array.flush()
            stored.save(block.stop)
        if progress is not None:
            progress(block.stop, len(texts))
        if late and block.stop < len(texts):
            return False
    stored.finish()
    return True
