"""What a short run has shown is kept on disk for later processes, and told from anything else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from odd import odd_pipeline

from clerestory.models.families import observation_cache
from clerestory.models.families.generic import GenericFamily
from clerestory.models.model import Model

OPTIONS = {"steps": 3, "seeds": 3, "progress": False}


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "clerestory" / "probes"


def read_in_a_new_process(monkeypatch: pytest.MonkeyPatch, pipeline=None):
    """Calls of the network, and what is read, as a process that has probed nothing would."""
    monkeypatch.setattr(observation_cache, "_OBSERVATIONS", {})
    pipeline = pipeline or odd_pipeline()
    calls = []
    pipeline.transformer.register_forward_pre_hook(lambda *_: calls.append(1))
    model = Model("unknown", GenericFamily(pipeline))
    site = model.sites.match("denoiser*")[0].address
    values = model.run("a cat", read=site, pool="none", branch="cond", **OPTIONS).read(site)
    return len(calls), values, model.sites.match("*")


def test_a_second_process_is_spared_the_short_runs_and_reads_the_same(caches, monkeypatch):
    calls, values, sites = read_in_a_new_process(monkeypatch)
    (path,) = caches.glob("*.json")
    fewer, again, same_sites = read_in_a_new_process(monkeypatch)
    # Two prompts, two steps each; several at once it refuses.
    assert calls - fewer == 4 and fewer == 3
    assert again.identical(values) and same_sites == sites
    path.write_text(path.read_text()[:-20])
    assert read_in_a_new_process(monkeypatch)[0] == calls


def test_another_configuration_version_or_lora_is_another_pipeline(caches, monkeypatch):
    first = observation_cache._digest(odd_pipeline())
    assert observation_cache._digest(odd_pipeline()) == first
    changed = odd_pipeline()
    changed.transformer.add_module("adapter", type(changed.text_encoder)())
    renamed = odd_pipeline()
    renamed.__class__ = type("Other", (type(renamed),), {})
    monkeypatch.setattr(observation_cache, "version", lambda name: "0")
    upgraded = observation_cache._digest(odd_pipeline())
    others = {observation_cache._digest(changed), observation_cache._digest(renamed), upgraded}
    assert len(others | {first}) == 4


@pytest.mark.skipif(os.name != "posix", reason="folders without permissions")
def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    calls, _, _ = read_in_a_new_process(monkeypatch)
    assert read_in_a_new_process(monkeypatch)[0] == calls
