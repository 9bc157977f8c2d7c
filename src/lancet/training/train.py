"""The order of the stages, what each hands to the next, and the folder that comes out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from diffusers import VQModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

import clerestory
from clerestory.errors import TrainingError
from clerestory.io.writing import atomic_folder, check_empty_folder
from lancet.checkpoint import manifest
from lancet.evaluation.prompts import digest
from lancet.training import (
    assemble,
    autoencoder,
    classifiers,
    curves,
    decoder,
    perceptual,
    prior,
    renders,
    text,
    tokenizer,
    vision,
)
from lancet.training.autoencoder import Autoencoder
from lancet.training.classifiers import FactorStage
from lancet.training.loop import Report, Stage, cached, fit, trained
from lancet.training.prior import Prior, TextStates, read
from lancet.training.renders import Renders
from lancet.training.settings import STAGES, Settings
from lancet.training.text import Text
from lancet.training.vision import Vision
from lancet.training.warm import PLACES, warm_start, whole
from lancet.world.art import Art
from lancet.world.table import World

__all__ = ["FIRST_HELD_OUT", "FIRST_SECOND", "Training"]

FIRST_SECOND, FIRST_HELD_OUT = 5_000_000, 10_000_000
"""Seeds: the model and set a see 0 …, set b sees 5,000,000 …, nothing is trained on 10,000,000 …"""
FOLDED = "autoencoder-folded.safetensors"


class Training:
    """One training run: a world, its art, settings, and the folder that keeps what is done.

    Every stage can be run by itself, in its order, and goes on where it was killed.

    Args:
        world: The world.
        art: The folder with the sprites.
        work: The folder for everything between: renders, checkpoints, logs.
        settings: Sizes and plans.
        shipped: A folder whose weights stages start from; None for random ones.
        report: Called with (stage, steps done, steps in all, loss).
    """

    def __init__(
        self,
        world: World,
        art: Path,
        work: Path,
        settings: Settings,
        *,
        shipped: Path | None = None,
        report: Report | None = None,
    ) -> None:
        self.world, self.art, self.work, self.settings = world, art, work, settings
        self.shipped, self.report = shipped, report
        self.checkpoints = work / "checkpoints"

    def check(self, stages: Sequence[str] = (), out: Path | None = None) -> None:
        """Raise what can be known before hours of work: unknown stages, no art, a taken folder.

        Args:
            stages: Names of stages; all if empty.
            out: Where the model will go.

        Raises:
            TrainingError: There is no such stage, or `shipped` lacks weights.
            ArtError: The art is missing or altered.
            OutputError: `out` is not empty.
        """
        unknown = sorted(set(stages) - {"renders", *STAGES})
        if unknown:
            known = ", ".join(("renders", *STAGES))
            raise TrainingError(f"No stage is called {unknown[0]!r}. Known: {known}.")
        if "renders" in (stages or ("renders",)):
            Art.open(self.art)
        if self.shipped is not None:
            whole(self.shipped)
        if out is not None:
            check_empty_folder(out)

    def made(self, out: Path) -> bool:
        """Whether `out` holds the finished model of this world and these settings.

        Args:
            out: A folder.

        Returns:
            False where there is no manifest, or that of another training.
        """
        if not (out / "manifest.json").exists():
            return False
        told = manifest(out)
        # Through JSON, which makes tuples lists, as the manifest has them.
        same = told["settings"] == json.loads(json.dumps(asdict(self.settings)))
        return bool(same and told.get("world") == self.world.fingerprint)

    def run(self, stages: Sequence[str] = ()) -> None:
        """Run these stages (all of them by default), rendering first.

        Args:
            stages: Names of stages; all if empty.

        Raises:
            TrainingError: There is no such stage, or one before it is not done.
        """
        self.check(stages)
        for stage in stages or ("renders", *STAGES):
            if stage == "renders":
                self.render()
            else:
                self.fit(stage)

    def render(self) -> None:
        """Draw the three sets of pictures."""
        parts = {
            "main": range(self.settings.renders),
            "second": range(FIRST_SECOND, FIRST_SECOND + self.settings.renders_second),
            "held-out": range(FIRST_HELD_OUT, FIRST_HELD_OUT + self.settings.held_out),
        }
        for name, seeds in parts.items():
            # Each set has seeds of its own, so that no scene is in two of them by its seed.
            renders.build(
                self.world,
                self.art,
                self.work / "renders" / name,
                seeds,
                progress=partial(self._tell, f"renders {name}"),
            )

    def fit(self, name: str) -> None:
        """Train one stage to its end.

        Args:
            name: The stage's name.

        Raises:
            TrainingError: A stage before it is not done, or the loss is not finite.
        """
        stage = self.stage(name)
        if self.shipped is not None and name in PLACES and not self.checkpoint(name).exists():
            warm_start(name, stage.model, self.shipped, self.world)
        fit(stage, self.checkpoints, self.report)
        # After every stage, so that a run of hours can be judged on the way.
        curves.draw(self.checkpoints, self.work / "curves.png")

    def checkpoint(self, stage: str) -> Path:
        """Where a stage's checkpoint is.

        Args:
            stage: The stage's name.

        Returns:
            The path, whether or not there is a file.
        """
        return self.checkpoints / f"{stage}.pt"

    def stage(self, name: str) -> Stage:
        """The stage called `name`, with what the stages before it have left.

        Args:
            name: The stage's name.

        Returns:
            The stage, with an untrained network.

        Raises:
            TrainingError: A stage before it is not done.
        """
        settings = self.settings
        makers: dict[str, Callable[[], Stage]] = {
            "autoencoder": lambda: Autoencoder(self.main, settings),
            "vision": lambda: Vision(self.main, settings),
            "text": lambda: Text(
                self.main, settings, self.tokenizer, self.embeddings, self.sight.heads
            ),
            "prior": lambda: Prior(settings, *self.text_states, self.embeddings),
            "decoder": lambda: decoder.Decoder(
                settings, self.latents, self.embeddings, self.empty, self.folded, self.sight.eye
            ),
            "eye": lambda: perceptual.Distilled(self.main, settings, self.embeddings),
            "classifier_a": lambda: FactorStage("a", self.main, settings.classifier_a),
            "classifier_b": lambda: FactorStage("b", self.second, settings.classifier_b),
        }
        return makers[name]()

    @cached_property
    def main(self) -> Renders:
        """The renders that the model and classifier set a learn from."""
        return Renders.open(self.work / "renders" / "main", self.world)

    @cached_property
    def second(self) -> Renders:
        """The renders that classifier set b learns from."""
        return Renders.open(self.work / "renders" / "second", self.world)

    @cached_property
    def held_out(self) -> Renders:
        """The renders that nothing learns from."""
        return Renders.open(self.work / "renders" / "held-out", self.world)

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """The tokenizer, learnt in seconds from the captions, or the shipped one."""
        folder = self.work / "tokenizer"
        if not folder.exists() and self.shipped is not None:
            with atomic_folder(folder) as part:
                shutil.copytree(
                    self.shipped / "model" / "prior_tokenizer", part, dirs_exist_ok=True
                )
        if not folder.exists():
            settings = self.settings
            learnt = tokenizer.learn(self.main.captions, settings.vocabulary, settings.window)
            with atomic_folder(folder) as part:
                learnt.save_pretrained(part)
        return CLIPTokenizer.from_pretrained(folder)

    @cached_property
    def latents(self) -> Tensor:
        """Latents of the main renders, float16, of unit variance (the autoencoder is folded)."""
        return self._kept("latents", "autoencoder", self._encode)

    @cached_property
    def embeddings(self) -> Tensor:
        """Image embeddings of the main renders."""
        return self._kept("embeddings", "vision", lambda: vision.embed(self.sight.eye, self.main))

    def _encode(self) -> Tensor:
        network = self.network("autoencoder")
        latents = autoencoder.encode(network, self.main)
        if self.checkpoint("autoencoder").exists():  # shipped weights are folded already
            latents = autoencoder.fold(network, latents)
        save_file(network.state_dict(), self.work / FOLDED)
        return latents

    def _kept(self, name: str, stage: str, make: Callable[[], Tensor]) -> Tensor:
        """The result of `make`, computed once for a checkpoint of `stage`, stored in the folder."""
        source = self.checkpoint(stage)
        if self.shipped is not None and not source.exists():
            source = self.shipped / PLACES[stage][0]
        return cached(self.work, name, source, make)

    @cached_property
    def sight(self) -> Any:
        """CLIP's image side with its heads."""
        return self.network("vision")

    @cached_property
    def folded(self) -> VQModel:
        """The autoencoder whose latents have unit variance."""
        network: VQModel = self.network("autoencoder")
        if self.checkpoint("autoencoder").exists():  # shipped weights are folded already
            network.load_state_dict(load_file(self.work / FOLDED))
        return network

    @cached_property
    def empty(self) -> Tensor:
        """The embedding of a mid-grey picture: guidance's empty condition."""
        with torch.no_grad():
            embedding: Tensor = self.sight.eye(torch.zeros(1, 3, 64, 64))[0]
        return embedding

    @cached_property
    def text_states(self) -> tuple[TextStates, TextStates]:
        """The text encoder's outputs for all captions, and for the empty prompt."""
        encoder = self.network("text").encoder
        captions = self.main.captions
        return read(encoder, self.tokenizer, captions), read(encoder, self.tokenizer, [""])

    def network(self, name: str, *, partly: bool = False) -> Any:
        """A finished stage's network; if `partly`, as its checkpoint has it; else as shipped.

        Args:
            name: The stage's name.
            partly: Whether fewer steps than planned will do.

        Returns:
            The network, in evaluation mode and without gradients.

        Raises:
            TrainingError: The stage is not done.
        """
        settings = self.settings
        classes = {factor: tuple(self.world.levels(factor)) for factor in renders.HEADS}
        blanks: dict[str, Callable[[], nn.Module]] = {
            "autoencoder": lambda: autoencoder.network(settings),
            "vision": lambda: vision.network(settings, classes),
            "text": lambda: text.network(settings, self.tokenizer),
            "prior": lambda: prior.network(settings),
            "decoder": lambda: decoder.network(settings),
            "eye": lambda: perceptual.network(settings),
            "classifier_a": lambda: classifiers.network("a", classes),
            "classifier_b": lambda: classifiers.network("b", classes),
        }
        if self.shipped is not None and name in PLACES and not self.checkpoint(name).exists():
            blank = blanks[name]()
            warm_start(name, blank, self.shipped, self.world)
            return blank.eval().requires_grad_(False)
        steps = None if partly else getattr(settings, name).steps
        return trained(name, blanks[name](), self.checkpoints, steps)

    def assemble(self, out: Path, *, version: str = "", partly: bool = False) -> None:
        """Write the model folder, whole or not at all.

        `partly`: from the last checkpoints, finished or not. OutputError where `out` is not empty.

        Args:
            out: A new or empty folder.
            version: The version in its manifest; "" for none.
            partly: Whether to take the last checkpoints, finished or not.

        Raises:
            OutputError: `out` is not empty.
            TrainingError: A stage is not done.
        """
        with atomic_folder(out) as part:
            self._write(part, version, partly)

    def _write(self, out: Path, version: str, partly: bool) -> None:
        encoder = self.network("eye", partly=partly)
        perceptual.correct(encoder, self.empty)
        parts = assemble.Parts(
            self.tokenizer,
            self.network("text", partly=partly).encoder,
            encoder,
            self.network("prior", partly=partly),
            self.network("decoder", partly=partly),
            self.folded,
        )
        assemble.assemble(parts, out / "model")
        for which in ("a", "b"):
            net = self.network(f"classifier_{which}", partly=partly)
            found = classifiers.measure(net, self.held_out)
            assemble.save_classifier(
                net.state_dict(), found, self.held_out.classes, out / "classifiers", which
            )
        shutil.copyfile(self.world.path, out / "world.toml")
        assemble.save_training({"vision": self.sight}, out / "training")
        made_by = f"clerestory {clerestory.__version__}"
        about = {
            "name": "lancet",
            "version": version,
            "made_by": made_by,
            "world": self.world.fingerprint,
        }
        assemble.seal(out, self.settings, {**about, "captions": digest(self.main.captions)})

    def _tell(self, name: str, done: int, every: int) -> None:
        if self.report is not None:
            self.report(name, done, every, float("nan"))
