"""Open diffusers pipelines: hub ids, folders, single files; what is wrong with them, in one line.

Weights are read from safetensors only, unless pickles are allowed by name, since loading a pickle
can run code. Code that comes with a checkpoint is never run.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from clerestory.errors import ModelError
from clerestory.io.reading import read_json
from clerestory.models.families.registered import load_families
from clerestory.models.loading.files import (
    PICKLES,
    check_index,
    check_parts,
    check_whole,
    pickle_error,
)

__all__ = ["Opening", "check_task", "is_hub_id", "silence_libraries"]

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
"""What the libraries raise at folders and files that are not as they should be."""
PRIORLESS = "KandinskyV22Pipeline"


@dataclass(frozen=True)
class Opening:
    """How a pipeline is opened.

    `precision` gives the torch dtype for the class of a pipeline; `prior` is that of a Kandinsky
    2.2 decoder; `pickles` is whether pickled weights may be read. `config` is a folder or id with
    the configuration of a single file's parts, where diffusers' own choice cannot be fetched or
    does not fit.
    """

    precision: Callable[[str], Any]
    prior: str | Path | None = None
    config: str | Path | None = None
    pickles: bool = False


def is_hub_id(what: str) -> bool:
    """Whether this could be the id of a model on a hub: `owner/name`."""
    file = what.lower().endswith((".safetensors", *PICKLES))
    named = re.fullmatch(r"[\w.-]+/[\w.-]+", what, re.ASCII) is not None
    return named and ".." not in what and not file


def open_pipeline(what: str | Path, how: Opening) -> Any:
    """The pipeline in a folder, behind an id, or in a single file; ModelError, in one line."""
    path = Path(what)
    if path.is_file():
        _check_unused(what, "prior", how.prior, "is a single file, which has its own")
        return _single(path, how)
    _check_unused(what, "config", how.config, "is no single file, so it has its own")
    told = _index(what)
    kind = _kind(what, told)
    if kind == PRIORLESS:
        return _with_prior(what, how)
    _check_unused(what, "prior", how.prior, f"is a {kind}, which needs none")
    if kind not in load_families():
        _check_kind(what, kind)
    return _pretrained(what, how, kind, **_unchecked(kind))


def _check_unused(what: object, name: str, given: object, why: str) -> None:
    """ModelError where something is named that this model would never look at."""
    if given is not None:
        raise ModelError(f"{name} is {given}, but {what} {why}: leave --{name} ({name}=) out.")


def _pretrained(what: str | Path, how: Opening, kind: str, **more: Any) -> Any:
    local = Path(what).is_dir()
    if local:
        check_parts(Path(what), kind, _index(what), pickles=how.pickles)
    with silence_libraries(), _one_line(what, kind):
        from diffusers import DiffusionPipeline

        pipeline = DiffusionPipeline.from_pretrained(
            what,
            use_safetensors=None if how.pickles else True,
            dtype=how.precision(kind),
            local_files_only=local,
            trust_remote_code=False,
            **more,
        )
        if local:
            check_whole(Path(what), pipeline)
    return pipeline


def _with_prior(what: str | Path, how: Opening) -> Any:
    """A Kandinsky 2.2 decoder and the prior that the user names, as one pipeline."""
    if how.prior is None:
        raise ModelError(
            f"{what} is a Kandinsky 2.2 decoder and has no prior: name one with --prior (in Python"
            " prior=…), such as kandinsky-community/kandinsky-2-2-prior."
        )
    kind = _kind(how.prior, _index(how.prior))
    if kind != "KandinskyV22PriorPipeline":
        raise ModelError(f"{how.prior} is a {kind}; the prior must be a KandinskyV22PriorPipeline.")
    from diffusers import KandinskyV22CombinedPipeline

    decoder, prior = _pretrained(what, how, PRIORLESS), _pretrained(how.prior, how, kind)
    parts = {f"prior_{name}": part for name, part in prior.components.items()}
    return KandinskyV22CombinedPipeline(**decoder.components, **parts)


def _single(path: Path, how: Opening) -> Any:
    """A pipeline whose parts are all in one safetensors file."""
    if path.suffix.lower() in PICKLES and not how.pickles:
        raise pickle_error(path)
    if path.suffix.lower() not in (".safetensors", *PICKLES):
        raise ModelError(f"{path} is no checkpoint: expected a .safetensors file, or a folder.")
    import diffusers
    from diffusers.loaders import single_file_utils

    with silence_libraries(), _one_line(path, "single file"):
        checkpoint = single_file_utils.load_single_file_checkpoint(str(path))
        guess = single_file_utils.infer_diffusers_model_type(checkpoint)
        known = _single_file_types()
        kind = known.get(guess)
        if how.config is not None:
            kind = _kind(how.config, _index(how.config))
        if kind is None:
            raise ModelError(
                f"{path} looks like {guess!r}, which is no text-to-image pipeline that is known"
                f" from a single file. Known: {', '.join(sorted(known))}."
            )
        config = {} if how.config is None else {"config": str(how.config)}
        try:
            return getattr(diffusers, kind).from_single_file(
                str(path), dtype=how.precision(kind), **config, **_unchecked(kind)
            )
        except single_file_utils.SingleFileComponentError as error:
            raise RuntimeError(f"it does not hold all parts: {error}") from error


def _single_file_types() -> dict[str, str]:
    """Pipeline classes by what diffusers calls single-file checkpoints of them."""
    return {
        name: kind
        for kind, family in load_families().items()
        for name in getattr(family, "single_file_types", ())
    }


def _unchecked(kind: str) -> dict[str, Any]:
    """No safety checker, which would blacken pictures."""
    if kind != "StableDiffusionPipeline":
        return {}
    return {"safety_checker": None, "requires_safety_checker": False}


def _index(what: str | Path) -> Mapping[str, Any]:
    """What a pipeline's `model_index.json` says."""
    folder = Path(what)
    try:
        path = folder / "model_index.json" if folder.is_dir() else _fetched_index(str(what))
        if not path.exists():
            raise FileNotFoundError
        told: Mapping[str, Any] = read_json(path, ModelError)
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is no pipeline: it has no model_index.json. Expected a folder written by "
            "diffusers' save_pretrained."
        ) from None
    except ModelError as error:
        raise ModelError(
            f"{what} is no pipeline: its model_index.json cannot be read: {error}"
        ) from error
    check_index(what, told)
    return told


def _fetched_index(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, "model_index.json"))
    except LocalEntryNotFoundError:
        reason = "the hub cannot be reached and there is no copy in the cache"
    except EntryNotFoundError:
        raise ModelError(f"{name} is no pipeline: it has no model_index.json.") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        reason = {
            401: "there is none, or it is private: log in with `hf auth login`",
            403: "its licence must be accepted on its page first, and you must be logged in",
            404: "there is none",
        }.get(status or 0, f"the hub answered {status}")
    except OSError as error:
        reason = " ".join(str(error).split())[:200]
    raise ModelError(
        f"The model {name!r} is no folder here and cannot be fetched: {reason}."
    ) from None


def _kind(what: str | Path, told: Mapping[str, Any]) -> str:
    kind = told.get("_class_name") if isinstance(told, Mapping) else None
    if isinstance(kind, list | tuple):
        own = str(kind[0])[:80] if kind else "unnamed"
        raise ModelError(f"{what} needs code of its own ({own}), and such code is never run.")
    if not isinstance(kind, str):
        raise ModelError(f"{what} is no pipeline: its model_index.json cannot be read.")
    return kind


def _check_kind(what: str | Path, kind: str) -> None:
    """ModelError for a class that is not there or does not make pictures from text alone."""
    if kind == "KandinskyV22PriorPipeline":
        raise ModelError(
            f"{what} is a Kandinsky 2.2 prior alone: open a decoder, and name this with --prior."
        )
    with silence_libraries():
        import diffusers

        found = getattr(diffusers, kind, None)
    if not isinstance(found, type) or not issubclass(found, diffusers.DiffusionPipeline):
        raise ModelError(f"{what} is a {kind}, which this version of diffusers does not know.")
    check_task(what, found)


def check_task(what: str | Path, kind: type[Any]) -> None:
    """ModelError for a pipeline class that works on pictures which it is given."""
    if "image" not in inspect.signature(kind.__call__).parameters:
        return
    with silence_libraries():
        from diffusers.pipelines import auto_pipeline

        drawing = auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()
    if kind not in drawing:
        raise ModelError(
            f"{what} is a {kind.__name__}: it changes or fills in pictures that it is given, and"
            " here pictures are drawn from text alone. Open the text-to-image pipeline of the same"
            " weights."
        )


@contextmanager
def _one_line(what: str | Path, kind: str) -> Iterator[None]:
    """What the libraries raise as a ModelError of one line."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # tokenizers raises no class of its own
        reason = " ".join(str(error).split())
        lacking = re.search(
            r"necessary `?safetensors`? weights in .*?['\"]([^'\"]+\.bin)['\"]", reason
        )
        if lacking is not None:
            raise pickle_error(f"{what}/{lacking[1]}") from error
        raise ModelError(f"{what} cannot be opened as a {kind}: {reason[:300]}") from error


@contextmanager
def silence_libraries() -> Iterator[None]:
    """While this is open, diffusers and transformers log errors only and draw no progress bars."""
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    logs = (diffusers_log, transformers_log)
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    try:
        for log in logs:
            log.set_verbosity_error()
            log.disable_progress_bar()
        yield
    finally:
        for log, verbosity, shown in before:
            log.set_verbosity(verbosity)
            if shown:
                log.enable_progress_bar()
