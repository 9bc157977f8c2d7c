"""Shapes in types are checked in every test; nothing is fetched from anywhere."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

import pytest
from helpers.metadata import refresh_entry_points
from jaxtyping import install_import_hook

os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # there is a worker for each core
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Ray's workers give way to everything else by default, and would starve beside other tests.
os.environ.setdefault("RAY_worker_niceness", "0")

refresh_entry_points()
hook = install_import_hook("clerestory.stats", "beartype.beartype")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of Lancet's weights need them: without them (a source tree before training) skip."""
    from lancet.checkpoint import SHIPPED

    if (SHIPPED / "manifest.json").exists():
        return
    for item in items:
        if item.get_closest_marker("weights"):
            item.add_marker(pytest.mark.skip(reason="Lancet's weights are not in this tree"))


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept in the user's cache comes from no run before, and outlives no run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@functools.cache
def _untouched() -> str:
    from tiny import tiny_pipeline

    from clerestory.models.provenance import weights_digest

    return weights_digest(tiny_pipeline())


@pytest.fixture(autouse=True, scope="module")
def _shared_model_keeps_its_weights() -> Iterator[None]:
    """A test that changes the model which all share changes what later tests see."""
    yield
    from tiny import tiny_model

    if tiny_model.cache_info().currsize:
        from clerestory.models.provenance import weights_digest

        assert weights_digest(tiny_model().pipeline) == _untouched()
