"""A training run: the order of its stages, what each passes on, and the model folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import VQModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

import clerestory
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
from lancet.training.loop import Report, Stage, cached, check_stages, fit, report_progress, trained
from lancet.training.prior import Prior, TextStates, encode_texts
from lancet.training.renders import Renders
from lancet.training.settings import STAGES, Settings
from lancet.training.text import Text
from lancet.training.vision import Vision, VisionModel
from lancet.training.warm import WEIGHT_FILES, check_weights, warm_start
from lancet.world.art import Art
from lancet.world.table import World

__all__ = ["FIRST_HELD_OUT", "FIRST_SECOND", "Training"]

FIRST_SECOND, FIRST_HELD_OUT = 5_000_000, 10_000_000
"""First seeds of classifier set b's renders and of the held-out ones; the others' is 0."""
FOLDED = "autoencoder-folded.safetensors"


class Training:
    """One training run: a world, its art, settings, and the folder of its intermediate results.

    Stages can be run one at a time, in their order; an interrupted stage is resumed.

    Args:
        world: The world.
        art: The folder with the sprites.
        work: The folder of intermediate results: renders, checkpoints, logs.
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
        """Check stages, art and output folder, before hours of work.

        Args:
            stages: Names of stages; all if empty.
            out: The folder of the model.

        Raises:
            TrainingError: There is no such stage, or `shipped` lacks weights.
            ArtError: The art is missing or altered.
            OutputError: `out` is not empty.
        """
        check_stages(stages, ("renders", *STAGES))
        if "renders" in (stages or ("renders",)):
            Art.open(self.art)
        if self.shipped is not None:
            check_weights(self.shipped)
        if out is not None:
            check_empty_folder(out)

    def is_finished(self, out: Path) -> bool:
        """Whether `out` holds the finished model of this world and these settings.

        Args:
            out: A folder.

        Returns:
            False where there is no manifest, or that of another training.
        """
        if not (out / "manifest.json").exists():
            return False
        content = manifest(out)
        # Through JSON, so that tuples are lists, as in the manifest.
        same = content["settings"] == json.loads(json.dumps(asdict(self.settings)))
        return bool(same and content.get("world") == self.world.fingerprint)

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
            # The sets share no seed, and so no scene.
            renders.build(
                self.world,
                self.art,
                self.work / "renders" / name,
                seeds,
                progress=report_progress(self.report, f"renders {name}"),
            )

    def fit(self, name: str) -> None:
        """Train one stage to its end.

        Args:
            name: The stage's name.

        Raises:
            TrainingError: A stage before it is not done, or the loss is not finite.
        """
        stage = self.stage(name)
        if self.shipped is not None and name in WEIGHT_FILES and not self.checkpoint(name).exists():
            warm_start(name, stage.model, self.shipped, self.world)
        fit(stage, self.checkpoints, self.report)
        # After every stage, so that a run of hours can be watched.
        curves.draw(self.checkpoints, self.work / "curves.png")

    def checkpoint(self, stage: str) -> Path:
        """The file of a stage's checkpoint.

        Args:
            stage: The stage's name.

        Returns:
            Its path; the file need not exist.
        """
        return self.checkpoints / f"{stage}.pt"

    def stage(self, name: str) -> Stage:
        """The stage called `name`, with the results of the stages before it.

        Args:
            name: The stage's name.

        Returns:
            The stage, with an untrained network.

        Raises:
            TrainingError: A stage before it is not done.
        """
        settings = self.settings
        stages: dict[str, Callable[[], Stage]] = {
            "autoencoder": lambda: Autoencoder(self.main, settings),
            "vision": lambda: Vision(self.main, settings),
            "text": lambda: Text(
                self.main, settings, self.tokenizer, self.embeddings, self.image_side.heads
            ),
            "prior": lambda: Prior(settings, *self.text_states, self.embeddings),
            "decoder": lambda: decoder.Decoder(
                settings,
                self.latents,
                self.embeddings,
                self.empty,
                self.folded,
                self.image_side.eye,
            ),
            "eye": lambda: perceptual.ImageEncoder(self.main, settings, self.embeddings),
            "classifier_a": lambda: FactorStage("a", self.main, settings.classifier_a),
            "classifier_b": lambda: FactorStage("b", self.second, settings.classifier_b),
        }
        return stages[name]()

    @cached_property
    def main(self) -> Renders:
        """The training renders of the model and of classifier set a."""
        return Renders.open(self.work / "renders" / "main", self.world)

    @cached_property
    def second(self) -> Renders:
        """The training renders of classifier set b."""
        return Renders.open(self.work / "renders" / "second", self.world)

    @cached_property
    def held_out(self) -> Renders:
        """The renders that nothing is trained on."""
        return Renders.open(self.work / "renders" / "held-out", self.world)

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        """The tokenizer: learned from the captions in seconds, or the shipped one."""
        folder = self.work / "tokenizer"
        if not folder.exists() and self.shipped is not None:
            with atomic_folder(folder) as part:
                shutil.copytree(
                    self.shipped / "model" / "prior_tokenizer", part, dirs_exist_ok=True
                )
        if not folder.exists():
            settings = self.settings
            learned = tokenizer.learn(self.main.captions, settings.vocabulary, settings.window)
            with atomic_folder(folder) as part:
                learned.save_pretrained(part)
        return CLIPTokenizer.from_pretrained(folder)

    @cached_property
    def latents(self) -> Tensor:
        """Latents of the main renders, float16, of unit variance (the autoencoder is folded)."""
        return self._cached("latents", "autoencoder", self._encode)

    @cached_property
    def embeddings(self) -> Tensor:
        """Image embeddings of the main renders."""
        return self._cached(
            "embeddings", "vision", lambda: vision.embed(self.image_side.eye, self.main)
        )

    def _encode(self) -> Tensor:
        network = self.network("autoencoder")
        latents = autoencoder.encode(network, self.main)
        if self.checkpoint("autoencoder").exists():  # shipped weights are folded already
            latents = autoencoder.fold(network, latents)
        save_file(network.state_dict(), self.work / FOLDED)
        return latents

    def _cached(self, name: str, stage: str, make: Callable[[], Tensor]) -> Tensor:
        """The result of `make`, computed once per checkpoint of `stage` and stored."""
        source = self.checkpoint(stage)
        if self.shipped is not None and not source.exists():
            source = self.shipped / WEIGHT_FILES[stage][0]
        return cached(self.work, name, source, make)

    @cached_property
    def image_side(self) -> VisionModel:
        """CLIP's image side with its heads."""
        network: VisionModel = self.network("vision")
        return network

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
            embedding: Tensor = self.image_side.eye(torch.zeros(1, 3, 64, 64))[0]
        return embedding

    @cached_property
    def text_states(self) -> tuple[TextStates, TextStates]:
        """The text encoder's outputs for all captions, and for the empty prompt."""
        encoder, captions = self.network("text").encoder, self.main.captions
        return (
            encode_texts(encoder, self.tokenizer, captions),
            encode_texts(encoder, self.tokenizer, [""]),
        )

    def network(self, name: str, *, unfinished: bool = False) -> Any:
        """The trained network of a stage, from its checkpoint or from the shipped weights.

        Args:
            name: The stage's name.
            unfinished: Whether a checkpoint with fewer steps than planned is accepted.

        Returns:
            The network, in evaluation mode and without gradients.

        Raises:
            TrainingError: The stage is not done.
        """
        settings = self.settings
        classes = {factor: tuple(self.world.levels(factor)) for factor in renders.HEADS}
        networks: dict[str, Callable[[], nn.Module]] = {
            "autoencoder": lambda: autoencoder.network(settings),
            "vision": lambda: vision.network(settings, classes),
            "text": lambda: text.network(settings, self.tokenizer),
            "prior": lambda: prior.network(settings),
            "decoder": lambda: decoder.network(settings),
            "eye": lambda: perceptual.network(settings),
            "classifier_a": lambda: classifiers.network("a", classes),
            "classifier_b": lambda: classifiers.network("b", classes),
        }
        if self.shipped is not None and name in WEIGHT_FILES and not self.checkpoint(name).exists():
            network = networks[name]()
            warm_start(name, network, self.shipped, self.world)
            return network.eval().requires_grad_(False)
        steps = None if unfinished else getattr(settings, name).steps
        return trained(name, networks[name](), self.checkpoints, steps)

    def assemble(self, out: Path, *, version: str = "", unfinished: bool = False) -> None:
        """Write the model folder, whole or not at all.

        Args:
            out: A new or empty folder.
            version: The version in its manifest; "" for none.
            unfinished: Whether checkpoints with fewer steps than planned are accepted.

        Raises:
            OutputError: `out` is not empty.
            TrainingError: A stage is not done.
        """
        with atomic_folder(out) as part:
            self._write(part, version, unfinished)

    def _write(self, out: Path, version: str, unfinished: bool) -> None:
        encoder = self.network("eye", unfinished=unfinished)
        perceptual.correct_projection(encoder, self.empty)
        parts = assemble.Parts(
            self.tokenizer,
            self.network("text", unfinished=unfinished).encoder,
            encoder,
            self.network("prior", unfinished=unfinished),
            self.network("decoder", unfinished=unfinished),
            self.folded,
        )
        assemble.assemble(parts, out / "model")
        for which in ("a", "b"):
            net = self.network(f"classifier_{which}", unfinished=unfinished)
            measured = classifiers.measure(net, self.held_out)
            assemble.save_classifier(
                net.state_dict(), measured, self.held_out.classes, out / "classifiers", which
            )
        shutil.copyfile(self.world.path, out / "world.toml")
        assemble.save_training({"vision": self.image_side}, out / "training")
        made_by = f"clerestory {clerestory.__version__}"
        description = {
            "name": "lancet",
            "version": version,
            "made_by": made_by,
            "world": self.world.fingerprint,
        }
        assemble.seal(out, self.settings, {**description, "captions": digest(self.main.captions)})
