"""Open a model by name: a plug-in's, a hub id, a folder, a single file, or a pipeline object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from clerestory.arguments import checked
from clerestory.checks import check_choice
from clerestory.errors import ModelError, describe_error
from clerestory.io.tensor_files import check_tensor_file
from clerestory.models.core.types import Options
from clerestory.models.loading.plugins import default_model, find_checkpoint, model_names
from clerestory.models.model import Model
from clerestory.models.profile import Checkpoint, ModelProfile
from clerestory.models.workers.pool import PoolSettings, WorkerPool
from clerestory.registry import suggest

__all__ = ["find_device", "load", "wrap"]

MAX_TEXT_LENGTH, NO_TEXT_LENGTH = 2**20, 1e20
"""Tokens of a text; transformers takes more than the second for no limit."""
DTYPES = ("float32", "float16", "bfloat16")


@checked()
def load(
    source: Any = None,
    *,
    device: str | torch.device = "auto",
    dtype: Any = "auto",
    offload: Literal["model", "sequential"] | None = None,
    prior: str | Path | None = None,
    lora: str | Path | None = None,
    config: str | Path | None = None,
    pickles: bool = False,
    probe: bool = True,
    fetch: bool = True,
    workers: int | None = None,
    ray: str | None = None,
    gpus_per_worker: float | None = None,
) -> Model:
    """Open a text-to-image model, with a pool of workers where one is asked for.

    Args:
        source: The name of a plug-in's model such as `lancet`, a folder written by diffusers or by
            a plug-in, a hub id (`owner/name`), a single `.safetensors` file, or a pipeline object,
            which changes only by what is asked for here. None for the default of an installed
            plug-in.
        device: `cpu`, `cuda` or `mps`, or a device of torch; `auto` is an accelerator where there
            is one.
        dtype: `float32`, `float16` or `bfloat16`; `auto` is float32 on a CPU, half precision
            elsewhere.
        offload: Keeps the weights in main memory, and brings a whole part (`model`) or one module
            at a time (`sequential`) to the accelerator.
        prior: The prior of a Kandinsky 2.2 decoder, a folder or id.
        lora: A LoRA file, folder or id.
        config: A folder or id with the configuration of a single file's parts.
        pickles: Whether pickled weights may be read, which can run code; else safetensors only.
        probe: Whether a pipeline of no known family may be run a few times for two steps at a small
            size, when its sites are first read, edited or listed, to learn their order, its
            branches of guidance, its steps and whether samples can be drawn together.
        fetch: Whether what is not on this machine may be fetched from the hub. False for names that
            come from somebody else's file.

    Returns:
        The model.

    Raises:
        ModelError: It does not exist, cannot be fetched, is not a pipeline, draws from pictures
            rather than text, or is damaged; the message is one line.
    """
    # diffusers takes seconds to import, so it is imported when a model is opened.
    from clerestory.models.loading.pipelines import PipelineOptions, fetching, open_pipeline

    target = find_device(device)
    precision = _choose_precision(dtype, target)
    _check_offload(offload, target)
    # Before the model is opened, which takes longer than to find that nothing answers there.
    settings = PoolSettings.of(target, workers=workers, ray=ray, gpus_per_worker=gpus_per_worker)
    pool = None if settings is None else WorkerPool(settings)
    parts: dict[str, Any] = {"prior": prior, "lora": lora, "config": config}
    load_options = {name: str(value) for name, value in parts.items() if value is not None}
    if source is None:
        source = default_model()
    if isinstance(source, Model):
        raise ModelError(f"{source!r} is open already; use it as it is.")
    if source == "":
        raise ModelError("source is ''; write a model's name, a folder, or a hub id.")
    if not isinstance(source, str | Path):
        # Anything else is refused by `wrap`.
        if hasattr(source, "components"):
            if dtype != "auto":
                source.to(precision(type(source).__name__))
            # A pipeline object stays where its owner put it, unless a device is asked for.
            destination = None if device == "auto" and offload is None else target
            _place_pipeline(source, destination, offload, lora)
        model = wrap(source, load_options=load_options, probe=probe)
        model.pool = pool
        return model
    checkpoint = find_checkpoint(source)
    if checkpoint is None:
        _check_name(source)
        checkpoint = Checkpoint(source, str(source))
    options = PipelineOptions(precision, prior, config, pickles)
    with fetching(fetch):
        pipeline = open_pipeline(checkpoint.pipeline, options)
        _place_pipeline(pipeline, target, offload, lora)
    model = wrap(
        pipeline,
        name=checkpoint.name,
        defaults=checkpoint.defaults,
        revision=checkpoint.revision,
        profile=checkpoint.profile,
        load_options=load_options,
        probe=probe,
    )
    # A partial of a module's function can be pickled, a closure could not.
    model.reopen = partial(
        load,
        source,
        device=device,
        dtype=dtype,
        offload=offload,
        pickles=pickles,
        probe=probe,
        fetch=fetch,
        **parts,
    )
    model.pool = pool
    return model


def wrap(
    pipeline: Any,
    *,
    name: str = "",
    defaults: Options | None = None,
    revision: str = "",
    profile: ModelProfile | None = None,
    load_options: Mapping[str, str] | None = None,
    probe: bool = True,
) -> Model:
    """Make a model of a pipeline object, which is not changed.

    Args:
        pipeline: A diffusers pipeline; a class that no family serves is read by
            `clerestory.models.families.generic`.
        name: The model's name; the pipeline's class where it is "".
        defaults: Its default options; None for the family's defaults.
        revision: A digest that tells these weights from any others; "" where unknown.
        profile: What the model brings besides its weights; None for nothing.
        load_options: Options besides the name that it was opened with, to open it so again.
        probe: As in `load`.

    Returns:
        The model.

    Raises:
        ModelError: The object is not a diffusers pipeline, or draws from pictures.
    """
    from clerestory.models.core.family import UnfamiliarPartError, families
    from clerestory.models.families.generic import GenericFamily
    from clerestory.models.loading.pipelines import check_task

    kind = type(pipeline).__name__
    _check_tokenizers(pipeline)
    if kind in families:
        try:
            family = families[kind](pipeline)
        except UnfamiliarPartError as error:
            # The pipeline may draw all the same.
            family = GenericFamily(pipeline, str(error))
    elif not hasattr(pipeline, "components") or not callable(pipeline):
        raise ModelError(f"{kind} is not a diffusers pipeline, so it cannot be opened.")
    else:
        check_task(name or "This", type(pipeline))
        family = GenericFamily(pipeline)
    family.probes = probe
    return Model(
        name or kind,
        family,
        defaults=defaults,
        revision=revision,
        profile=profile,
        load_options=load_options,
    )


def _check_tokenizers(pipeline: Any) -> None:
    """ModelError for a length of texts that no pipeline could pad them to."""
    for name, part in getattr(pipeline, "components", {}).items():
        length = getattr(part, "model_max_length", 0)
        # Without a length of its own a tokenizer has 1e30, which transformers knows to be none.
        if isinstance(length, int | float) and MAX_TEXT_LENGTH < length < NO_TEXT_LENGTH:
            raise ModelError(
                f"{name} has the model_max_length {length:,}, and at most {MAX_TEXT_LENGTH:,} is "
                "taken: correct it in its tokenizer_config.json."
            )


def _place_pipeline(
    pipeline: Any, target: torch.device | None, offload: str | None, lora: str | Path | None
) -> None:
    """Add a LoRA to a pipeline and move it to a device (None: it stays).

    Its precision is left alone: some parts keep another than the rest on purpose.
    """
    if lora is not None:
        _add_lora(pipeline, str(lora))
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=target)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=target)
    # Offloading comes instead of a move: an offloaded pipeline places its parts itself.
    elif target is not None and pipeline.device != target:
        pipeline.to(target)


def _check_offload(offload: str | None, target: torch.device) -> None:
    if offload is None:
        return
    check_choice(ModelError, ("model", "sequential"), offload=offload)
    if target.type == "cpu":
        raise ModelError(f"offload={offload!r} needs an accelerator; torch finds none here.")


def _add_lora(pipeline: Any, lora: str) -> None:
    from clerestory.models.loading.pipelines import UNREADABLE, may_fetch, silence_libraries

    if not hasattr(pipeline, "load_lora_weights"):
        raise ModelError(f"{type(pipeline).__name__} takes no LoRA.")
    path = Path(lora)
    if path.suffix == ".safetensors" and path.is_file():
        check_tensor_file(path, ModelError)
    if path.suffix in (".bin", ".pt", ".ckpt"):
        raise ModelError(f"The LoRA {lora} is a pickle; only safetensors are read.")
    file = {"weight_name": path.name} if path.is_file() else {}
    try:
        with silence_libraries():
            pipeline.load_lora_weights(
                str(path.parent) if path.is_file() else lora,
                use_safetensors=True,
                local_files_only=not may_fetch(),
                **file,
            )
    except UNREADABLE as error:
        reason = describe_error(error, 300)
        # diffusers says that PEFT is missing, not how it is installed here.
        if "PEFT" in reason:
            reason = "it needs the package peft: pip install 'clerestory[lora]'"
        raise ModelError(f"The LoRA {lora} cannot be loaded: {reason}") from error


def _check_name(source: str | Path) -> None:
    """ModelError where a source is neither an existing path nor a hub id."""
    from clerestory.models.loading.pipelines import is_hub_id

    if not Path(source).exists() and not is_hub_id(str(source)):
        raise ModelError(
            f"No model is called {str(source)!r}, and there is no such file or folder."
            f"{suggest(str(source), model_names())}"
        )


def find_device(name: str | torch.device) -> torch.device:
    """The device of a name.

    Args:
        name: `auto` for the fastest one that there is, or a device as torch names it.

    Returns:
        The device.

    Raises:
        ModelError: There is none of this name.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        # torch knows devices that are not here, so whether one is there is asked below.
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise ModelError(f"No device is called {name!r}; write auto, cpu, cuda or mps.") from None
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device.type, True):
        raise ModelError(f"The device {name!r} was asked for, and torch finds none; use cpu.")
    return device


def _choose_precision(name: Any, target: torch.device) -> Callable[[str], torch.dtype]:
    """From a pipeline's class to its torch dtype; `auto` is float32 on a CPU, half elsewhere."""
    from clerestory.models.core.family import family_class

    if name != "auto" and name not in DTYPES and not isinstance(name, torch.dtype):
        raise ModelError(f"No precision is called {name!r}; write auto, {', '.join(DTYPES)}.")

    def precision(kind: str) -> torch.dtype:
        if isinstance(name, torch.dtype):
            return name
        # Families differ: those of large transformers name bfloat16, which has the range of
        # float32.
        automatic = "float32" if target.type == "cpu" else family_class(kind).half_precision
        dtype: torch.dtype = getattr(torch, automatic if name == "auto" else name)
        return dtype

    return precision
