"""Everything that Clerestory raises on purpose.

    ClerestoryError
    ├── ModelError        no such model, a damaged or unsuitable folder
    ├── SiteError         no such site, step or unit                   (KeyError)
    ├── PromptError       an empty prompt, one that the model cannot take (ValueError)
    ├── SeedError         a range of seeds that makes no sense         (ValueError)
    ├── EditError         an edit that does not fit its site           (ValueError)
    ├── OptionError       an argument of a run that there is not       (ValueError)
    ├── OutputError       a folder that is not empty, a file in the way (OSError)
    ├── RecordingError    a recording of another plan, in use, or damaged (RuntimeError)
    ├── EvidenceError     data that cannot carry the claim asked of it (ValueError)
    ├── RegistryError     a name that nothing is registered under      (KeyError)
    ├── ArtError          the art that Lancet's world is drawn from is missing (OSError)
    ├── TableError        a world's table or a study's file is wrong   (ValueError)
    └── TrainingError     a checkpoint or a stage that does not fit    (RuntimeError)

A message is one line: what was wrong, what was got, what was expected, what to do next. The command
line prints it and exits with status 1; nothing that was already written is touched.
"""

from __future__ import annotations

__all__ = [
    "ArtError",
    "ClerestoryError",
    "EditError",
    "EmptySideError",
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
    "TrainingError",
]


class ClerestoryError(Exception):
    """The root: catch this to catch all that Clerestory raises on purpose."""


class ModelError(ClerestoryError, RuntimeError):
    """A model cannot be opened: unknown name, no pipeline, damaged weights."""


class SiteError(ClerestoryError, KeyError):
    """An address, step or unit that the model does not have."""

    __str__ = Exception.__str__


class PromptError(ClerestoryError, ValueError):
    """A prompt that is empty or longer than the model's text window."""


class SeedError(ClerestoryError, ValueError):
    """A range of seeds that holds no seed or cannot be read."""


class EditError(ClerestoryError, ValueError):
    """An edit whose direction, strength or site does not fit."""


class OptionError(ClerestoryError, ValueError):
    """An argument of a run that is none of those that there are."""


class OutputError(ClerestoryError, OSError):
    """A place to write to that is taken or cannot be written."""


class RecordingError(ClerestoryError, RuntimeError):
    """A recording that is of another plan, is written by somebody else, or is damaged."""


class EvidenceError(ClerestoryError, ValueError):
    """Data that cannot carry the claim: an empty side, no pairs, overlapping conditions."""


class EmptySideError(EvidenceError):
    """A side of a contrast without a sample, or without a content that the other side has."""


class SearchError(ClerestoryError, ValueError):
    """A search that cannot be made: an objective that is none, a space with nothing in it."""


class ThemeError(ClerestoryError, ValueError):
    """A theme, or a blind test of one, that cannot be kept, read or answered."""


class RegistryError(ClerestoryError, KeyError):
    """A name that nothing is registered under."""

    __str__ = Exception.__str__


class ArtError(ClerestoryError, OSError):
    """The art folder of Lancet's world is missing, incomplete or altered."""


class TableError(ClerestoryError, ValueError):
    """A world's table, or a study's file, says something impossible."""


class TrainingError(ClerestoryError, RuntimeError):
    """A training stage cannot start or go on: missing stage, unfitting checkpoint."""
