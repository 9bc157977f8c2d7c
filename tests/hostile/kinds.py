"""A tiny valid example of everything that strangers hand over, and how the product uses it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from families import built, stable_diffusion
from helpers import planted_samples as planted
from studies.fakes import Fake, run_fake
from tiny import WIDTH, tiny_model

from clerestory.attribution.measurement import _read_part
from clerestory.causal.results import (
    BaselineEffects,
    RangeEffect,
    SwapShares,
    UnitEffect,
    VerificationResult,
)
from clerestory.classifiers import HumanCheck
from clerestory.classifiers.labels import _LabelStore
from clerestory.contrasts import Findings, Groups, contrast
from clerestory.contrasts.groups import Group, GroupUnit
from clerestory.edits import Ablate, Add, Clamp, Erase
from clerestory.errors import EvidenceError
from clerestory.evaluation import Effect
from clerestory.evaluation.side_effects import ClassChange, SideEffects
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.io.digests import digest, json_digest
from clerestory.io.reading import read_json
from clerestory.maximization.compare import best_words
from clerestory.maximization.trail import Trail
from clerestory.microscope.folder import Microscope, _array
from clerestory.models import Options, load
from clerestory.models.core.addresses import SiteSelection
from clerestory.models.profile import ModelProfile
from clerestory.recognition.observation import Observation
from clerestory.recognition.store import ObservationStore
from clerestory.recordings import Plan, Recording, Store, verify
from clerestory.recordings.folder import Folder
from clerestory.recordings.layout import Layout
from clerestory.recordings.plan import ModelIdentity
from clerestory.recordings.prompts import prompt_table
from clerestory.reporting.results import Provenance
from clerestory.steering import SteeredModel
from clerestory.studies import Study, write_report
from clerestory.studies.schema import study_file
from clerestory.studies.tasks import Task
from lancet import checkpoint
from lancet.world import art
from lancet.world.table import BUILT_IN, World

MODEL = ModelIdentity("noise", "", "", {}, "", "", "")
TEMPLATE = """
templates = ["{style}", "{style}, {place}"]
matched = ["style"]
paired = ["place"]
[levels.style]
glass = ["a glass of {subject}", "{subject} in glass", "{subject} as glass"]
plain = ["a picture of {subject}", "{subject} in plain style"]
[levels.subject]
cat = "a cat"
[levels.place]
night = ["by night", "at night"]
"""
CHECK = {
    "source": "mine",
    "marked": 3,
    "agreed": 2,
    "unsure": [1, 0],
    "agreement": {"rate": 2 / 3, "low": 0.1, "high": 0.9},
    "classes": ["dark", "light"],
    "confusion": [[1, 1], [0, 1]],
    "pictures": 4,
    "rates": {
        name: {"predicted": 0.5, "rate": 0.5, "low": 0.1, "high": 0.9} for name in ("dark", "light")
    },
}


@dataclass(frozen=True)
class Kind:
    """What is handed over: `make` writes a valid one to a folder, `use` does what the product does.

    `remade` ones are made again where they cannot be read, so that damage is no error. Files named
    in `whole` are left alone: another module reads them. `share` is how much fuzzing it gets,
    `memory` how many bytes opening it may take.
    """

    name: str
    make: Callable[[Path], Any]
    use: Callable[[Path], Any]
    remade: bool = False
    whole: tuple[str, ...] = ()
    share: float = 1.0
    memory: int = 200 * 2**20

    def files(self, folder: Path) -> list[Path]:
        """The files that are attacked, in order."""
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        names = [(path, path.relative_to(folder).as_posix()) for path in found]
        return [path for path, name in names if not any(one in name for one in self.whole)]


def planted_findings() -> Findings:
    samples = planted.samples(items=4, phrases=2)
    return contrast(planted.activations(samples.table), samples)


def make_findings(folder: Path) -> None:
    planted_findings().save(folder)


def use_findings(folder: Path) -> None:
    found = Findings.load(folder)
    json.dumps(found.to_dict())
    str(found), found.classifier_notes(), found.table(), len(found)
    for one in found.findings:
        str(one.site), one.detects.worst_auroc
    for name in found.directions:
        found.direction(name)
    if found.samples is not None:
        found.samples.head()


def make_groups(folder: Path) -> None:
    findings = planted_findings()
    unit = GroupUnit("prior/embedding[3]", "neuron", 1, "found", 0.9, 0.8, 1.0, 0.01, {"b": 0.9})
    samples = pd.DataFrame({"sample": [0], "prompt": ["p"], "seed": [0], "group": ["a"]})
    Groups(
        classifier="mine",
        groups={"a": Group(4, (unit,), findings)},
        excluded=1,
        controlled=(),
        warnings=(EvidenceWarning("classifier", "One classifier selects and evaluates."),),
        samples=samples.assign(half="selection"),
        provenance=findings.provenance,
    ).save(folder)


def use_groups(folder: Path) -> None:
    groups = Groups.load(folder)
    json.dumps(groups.to_dict())
    str(groups), groups.table(), groups.samples.head()


def make_effects(folder: Path) -> None:
    effect = Effect(0.5, 0.1, 0.9)
    baselines = BaselineEffects.of([-0.1, 0.1], 0.5, permuted=1, items=12)
    side = SideEffects((ClassChange("c", "d", 0.1, 0.0, 0.2, 0.2, 0.5),), 0.2, 0.11, 24, 96)
    unit = UnitEffect(
        "a/b[3]", "neuron", 0.9, effect, effect, None, effect, 0.2, baselines, 0.5, side, {"c": 1.0}
    )
    VerificationResult(
        classifier="mine",
        label="a",
        items=4,
        negative_rate=0.0,
        prompting=effect,
        prompting_preservation={"c": 1.0},
        effects=(unit,),
        where=(RangeEffect("text", "0", "0", effect), RangeEffect("text", "0", "1", effect)),
        when=(RangeEffect("denoiser", "0", "0", effect, True),),
        swaps=(SwapShares("layout", 0.5, 0.1, 0.9, 0.5, 4),),
        provenance=Provenance(""),
    ).save(folder)


def use_effects(folder: Path) -> None:
    result = VerificationResult.load(folder)
    json.dumps(result.to_dict())
    str(result), result.table(), result.sentences()


def make_steered(folder: Path) -> None:
    site, mean = "prior/embedding", torch.zeros(WIDTH)
    edits = [
        Add(site, np.ones(WIDTH), strength=0.5),
        Clamp("text.blocks.0/mlp[3]", 1.0),
        Ablate(site, np.ones(WIDTH)),
        Erase(site, torch.ones(WIDTH, 1), torch.ones(1, WIDTH) / WIDTH, mean),
    ]
    SteeredModel(tiny_model(), edits, provenance={"from": "a test"}).save(folder)


def use_steered(folder: Path) -> None:
    model = tiny_model()
    steered = SteeredModel.load(folder, model)
    for edit in steered.edits:
        width = model.sites[edit.site].shape[1] or WIDTH
        edit(torch.zeros(1, 2, width))


def make_recording(folder: Path) -> None:
    table = pd.DataFrame(
        {"prompt": [f"a {at}" for at in range(6)], "seed": [0] * 6, "style": ["a", "b"] * 3}
    )
    rng = np.random.default_rng(0)
    plan = Plan(
        table=table,
        model=MODEL,
        options=Options(),
        read={"prior/embedding": SiteSelection(), "text.blocks.0/mlp": SiteSelection(units=(1, 3))},
        pool="mean",
        branch="cond",
        pictures=True,
        batch=2,
        chunk=4,
        threads=1,
    )
    steps = {"step": [0, 1], "timestep": [9.0, 1.0]}
    layouts = {
        "prior/embedding": Layout("float32", (2, 4), ("step", "unit"), steps),
        "text.blocks.0/mlp": Layout(
            "float16", (1, 2), ("step", "unit"), {"step": [0], "unit": [1, 3]}
        ),
        "pictures": Layout("uint8", (8, 8, 3), ("height", "width", "channel")),
    }
    store = Store(folder)
    store.create(plan, layouts)
    for chunk in range(plan.chunks):
        rows = len(plan.rows(chunk))
        arrays = {
            name: rng.integers(1, 200, (rows, *one.shape)).astype(one.dtype)
            for name, one in layouts.items()
        }
        store.write(chunk, arrays, {5: "not finite"} if chunk else {})


def sealed(folder: Path, *files: str) -> None:
    """Give a manifest the digests of what it says, and of these files, as whoever wrote it can."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        for name in files:
            raw = (folder / name).read_bytes()
            manifest["files"][name] = [digest(raw), len(raw)]
        manifest["digest"] = json_digest(manifest)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return
    path.write_text(json.dumps(manifest))


def use_recording(folder: Path) -> None:
    manifest = folder / "manifest.json"
    if manifest.is_file() and not manifest.is_symlink() and manifest.stat().st_size < 2**20:
        sealed(folder)
    recording = Recording.open(folder)
    repr(recording), json.dumps(recording.info())
    recording.samples.head()
    str(recording.to_xarray())
    for site in recording.sites:
        str(recording.read(site))
        for values in recording.chunks(site):
            values.mean()
        for batch in recording.batches(site, 4):
            batch.mean()
    if "pictures" in recording.store.layouts and len(recording.rows):
        recording.pictures(recording.rows).mean()
    verify(recording.store)


def make_microscope(folder: Path) -> None:
    plan = {
        "format": 1,
        "slug": "tiny",
        "model": asdict(MODEL),
        "recordings": [{"samples": 4, "table": "0" * 64, "pictures": "png"}],
        "sites": [
            {
                "address": "text.blocks.0/mlp",
                "stage": "text",
                "units": 3,
                "steps": [0],
                "recording": 0,
            }
        ],
    }
    (folder / "samples").mkdir(parents=True)
    (folder / "sites" / "000").mkdir(parents=True)
    (folder / "microscope.json").write_text(json.dumps(plan))
    table = pd.DataFrame({"prompt": list("abcd"), "seed": [0] * 4, "named": [True, False] * 2})
    table.to_parquet(folder / "samples" / "0.parquet")
    (folder / "samples" / "0.words.json").write_text('["cat", "dog"]')
    np.save(folder / "sites" / "000" / "most.npy", np.array([[0, 1], [2, 3], [1, -1]]))
    np.save(folder / "sites" / "000" / "values.npy", np.ones((3, 4), np.float32))
    (folder / "done").touch()


def use_microscope(folder: Path) -> None:
    _array.cache_clear()
    scope = Microscope(folder)
    str(scope.model), scope.words(0), scope.visible(0), scope.picture(0, 1)
    for unit in scope.units():
        scope.named(unit.address)
        np.asarray(unit.figure("most")).tolist(), np.asarray(unit.figure("values")).tolist()
        [scope.prompts(0)[at] for at in unit.figure("most") if at >= 0]


def make_weights(folder: Path) -> None:
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "a.safetensors").write_bytes(b"weights")
    sums = {"model/a.safetensors": hashlib.sha256(b"weights").hexdigest()}
    entries = {"files": sums, "defaults": {"height": 64}, "settings": {}, "version": "1.0"}
    (folder / "manifest.json").write_text(json.dumps(entries))


def use_weights(folder: Path) -> None:
    checkpoint._verified.cache_clear()
    checkpoint.verified(folder), checkpoint.revision(folder)


def make_art(folder: Path) -> None:
    art.pack(folder, [("own", "🐈", np.full((8, 8, 4), 255, np.uint8))])


def use_art(folder: Path) -> None:
    found = art.Art.open(folder)
    found.verify()
    found.sprite("own", "🐈", 16), found.artworks


def make_trail(folder: Path) -> None:
    Trail(folder, {"of": "a test"}).save({"a cat": 0.5, "a dog": 0.25})


def use_trail(folder: Path) -> None:
    str(Trail(folder, {"of": "a test"}).load())


def make_search(folder: Path) -> None:
    folder.mkdir(parents=True)
    best = [{"words": "cathedral icon", "score": 1.5, "contributions": [["icon", 0.5]]}]
    (folder / "maximization.json").write_text(json.dumps({"objective": "x", "best": best}))


def make_names(folder: Path) -> None:
    figures = [np.ones((2, 3), np.float32)] * 3
    pictures = np.ones((2, 4, 4, 3), np.uint8)
    ObservationStore(folder, {"of": "a test"}).write(Observation("alexandra", *figures, pictures))


def use_names(folder: Path) -> None:
    found = ObservationStore(folder, {"of": "a test"}).read("alexandra", pictures=True)
    if found is not None:
        found.rates.mean(), found.hits.mean(), found.embedding.mean()


def make_kept(folder: Path) -> None:
    folder.mkdir(parents=True)
    arrays = {"values": np.ones((2, 1)), "units": np.ones((2, 5), np.float32)}
    np.savez(folder / "0000.npz", **arrays, samples=np.array("of these"))


def make_labels(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kept = _LabelStore(*_judged(folder))
    kept.labels["0" * 32] = ("dark", 0.75)
    kept.write()


def use_labels(folder: Path) -> None:
    for name, sure in _LabelStore(*_judged(folder)).labels.values():
        assert name in ("dark", "light") and 0 <= sure <= 1


def _judged(folder: Path) -> tuple[Any, Any]:
    judge = SimpleNamespace(source="mine", classes=("dark", "light"))
    return SimpleNamespace(store=SimpleNamespace(folder=Folder(folder))), judge


def use_check(folder: Path) -> None:
    found = HumanCheck.from_dict(read_json(folder / "check.json", EvidenceError))
    str(found.sentence), found.shares(["mine=dark"]), json.dumps(found.to_dict())


def make_pipeline(folder: Path) -> None:
    built(stable_diffusion).save_pretrained(folder)


def use_pipeline(folder: Path) -> None:
    load(folder, device="cpu")


def use_world(folder: Path) -> None:
    world = World.load(folder / "world.toml")
    world.levels("subject"), world.emoji, world.phrases


def use_study(folder: Path) -> None:
    study = Study.load(folder / "study.toml", "quick")
    str(study), study.choose_classifiers(ModelProfile(), {})
    for task in study.plan.values():
        task.method()


TASKS: dict[str, Task] = {"fake.a": Fake(pictures=1, steers=True), "fake.b": Fake()}


def use_tasks(folder: Path) -> None:
    """Go on with a study that is all done."""
    write_report(run_fake(TASKS, folder))


def texts(name: str, text: str | bytes) -> Callable[[Path], None]:
    """What writes one file."""

    def make(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    return make


def make_prompts(folder: Path) -> None:
    folder.mkdir(parents=True)
    pd.DataFrame({"prompt": ["a cat", "a dog"], "style": ["a", "b"]}).to_parquet(
        folder / "prompts.parquet"
    )


STUDY = study_file("stained-glass").read_text()
KINDS = {
    kind.name: kind
    for kind in (
        Kind("findings", make_findings, use_findings),
        Kind("groups", make_groups, use_groups, whole=("findings/",), share=0.3),
        Kind("effects", make_effects, use_effects, share=0.3),
        Kind("steered", make_steered, use_steered, whole=("card.md",)),
        Kind(
            "recording",
            make_recording,
            use_recording,
            whole=(
                "zarr/text.blocks",
                "prior/zarr.json",
                "c.1.",
                "000001",
                "complete",
                "/seed",
                "/prompt",
            ),
        ),
        Kind("microscope", make_microscope, use_microscope, whole=("done",)),
        Kind("weights", make_weights, use_weights),
        Kind("art", make_art, use_art),
        Kind("trail", make_trail, use_trail, whole=("search.json",)),
        Kind("search", make_search, lambda folder: best_words(folder, 3)),
        Kind("names", make_names, use_names, remade=True, whole=("names.json",)),
        Kind(
            "kept",
            make_kept,
            lambda folder: _read_part(folder / "0000.npz", 2, "of these"),
            remade=True,
        ),
        Kind("labels", make_labels, use_labels, remade=True),
        Kind("check", texts("check.json", json.dumps(CHECK)), use_check),
        Kind("pipeline", make_pipeline, use_pipeline, share=0.1, memory=2**29),
        Kind("world", texts("world.toml", BUILT_IN.read_bytes()), use_world, share=0.3),
        Kind(
            "study",
            texts("study.toml", STUDY),
            use_study,
        ),
        Kind(
            "tasks",
            use_tasks,
            use_tasks,
            whole=("report.html", "results.json", "steered", "half", "pictures", "inputs"),
        ),
        Kind(
            "drawn",
            use_tasks,
            use_tasks,
            remade=True,
            whole=("report.html", "results.json", "half", "result.json", "seconds"),
        ),
        Kind(
            "template",
            texts("prompts.toml", TEMPLATE),
            lambda folder: prompt_table(folder / "prompts.toml"),
        ),
        Kind(
            "prompts",
            make_prompts,
            lambda folder: prompt_table(folder / "prompts.parquet"),
        ),
        Kind(
            "csv",
            texts("prompts.csv", "prompt,style\na cat,ink\na dog,oil\n"),
            lambda folder: prompt_table(folder / "prompts.csv"),
        ),
        Kind(
            "lines",
            texts("prompts.txt", "a cat\na dog\n"),
            lambda folder: prompt_table(folder / "prompts.txt"),
        ),
    )
}
