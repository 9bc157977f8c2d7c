"""The doctor on models that are well, of every family, and on models that are ill in one way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import accelerate
import diffusers
import numpy as np
import pytest
import torch
from commands import call
from families import (
    ALL_FAMILIES,
    built,
    family_model,
    small_model,
    stable_diffusion,
    unknown_pipeline,
)
from odd import odd_pipeline
from tiny import tiny_model

import clerestory
from clerestory.cli.main import app
from clerestory.diagnostics import Diagnosis
from clerestory.diagnostics.states import STATES
from clerestory.errors import ModelError, OptionError, PromptError
from clerestory.models import Model, wrap

pytestmark = [
    # diffusers 0.42 with NumPy 2, in DPMSolver.set_timesteps
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Passing `image` as torch:FutureWarning"),
]
MIDDLE = "denoiser.mid.res.0/out"


def examine(model: Model, **options: Any) -> Diagnosis:
    return clerestory.doctor(model, "a cat", progress=False, **options)


def verdicts(diagnosis: Diagnosis, ok: bool | None) -> dict[str, str]:
    return {check.name: check.detail for check in diagnosis.checks if check.ok is ok}


ONE_BRANCH = ("flux_2", "sana_sprint")
"""Families whose guidance is an input of the denoiser, and which take no negative prompt."""


def ill(**options: Any) -> Model:
    """A Stable Diffusion of its own, which a test may harm."""
    return small_model(built(stable_diffusion), **options)


@pytest.mark.parametrize("name", [name for name in ALL_FAMILIES if name != "unclip"])
def test_every_family_has_ticks_only(name: str) -> None:
    diagnosis = examine(family_model(name))
    assert not verdicts(diagnosis, False) and diagnosis.ok
    assert set(verdicts(diagnosis, None)) == ({"branches"} if name in ONE_BRANCH else set())


@pytest.mark.parametrize(
    "make",
    [odd_pipeline, pytest.param(lambda: built(unknown_pipeline), marks=pytest.mark.slow)],
    ids=["odd", "other"],
)
def test_a_pipeline_of_no_known_family_has_ticks_only(make: Any) -> None:
    diagnosis = examine(wrap(make()))
    assert not verdicts(diagnosis, False) and not verdicts(diagnosis, None)
    assert diagnosis.family == "Generic"


def test_without_a_probe_branches_are_not_checked_and_idle_modules_are_no_failure() -> None:
    diagnosis = examine(wrap(odd_pipeline(), probe=False))
    assert not verdicts(diagnosis, False)
    assert set(verdicts(diagnosis, None)) == {"branches"}
    assert "denoiser.unused (1)" in verdicts(diagnosis, True)["sites"]


@pytest.mark.weights
@pytest.mark.slow
def test_lancet_has_ticks_only() -> None:
    diagnosis = clerestory.doctor(clerestory.load("lancet", device="cpu"), progress=False)
    assert {check.ok for check in diagnosis.checks} == {True}


def compile_module(model: Model) -> None:
    model.pipeline.unet.compile(backend="eager")


def compile_part(model: Model) -> None:
    model.pipeline.unet = torch.compile(model.pipeline.unet, backend="eager")


@pytest.mark.parametrize("harm", [compile_module, compile_part])
def test_a_compiled_part_is_named(harm: Any) -> None:
    model = ill()
    harm(model)
    crosses = verdicts(examine(model), False)
    assert set(crosses) == {"compiled"}
    assert crosses["compiled"].startswith("unet: ")


def test_a_part_that_was_replaced_is_named() -> None:
    model = ill()
    model.pipeline.unet = built(stable_diffusion, seed=1).unet
    crosses = verdicts(examine(model), False)
    assert set(crosses) == {"replaced"}
    assert crosses["replaced"].startswith("unet: ")


def test_weights_of_nan_are_named_as_the_cause() -> None:
    model = ill()
    model.pipeline.unet.mid_block.resnets[0].conv2.weight.data[0] = torch.nan
    diagnosis = examine(model)
    crosses, skipped = verdicts(diagnosis, False), verdicts(diagnosis, None)
    assert set(crosses) == {"draws", "finite"}
    assert crosses["finite"].startswith(f"NaN first at {MIDDLE}")
    assert "the weights of unet.mid_block.resnets.0 have NaN" in crosses["finite"]
    assert skipped["repeats"] == "skipped: no picture was drawn"


def test_an_overflow_of_half_precision_is_named_with_its_first_site() -> None:
    model = ill()
    model.pipeline.to(torch.float16)
    model.pipeline.unet.mid_block.resnets[0].conv2.weight.data.mul_(1e5)
    crosses = verdicts(examine(model), False)
    assert set(crosses) == {"draws", "finite"}
    assert crosses["finite"].startswith(f"infinite first at {MIDDLE}")
    assert "float16 cannot hold them" in crosses["finite"]


class Careless(diffusers.DDIMScheduler):
    """Draws what cannot be assigned to samples."""

    def step(self, *args: Any, **kwargs: Any) -> Any:
        torch.randperm(4)
        return super().step(*args, **kwargs)


class Unseeded(diffusers.DDIMScheduler):
    """Draws noise that nothing here can seed."""

    def step(self, output: Any, *args: Any, **kwargs: Any) -> Any:
        noise = torch.from_numpy(np.random.default_rng().normal(size=output.shape)).float()
        return super().step(output + noise, *args, **kwargs)


def test_a_scheduler_whose_noise_no_seed_determines_is_the_one_cross() -> None:
    model = ill()
    model.pipeline.scheduler = Unseeded()
    diagnosis = examine(model)
    assert set(verdicts(diagnosis, False)) == {"repeats"}
    assert set(verdicts(diagnosis, None)) == {"batch", "reading", "identity", "edits"}


def test_a_scheduler_that_is_refused_is_named() -> None:
    model = ill()
    model.pipeline.scheduler = Careless()
    crosses = verdicts(examine(model), False)
    assert set(crosses) == {"draws"}
    assert "Careless draws random numbers (randperm)" in crosses["draws"]


def test_an_autoencoder_that_tiles_pictures_of_the_models_own_size_is_named() -> None:
    model = ill(height=48, width=48)
    model.pipeline.vae.enable_tiling()
    # Pictures that are examined are one tile, those that are drawn later are not.
    crosses = verdicts(examine(model, height=16, width=16), False)
    assert set(crosses) == {"tiled"}
    assert "disable_tiling" in crosses["tiled"]
    diagnosis = examine(model)
    assert set(verdicts(diagnosis, False)) == {"tiled", "sites"}
    assert "vae" not in verdicts(diagnosis, True)["edits"]


def test_fused_projections_are_named_and_the_other_sites_are_examined() -> None:
    model = ill()
    model.pipeline.fuse_qkv_projections(vae=False)
    diagnosis = examine(model)
    assert set(verdicts(diagnosis, False)) == {"fused", "sites"}
    assert "unfuse_qkv_projections" in verdicts(diagnosis, False)["fused"]
    assert {"reading", "identity", "edits", "branches"} <= set(verdicts(diagnosis, True))


def test_offloaded_quantized_and_sliced_parts_are_read_and_no_failure() -> None:
    model = ill()
    accelerate.cpu_offload(model.pipeline.unet, torch.device("cpu"))
    model.pipeline.vae.enable_slicing()
    float8 = {"storage_dtype": torch.float8_e4m3fn, "compute_dtype": torch.float32}
    model.pipeline.vae.enable_layerwise_casting(**float8)
    ticks = verdicts(examine(model), True)
    assert ticks["offloaded"] == "unet (116 modules, conv_in first): 68 of 68 sites there are read"
    assert ticks["sliced"] == "vae: 8 of 8 sites there are read"
    assert ticks["quantized"].startswith("vae (") and ticks["quantized"].endswith(
        "8 sites there are read"
    )
    assert ticks["as-opened"] == "no part is compiled, fused, tiled or replaced"


def test_branches_in_the_wrong_order_are_a_cross(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ill()
    call_of = model.family.stage_call

    def swapped(stage: str, call: int, batch: Any) -> Any:
        stage_call = call_of(stage, call, batch)
        if stage != "denoiser":
            return stage_call
        rows = {"cond": stage_call.rows["uncond"], "uncond": stage_call.rows["cond"]}
        return replace(stage_call, rows=rows)

    monkeypatch.setattr(model.family, "stage_call", swapped)
    crosses = verdicts(examine(model), False)
    assert "branches" in crosses
    assert "denoiser/prediction" in crosses["branches"]


def test_a_part_that_raises_at_once_is_a_cross_with_its_words() -> None:
    model = ill()

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no kernel for this part")

    model.pipeline.text_encoder.forward = fail
    diagnosis = examine(model)
    crosses = verdicts(diagnosis, False)
    assert set(crosses) == {"draws"}
    assert "RuntimeError (no kernel for this part)" in crosses["draws"]
    assert set(verdicts(diagnosis, True)) == {"opens", "as-opened"}


def test_a_check_that_raises_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ill()
    sweep = model.sweep

    def failing(*args: Any, **kwargs: Any) -> Any:
        if len(args[1]) == 3:
            raise ZeroDivisionError("of a batch of three")
        return sweep(*args, **kwargs)

    monkeypatch.setattr(model, "sweep", failing)
    diagnosis = examine(model)
    crosses = verdicts(diagnosis, False)
    assert crosses == {"seed": "ZeroDivisionError: of a batch of three"}
    assert set(verdicts(diagnosis, None)) == {"batch", "branches"}
    assert "as-opened" in verdicts(diagnosis, True)


def test_wrong_arguments_are_refused_before_anything_is_drawn() -> None:
    with pytest.raises(PromptError, match="empty"):
        clerestory.doctor(tiny_model(), " ")
    with pytest.raises(PromptError, match="3 prompts"):
        clerestory.doctor(tiny_model(), ["a", "b", "c"])
    with pytest.raises(OptionError, match="Write steps"):
        clerestory.doctor(tiny_model(), num_inference_steps=3)


@pytest.fixture(scope="module")
def healthy() -> tuple[Diagnosis, list[str]]:
    """The diagnosis of a model that is well, and the labels of its progress."""
    labels: list[str] = []
    report = lambda label, completed, total: labels.append(label)  # noqa: E731
    return clerestory.doctor(tiny_model(), "a cat", progress=report), labels


def test_progress_says_how_long_it_will_take(healthy: tuple[Diagnosis, list[str]]) -> None:
    _, labels = healthy
    assert labels[0] == "a first picture, 16×16 in 2 steps"
    assert all(label.endswith(" left)") for label in labels[2:])
    # Two reports for each run: one for each of four stages, and seven others.
    assert len(labels) == 2 * 11


def test_a_diagnosis_is_one_line_and_a_table(healthy: tuple[Diagnosis, list[str]]) -> None:
    diagnosis, _ = healthy
    assert repr(diagnosis) == "Diagnosis of tiny: 13 of 13 checks passed."
    assert list(diagnosis.table().columns) == ["name", "ok", "detail"]
    assert "<td>opens</td>" in diagnosis._repr_html_()


def test_the_reference_page_has_every_check(healthy: tuple[Diagnosis, list[str]]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "doctor.md").read_text()
    names = [check.name for check in healthy[0].checks] + [state.name for state in STATES]
    assert not [name for name in names if f"`{name}`" not in page]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> dict[str, Model]:
    """What the command line opens, whatever it is asked for."""
    models = {"model": tiny_model()}
    monkeypatch.setattr(clerestory, "load", lambda *_, **__: models["model"], raising=False)
    return models


def test_the_command_prints_json(opened: dict[str, Model]) -> None:
    document = json.loads(call(app, "doctor", "tiny", "--steps", 3, "--size", 16, "--json").stdout)
    assert set(document) == {"model", "pipeline", "family", "checks", "ok"}
    assert document["ok"] is True and document["family"] == "UnCLIP"
    assert all(set(check) == {"name", "ok", "detail"} for check in document["checks"])
    assert document["checks"][1]["detail"] == "16×16 in 3 steps with DDIMScheduler"


def test_the_command_prints_a_page(
    opened: dict[str, Model],
    healthy: tuple[Diagnosis, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clerestory.diagnostics.doctor", lambda *_, **__: healthy[0])
    page = call(app, "doctor", "tiny").stdout.splitlines()
    assert page[0] == "tiny (KandinskyV22CombinedPipeline, served as UnCLIP)"
    assert page[1].startswith("✓ opens ") and page[-1] == "13 of 13 checks passed."


def test_a_failure_is_status_1_and_one_reason_is_one_row(opened: dict[str, Model]) -> None:
    opened["model"] = ill()
    opened["model"].pipeline.scheduler = Careless()
    page = call(app, "doctor", "tiny", status=1).stdout
    assert "✗ draws" in page
    assert page.count("no picture was drawn") == 1
    assert json.loads(call(app, "doctor", "tiny", "--json", status=1).stdout)["ok"] is False


def test_a_model_that_does_not_open_is_a_line_or_a_cross_in_json() -> None:
    with pytest.raises(ModelError, match="No model is called"):
        call(app, "doctor", "nowhere")
    document = json.loads(call(app, "doctor", "nowhere", "--json", status=1).stdout)
    assert [check["name"] for check in document["checks"]] == ["opens"]
    assert document["ok"] is False and "nowhere" in document["checks"][0]["detail"]
