"""Open diffusers pipelines: hub ids, folders, single files; errors are one line.

Weights are read from safetensors only, unless pickles are allowed by name, since loading a pickle
can run code. Code that comes with a checkpoint is never run.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from safetensors import SafetensorError

from clerestory.errors import ModelError, describe_error
from clerestory.io.reading import read_json
from clerestory.models.core.family import SeparatePrior, families, family_class
from clerestory.models.loading.files import (
    PICKLES,
    check_complete,
    check_index,
    check_parts,
    pickle_error,
)
from clerestory.models.loading.moved_classes import restore_moved_classes

__all__ = [
    "PipelineOptions",
    "check_task",
    "fetching",
    "is_hub_id",
    "may_fetch",
    "open_pipeline",
    "silence_libraries",
]

ANSWER = 3.0
"""Seconds that the hub has to answer."""
UNREADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    ImportError,
    SafetensorError,
)
"""What the libraries raise for damaged folders and files."""


_FETCHING: ContextVar[bool] = ContextVar("fetching", default=True)


@contextmanager
def fetching(allowed: bool) -> Iterator[None]:
    """Whether models that are not on this machine are fetched, while this is open.

    Args:
        allowed: False where a file names the model, which anybody may have written.

    Yields:
        Nothing.
    """
    token = _FETCHING.set(allowed and _FETCHING.get())
    try:
        yield
    finally:
        _FETCHING.reset(token)


def may_fetch() -> bool:
    """Whether models may be fetched here and now."""
    return _FETCHING.get()


@dataclass(frozen=True)
class PipelineOptions:
    """How a pipeline is opened.

    Attributes:
        precision: From the class name of a pipeline to its torch dtype.
        prior: The prior of a Kandinsky 2.2 decoder, a folder or id.
        config: A folder or id with the configuration of a single file's parts, where diffusers'
            own choice cannot be fetched or does not fit.
        pickles: Whether pickled weights may be read.
    """

    precision: Callable[[str], Any]
    prior: str | Path | None = None
    config: str | Path | None = None
    pickles: bool = False


def is_hub_id(source: str) -> bool:
    """Whether a text has the form of a hub id, `owner/name`.

    Args:
        source: A text, such as the source that a user names.

    Returns:
        True by its form alone; nothing is looked up.
    """
    file = source.lower().endswith((".safetensors", *PICKLES))
    named = re.fullmatch(r"[\w.-]+/[\w.-]+", source, re.ASCII) is not None
    return named and ".." not in source and not file


def open_pipeline(source: str | Path, options: PipelineOptions) -> Any:
    """Open the pipeline in a folder, behind a hub id, or in a single file.

    Args:
        source: The folder, id or file.
        options: How it is opened.

    Returns:
        A diffusers pipeline.

    Raises:
        ModelError: It cannot be found, fetched or read, or an option does not apply to it.
    """
    path = Path(source)
    if path.is_file():
        _check_unused(source, "prior", options.prior, "is a single file, which has its own")
        return _open_single_file(path, options)
    _check_unused(source, "config", options.config, "is not a single file, so it has its own")
    index = _read_index(source)
    kind = _pipeline_class(source, index)
    for separate in _separate_priors():
        # A decoder is published without its prior, and draws from an image embedding only.
        if kind == separate.decoder:
            return _open_with_prior(source, options, separate)
        if kind == separate.prior:
            raise ModelError(
                f"{source} is a prior alone ({kind}): open a {separate.decoder}, and name this with"
                " --prior."
            )
    _check_unused(source, "prior", options.prior, f"is a {kind}, which needs none")
    if kind not in families:
        _check_class(source, kind)
    return _open_folder(source, options, kind)


def _check_unused(source: object, name: str, value: object, why: str) -> None:
    """ModelError where an option is given that this model would ignore."""
    if value is not None:
        raise ModelError(f"{name} is {value}, but {source} {why}: leave --{name} ({name}=) out.")


def _open_folder(source: str | Path, options: PipelineOptions, kind: str) -> Any:
    local, family, index = Path(source).is_dir(), family_class(kind), _read_index(source)
    # diffusers writes an absent part as a pair of nulls, and then asks for it when it reads these.
    absent = {part: None for part in family.optional_parts if not any(index.get(part) or ())}
    if local:
        check_parts(Path(source), kind, index, pickles=options.pickles)
    with silence_libraries(), _one_line_errors(source, kind):
        from diffusers import DiffusionPipeline

        restore_moved_classes(index)
        pipeline = DiffusionPipeline.from_pretrained(
            source,
            # None is diffusers' default: safetensors where there are any, else pickles. True
            # refuses pickles.
            use_safetensors=None if options.pickles else True,
            dtype=options.precision(kind),
            # A folder is whole or it is refused; nothing that is missing is fetched.
            local_files_only=local or not may_fetch(),
            trust_remote_code=False,
            **family.load_arguments,
            **absent,
        )
        if local:
            # The libraries only warn about missing weights, and initialise them at random.
            check_complete(Path(source), pipeline)
    family.prepare_pipeline(pipeline)
    return pipeline


def _open_with_prior(source: str | Path, options: PipelineOptions, separate: SeparatePrior) -> Any:
    """A decoder and the prior that the user names, as one pipeline."""
    if options.prior is None:
        raise ModelError(
            f"{source} is a {separate.decoder} and has no prior: name one with --prior (in Python"
            f" prior=…), such as {separate.example}."
        )
    kind = _pipeline_class(options.prior, _read_index(options.prior))
    if kind != separate.prior:
        raise ModelError(f"{options.prior} is a {kind}; the prior must be a {separate.prior}.")
    import diffusers

    decoder = _open_folder(source, options, separate.decoder)
    prior = _open_folder(options.prior, options, kind)
    parts = {f"prior_{name}": part for name, part in prior.components.items()}
    return getattr(diffusers, separate.combined)(**decoder.components, **parts)


def _open_single_file(path: Path, options: PipelineOptions) -> Any:
    """A pipeline whose parts are all in one safetensors file."""
    if path.suffix.lower() in PICKLES and not options.pickles:
        raise pickle_error(path)
    if path.suffix.lower() not in (".safetensors", *PICKLES):
        raise ModelError(f"{path} is not a checkpoint: expected a .safetensors file, or a folder.")
    import diffusers
    from diffusers.loaders import single_file_utils

    with silence_libraries(), _one_line_errors(path, "single file"):
        # Read to learn its kind: `from_single_file` is a method of the class, which must be chosen
        # first.
        checkpoint = single_file_utils.load_single_file_checkpoint(str(path))
        guess = single_file_utils.infer_diffusers_model_type(checkpoint)
        known = {name: kind for kind in families for name in family_class(kind).single_file_types}
        kind = known.get(guess)
        if options.config is not None:
            kind = _pipeline_class(options.config, _read_index(options.config))
        if kind is None:
            raise ModelError(
                f"{path} looks like {guess!r}, which is not a known text-to-image pipeline"
                f" from a single file. Known: {', '.join(sorted(known))}."
            )
        config = {} if options.config is None else {"config": str(options.config)}
        try:
            return getattr(diffusers, kind).from_single_file(
                str(path),
                dtype=options.precision(kind),
                local_files_only=not may_fetch(),
                **config,
                **family_class(kind).load_arguments,
            )
        except single_file_utils.SingleFileComponentError as error:
            raise RuntimeError(f"it does not hold all parts: {error}") from error


def _separate_priors() -> list[SeparatePrior]:
    declared = [family_class(kind).separate_prior for kind in families]
    return [separate for separate in declared if separate is not None]


def _read_index(source: str | Path) -> Mapping[str, Any]:
    """Read a pipeline's `model_index.json`, from a folder or the hub."""
    folder = Path(source)
    path = folder / "model_index.json" if folder.is_dir() else _fetch_index(str(source))
    try:
        if not path.exists():
            raise FileNotFoundError
        index: Mapping[str, Any] = read_json(path, ModelError)
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is not a pipeline: it has no model_index.json. Expected a folder written by "
            "diffusers' save_pretrained."
        ) from None
    except ModelError as error:
        raise ModelError(
            f"{source} is not a pipeline: its model_index.json cannot be read: {error}"
        ) from error
    check_index(source, index)
    return index


def _fetch_index(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        # huggingface_hub tries for half a minute to reach a hub that cannot be reached.
        local = not (may_fetch() and _reaches_hub())
        return Path(hf_hub_download(name, "model_index.json", local_files_only=local))
    # Before EntryNotFoundError, of which it is a subclass: a hub out of reach is not a missing
    # file.
    except LocalEntryNotFoundError:
        if not may_fetch():
            raise ModelError(
                f"The model {name!r} is not on this machine, and comes from a file, which cannot "
                "make anything be fetched. If you want it, name it yourself: --model (in Python "
                "load it, and pass it on)."
            ) from None
        reason = "the hub cannot be reached and there is no copy in the cache"
    except EntryNotFoundError:
        raise ModelError(f"{name} is not a pipeline: it has no model_index.json.") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        reason = {
            401: "there is none, or it is private: log in with `hf auth login`",
            403: "its licence must be accepted on its page first, and you must be logged in",
            404: "there is none",
        }.get(status or 0, f"the hub answered {status}")
    except OSError as error:
        reason = describe_error(error)
    raise ModelError(
        f"The model {name!r} is not a folder here and cannot be fetched: {reason}."
    ) from None


def _reaches_hub() -> bool:
    """Whether something answers at the hub's address within seconds; True where a proxy knows."""
    from huggingface_hub.constants import ENDPOINT

    address = urlsplit(ENDPOINT)
    if getproxies():
        return True
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        with socket.create_connection((address.hostname, port), timeout=ANSWER):
            return True
    except OSError:
        return False


def _pipeline_class(source: str | Path, index: Mapping[str, Any]) -> str:
    kind = index.get("_class_name") if isinstance(index, Mapping) else None
    # A pair names a class in a file that comes with the checkpoint.
    if isinstance(kind, list | tuple):
        name = str(kind[0])[:80] if kind else "unnamed"
        raise ModelError(f"{source} needs code of its own ({name}), and such code is never run.")
    if not isinstance(kind, str):
        raise ModelError(f"{source} is not a pipeline: its model_index.json cannot be read.")
    return kind


def _check_class(source: str | Path, kind: str) -> None:
    """ModelError for a class that diffusers lacks, or that does not draw from text alone."""
    with silence_libraries():
        import diffusers

        pipeline_class = getattr(diffusers, kind, None)
    if not isinstance(pipeline_class, type) or not issubclass(
        pipeline_class, diffusers.DiffusionPipeline
    ):
        raise ModelError(f"{source} is a {kind}, which this version of diffusers does not know.")
    check_task(source, pipeline_class)


def _outputs(kind: type[Any]) -> set[str]:
    """Fields of what a pipeline class gives; empty where its module does not tell."""
    outputs = [
        value
        for name, value in vars(sys.modules[kind.__module__]).items()
        if name.endswith("PipelineOutput") and dataclasses.is_dataclass(value)
    ]
    return {field.name for output in outputs for field in dataclasses.fields(output)}


def check_task(source: str | Path, kind: type[Any]) -> None:
    """Check that a pipeline class draws pictures, and from text.

    Args:
        source: The folder or id, for error messages.
        kind: The pipeline's class.

    Raises:
        ModelError: It changes or fills in pictures, or gives none.
    """
    made = _outputs(kind)
    if made and not {"images", "image"} & made:
        raise ModelError(
            f"{source} is a {kind.__name__}: it gives {', '.join(sorted(made))} and no pictures, so"
            " it cannot be opened."
        )
    if "image" not in inspect.signature(kind.__call__).parameters:
        return
    with silence_libraries():
        from diffusers.pipelines import auto_pipeline

        text_to_image = auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()
    # An argument `image` is not enough to refuse: ControlNet and others take one beside the prompt,
    # and diffusers lists those that draw from text.
    if kind not in text_to_image:
        raise ModelError(
            f"{source} is a {kind.__name__}: it changes or fills in pictures that it is given, and"
            " here pictures are drawn from text alone. Open the text-to-image pipeline of the same"
            " weights."
        )


@contextmanager
def _one_line_errors(source: str | Path, kind: str) -> Iterator[None]:
    """Turn what the libraries raise into a ModelError of one line."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # tokenizers raises no class of its own
        # diffusers names the pickle in its message; the user is told how to allow it instead.
        pickled = re.search(
            r"necessary\s+`?safetensors`?\s+weights\s+in\s.*?['\"]([^'\"]+\.bin)['\"]",
            str(error),
            re.DOTALL,
        )
        if pickled is not None:
            raise pickle_error(f"{source}/{pickled[1]}") from error
        raise ModelError(
            f"{source} cannot be opened as a {kind}: {describe_error(error, 300)}"
        ) from error


@contextmanager
def silence_libraries() -> Iterator[None]:
    """Limit diffusers and transformers to errors, without progress bars, while this is open."""
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    logs = (diffusers_log, transformers_log)
    # Restored on exit: these settings belong to the whole process.
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    try:
        for log in logs:
            log.set_verbosity_error()
            log.disable_progress_bar()
        yield
    finally:
        for log, verbosity, enabled in before:
            log.set_verbosity(verbosity)
            if enabled:
                log.enable_progress_bar()
