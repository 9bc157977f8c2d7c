"""The order of the siblings' stages, what each hands to the next, and the folder that comes out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from clerestory.errors import TrainingError
from clerestory.io.writing import atomic_file, atomic_folder, check_empty_folder
from lancet import checkpoint
from lancet.classifiers import LancetClassifiers
from lancet.evaluation import rates
from lancet.evaluation.prompts import digest
from lancet.siblings import ARCHITECTURES, AUTOENCODER, WEIGHTS_FILE
from lancet.training import curves, renders
from lancet.training.loop import Report, Stage, check_stages, fit, report_progress, trained
from lancet.training.renders import Renders
from lancet.training.siblings import (
    assemble,
    autoencoder,
    latents,
    mmdit,
    reconstructions,
    text_states,
    unet,
)
from lancet.training.siblings.settings import SiblingSettings
from lancet.training.train import FIRST_HELD_OUT
from lancet.world.art import Art
from lancet.world.table import World

__all__ = ["STAGES", "SiblingTraining"]

STAGES = ("renders", "autoencoder", "reconstructions", "latents", "states", "unet", "mmdit")
DENOISERS = {"lancet-unet": "unet", "lancet-mmdit": "mmdit"}
FOLDED = "autoencoder-folded.safetensors"
FOLD_SAMPLE = 2_000
"""Pictures that the scale of the latents is measured on."""


class SiblingTraining:
    """One training run of both siblings; every stage goes on where it was killed.

    Args:
        art: The folder with the sprites.
        work: The folder for everything between: renders, latents, checkpoints, logs.
        settings: Sizes and plans.
        shipped: A compact folder. Its autoencoder is used as it is, or trained on where the stages
            name it; training starts from the denoisers that it has. None to train from nothing.
        run: The name of this run of the denoisers, whose checkpoints are apart from others'.
        report: Called with (stage, completed, total, loss).
    """

    def __init__(
        self,
        art: Path,
        work: Path,
        settings: SiblingSettings,
        *,
        shipped: Path | None = None,
        run: str = "",
        report: Report | None = None,
    ) -> None:
        self.art, self.work, self.settings, self.report = art, work, settings, report
        self.shipped = shipped
        self.lancet = checkpoint.verified()
        self.world = World.load(self.lancet / "world.toml")
        self.checkpoints = work / "-".join(filter(None, ["checkpoints", run]))
        self.reconstructions: reconstructions.Reconstructions | None = None

    def check(self, stages: Sequence[str] = (), out: Path | None = None) -> None:
        """Raise what can be known before hours of work.

        Args:
            stages: Names of stages; all if empty.
            out: Where the siblings will go.

        Raises:
            TrainingError: There is no such stage.
            ArtError: The art is missing or altered.
            OutputError: `out` is not empty.
        """
        check_stages(stages, STAGES)
        if {"renders", "latents"} & set(stages or STAGES):
            Art.open(self.art)
        if out is not None:
            check_empty_folder(out)

    def run(self, stages: Sequence[str] = (), *, deadline: float | None = None) -> bool:
        """Run these stages, in their order, until they are done or a deadline passes.

        Args:
            stages: Names of stages; all if empty.
            deadline: When to save and stop, by `time.monotonic`; None for never.

        Returns:
            Whether all of them are done.

        Raises:
            TrainingError: There is no such stage, or one before it is not done.
        """
        self.check(stages)
        # Among all stages a given autoencoder is not trained: latents belong to its weights.
        trains = self.shipped is None or "autoencoder" in stages
        work: dict[str, Callable[[float | None], bool]] = {
            "renders": self._render,
            "autoencoder": partial(self._fit, "autoencoder") if trains else lambda deadline: True,
            "reconstructions": self._measure,
            "latents": self._encode,
            "states": self._read,
            "unet": partial(self._fit, "unet"),
            "mmdit": partial(self._fit, "mmdit"),
        }
        chosen = [name for name in STAGES if name in (stages or STAGES)]
        # `all` stops at the first stage that the deadline interrupts.
        return all(work[name](deadline) for name in chosen)

    def assemble(
        self, out: Path, names: Sequence[str] = (), *, allow_unfinished: bool = False
    ) -> None:
        """Write the compact folder, whole or not at all.

        Args:
            out: A new or empty folder.
            names: Which siblings; both if empty.
            allow_unfinished: Whether to take the last checkpoints, finished or not.

        Raises:
            OutputError: `out` is not empty.
            TrainingError: A stage is not done.
        """
        captions = self.latents.captions
        # What the weights were trained on, for whoever evaluates them.
        about = {"world": self.world.fingerprint, "captions": digest(captions)}
        with atomic_folder(out) as part:
            assemble.write_autoencoder(self._load_folded(), part)
            for name in names or DENOISERS:
                stage = DENOISERS[name]
                network = self._network(stage, allow_unfinished)
                steps = self._steps(stage)
                assemble.write_sibling(
                    name, network, part, self.settings, {**about, "steps": steps}
                )

    @cached_property
    def latents(self) -> latents.Latents:
        """Latents of the scenes that the denoisers learn from."""
        return latents.Latents(self.work / "latents")

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """Lancet 1.0's tokenizer."""
        return CLIPTokenizer.from_pretrained(self.lancet / "model" / "prior_tokenizer")

    @cached_property
    def text_encoder(self) -> CLIPTextModelWithProjection:
        """Lancet 1.0's text encoder, in full precision."""
        folder = self.lancet / "model" / "prior_text_encoder"
        encoder = CLIPTextModelWithProjection.from_pretrained(folder, dtype=torch.float32)
        return encoder.eval().requires_grad_(False)

    def stage(self, name: str) -> Stage:
        """The trained stage called `name`, with what the stages before it have left.

        Args:
            name: `autoencoder`, `unet` or `mmdit`.

        Returns:
            The stage, with an untrained network.

        Raises:
            TrainingError: A stage before it is not done.
        """
        states = self.work / "states"
        width = self.text_encoder.config.hidden_size
        makers: dict[str, Callable[[], Stage]] = {
            "autoencoder": lambda: autoencoder.SiblingAutoencoder(
                self._open_renders("main"),
                self.settings,
                LancetClassifiers.load("selection").net.body.body
                if self.settings.autoencoder_sight
                else None,
            ),
            "unet": lambda: unet.SiblingUNet(
                self.settings, self.latents, text_states.TextStates(states, "last"), width
            ),
            "mmdit": lambda: mmdit.SiblingMMDiT(
                self.settings, self.latents, text_states.TextStates(states, "penultimate"), width
            ),
        }
        # For the weights that training begins with: with the same seed they are the same.
        torch.manual_seed(getattr(self.settings, name).seed)
        return makers[name]()

    def _render(self, deadline: float | None) -> bool:
        seeds = {
            "main": range(self.settings.renders),
            "held-out": range(FIRST_HELD_OUT, FIRST_HELD_OUT + self.settings.held_out),
        }
        # Not stopped by the deadline: rendering takes minutes and is stored in blocks.
        for name, numbers in seeds.items():
            folder = self.work / "renders" / name
            progress = report_progress(self.report, f"renders {name}")
            renders.build(self.world, self.art, folder, numbers, size=128, progress=progress)
        return True

    def _fit(self, name: str, deadline: float | None) -> bool:
        if name == "autoencoder" and (self.work / FOLDED).exists():
            # Latents belong to the folded weights: training on would make them worthless.
            return True
        stage = self.stage(name)
        begins = self.shipped is not None and not self._is_started(name)
        # The folder may have the autoencoder alone.
        if begins and self._shipped_file(name).exists():
            stage.model.load_state_dict(self._shipped_weights(name))
        done = fit(stage, self._checkpoints_of(name), self.report, deadline=deadline)
        curves.draw(self.checkpoints, self.work / "curves.png")
        return done

    def _measure(self, deadline: float | None) -> bool:
        self._fold()
        measured = reconstructions.measure(self._load_folded(), self._open_renders("held-out"))
        with atomic_file(self.work / "reconstructions.json") as part:
            part.write_text(json.dumps(measured.to_dict(), indent=1) + "\n")
        self.reconstructions = measured
        return True

    def _encode(self, deadline: float | None) -> bool:
        self._fold()
        # The evaluation's prompts are new to the siblings as they are to Lancet 1.0.
        wanted = self.settings.exclude_evaluation
        excluded = {prompt.prompt for prompt in rates.evaluation_prompts()} if wanted else set()
        return latents.build(
            self._load_folded(),
            self.world,
            self.art,
            self.work / "latents",
            count=self.settings.scenes,
            excluded=excluded,
            weights=self.work / FOLDED,
            progress=report_progress(self.report, "latents"),
            deadline=deadline,
        )

    def _read(self, deadline: float | None) -> bool:
        return text_states.build(
            self.text_encoder,
            self.tokenizer,
            self.latents.captions,
            self.work / "states",
            progress=report_progress(self.report, "states"),
            deadline=deadline,
        )

    def _fold(self) -> None:
        """Scale the trained autoencoder's latents, once."""
        path = self.work / FOLDED
        if path.exists():
            return
        self.work.mkdir(parents=True, exist_ok=True)
        if self.shipped is not None and not self._is_started("autoencoder"):
            with atomic_file(path) as part:  # shipped weights are folded already
                save_file(self._shipped_weights("autoencoder"), part)
            return
        model = self._network("autoencoder", allow_unfinished=False)
        main = self._open_renders("main")
        sample = main.pictures[:: max(1, len(main) // FOLD_SAMPLE)]
        autoencoder.fold(model, autoencoder.to_tensor(sample))
        with atomic_file(path) as part:
            save_file(model.state_dict(), part)

    def _load_folded(self) -> AutoencoderKL:
        path = self.work / FOLDED
        if not path.exists():
            raise TrainingError("The autoencoder is not finished: run the stage 'reconstructions'.")
        model = autoencoder.network(self.settings)
        model.load_state_dict(load_file(path))
        return model.eval().requires_grad_(False)

    def _network(self, name: str, allow_unfinished: bool) -> Any:
        width = self.text_encoder.config.hidden_size
        blanks: dict[str, Callable[[], nn.Module]] = {
            "autoencoder": lambda: autoencoder.network(self.settings),
            "unet": lambda: unet.network(self.settings, width),
            "mmdit": lambda: mmdit.network(self.settings, width),
        }
        if self.shipped is not None and not self._is_started(name):
            network = blanks[name]()
            network.load_state_dict(self._shipped_weights(name))
            return network.eval().requires_grad_(False)
        steps = None if allow_unfinished else getattr(self.settings, name).steps
        return trained(name, blanks[name](), self._checkpoints_of(name), steps)

    def _checkpoints_of(self, name: str) -> Path:
        # All runs of the denoisers share one autoencoder.
        return self.work / "checkpoints" if name == "autoencoder" else self.checkpoints

    def _is_started(self, name: str) -> bool:
        return (self._checkpoints_of(name) / f"{name}.pt").exists()

    def _shipped_file(self, name: str) -> Path:
        """The weights of a stage in the compact folder; a path without a file where it has none."""
        assert self.shipped is not None
        folder = self.shipped / AUTOENCODER
        for sibling, stage in DENOISERS.items():
            if stage == name:
                folder = self.shipped / sibling / ARCHITECTURES[sibling].denoiser
        return folder / WEIGHTS_FILE

    def _shipped_weights(self, name: str) -> dict[str, Tensor]:
        path = self._shipped_file(name)
        if not path.exists():
            raise TrainingError(f"{self.shipped} has no weights for stage {name!r}: {path}.")
        return {key: value.float() for key, value in load_file(path).items()}

    def _steps(self, name: str) -> int:
        if not (self.checkpoints / f"{name}.pt").exists():
            return 0
        # Mapped: only a number is read of a file of hundreds of megabytes.
        state = torch.load(self.checkpoints / f"{name}.pt", weights_only=True, mmap=True)
        return int(state["step"])

    def _open_renders(self, name: str) -> Renders:
        return Renders.open(self.work / "renders" / name, self.world)
