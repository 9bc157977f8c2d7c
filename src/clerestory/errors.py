"""The errors of Clerestory.

    ClerestoryError
    ├── ModelError          a model cannot be opened or run                (RuntimeError)
    ├── SiteError           no such site, step or unit                     (KeyError)
    ├── PromptError         an empty prompt, or one the model cannot take  (ValueError)
    ├── SeedError           a range of seeds that is empty or unreadable   (ValueError)
    ├── EditError           an edit that does not fit its site             (ValueError)
    ├── DictionaryError     a dictionary that cannot be read or used       (ValueError)
    ├── OptionError         an invalid argument                            (ValueError)
    ├── OutputError         a path that is taken or cannot be written      (OSError)
    ├── RecordingError      a recording of another plan, in use or damaged (RuntimeError)
    ├── EvidenceError       data that cannot support the claim             (ValueError)
    │   └── EmptyArmError   an arm of a contrast without samples
    ├── SearchError         an objective or a search space that is invalid (ValueError)
    ├── ThemeError          an invalid theme or blind test                 (ValueError)
    ├── RegistryError       a name that nothing is registered under        (KeyError)
    ├── TableError          an invalid study or world file                 (ValueError)
    ├── ArtError            missing or altered art of Lancet's world       (OSError)
    └── TrainingError       a training stage that cannot start or resume   (RuntimeError)

A message is one line: what is wrong, the value found, what is expected, what to do next. The
command line prints it and exits with status 1; files that were already written stay untouched.
"""

from __future__ import annotations

__all__ = [
    "ArtError",
    "ClerestoryError",
    "DictionaryError",
    "EditError",
    "EmptyArmError",
    "EvidenceError",
    "ModelError",
    "OptionError",
    "OutputError",
    "PromptError",
    "RecordingError",
    "RegistryError",
    "SearchError",
    "SeedError",
    "SiteError",
    "TableError",
    "ThemeError",
    "TrainingError",
    "describe_error",
]


class ClerestoryError(Exception):
    """The base class of all errors that Clerestory raises deliberately."""


class ModelError(ClerestoryError, RuntimeError):
    """A model cannot be opened: unknown name, not a pipeline, damaged weights."""


class SiteError(ClerestoryError, KeyError):
    """An address, step or unit that the model does not have."""

    # KeyError prints the repr of its argument; a message is a sentence.
    __str__ = Exception.__str__


class PromptError(ClerestoryError, ValueError):
    """A prompt that is empty or longer than the model's text window."""


class SeedError(ClerestoryError, ValueError):
    """A range of seeds that is empty or cannot be parsed."""


class EditError(ClerestoryError, ValueError):
    """An edit whose direction, strength or site does not fit."""


class DictionaryError(ClerestoryError, ValueError):
    """A dictionary that is damaged, of an unknown format, or does not fit its site."""


class OptionError(ClerestoryError, ValueError):
    """An argument with an invalid name or value."""


class OutputError(ClerestoryError, OSError):
    """A path that is taken or cannot be written to."""


class RecordingError(ClerestoryError, RuntimeError):
    """A recording that follows another plan, is being written, or is damaged."""


class EvidenceError(ClerestoryError, ValueError):
    """Data that cannot support the claim: an empty arm, no pairs, overlapping queries."""


class EmptyArmError(EvidenceError):
    """An arm of a contrast without samples, or without an item in common with the other arm."""


class SearchError(ClerestoryError, ValueError):
    """An objective that cannot be parsed, or a search space without prompts."""


class ThemeError(ClerestoryError, ValueError):
    """A theme, or a blind test of one, that cannot be saved, read or answered."""


class RegistryError(ClerestoryError, KeyError):
    """A name that nothing is registered under."""

    __str__ = Exception.__str__


class ArtError(ClerestoryError, OSError):
    """The art folder of Lancet's world is missing, incomplete or altered."""


class TableError(ClerestoryError, ValueError):
    """A study file, or the table of a world, is invalid."""


class TrainingError(ClerestoryError, RuntimeError):
    """A training stage cannot start or resume: missing stage, incompatible checkpoint."""


def describe_error(reason: BaseException, length: int = 200) -> str:
    """The message of an exception on one line, or its class name where it has none.

    Args:
        reason: The exception.
        length: Number of characters after which the message is cut.

    Returns:
        One line of at most `length` characters and an ellipsis.
    """
    text = " ".join(str(reason).split()) or type(reason).__name__
    return text if len(text) <= length else text[:length] + "…"
