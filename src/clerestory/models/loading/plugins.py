"""Models that installed plug-ins bring, by the names of their entry points.

Names are read from the metadata of installed packages: no plug-in is imported before one of its
models may be meant.
"""

from __future__ import annotations

from pathlib import Path

from clerestory.errors import ModelError
from clerestory.models.profile import Checkpoint, ModelPlugin
from clerestory.registry import load_plugin, plugins

__all__ = ["default_model", "find_checkpoint", "model_names"]

GROUP = "clerestory.models"


def model_names() -> list[str]:
    """Names of models that installed plug-ins bring; imports none of them."""
    return sorted(plugins(GROUP))


def find_checkpoint(source: str | Path) -> Checkpoint | None:
    """Locate a plug-in's model.

    Args:
        source: A plug-in's name, a folder, or any other source that `load` takes.

    Returns:
        Where the pipeline is; None where no plug-in has a model of that name or folder.

    Raises:
        ModelError: The model is missing or damaged.
        RegistryError: The plug-in cannot be imported.
    """
    known = plugins(GROUP)
    # A name comes before a folder that happens to be called the same: `./NAME` is the folder.
    if isinstance(source, str) and source in known:
        return _plugin(source).checkpoint(source)
    folder = Path(source)
    if folder.is_dir():
        for name in known:
            plugin = _plugin(name)
            if plugin.recognizes(folder):
                return plugin.checkpoint(source)
    return None


def default_model() -> str:
    """The name of the model to open where none is named.

    Raises:
        ModelError: No plug-in declares a default.
    """
    for name in model_names():
        if _plugin(name).default:
            return name
    raise ModelError(
        "No model is named, and no installed package brings a default one. Name a hub id, a"
        " pipeline's folder, or a .safetensors file."
    )


def _plugin(name: str) -> ModelPlugin:
    plugin: ModelPlugin = load_plugin(plugins(GROUP)[name])
    return plugin
