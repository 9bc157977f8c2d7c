"""Prompts from files, as a table: a column `prompt`, and a column for each factor.

A text file has one prompt a line; CSV and Parquet have a column `prompt`, their other columns are
factors; TOML is a factorial template (`template.py`). A column `item` says what a prompt is about.
"""

from __future__ import annotations

import csv
import datetime
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import numpy as np

from clerestory.errors import PromptError, RecordingError, SeedError, describe_error
from clerestory.io.parquet import MAX_ROWS
from clerestory.io.reading import (
    PARSE_ERRORS,
    check_count,
    read_lines,
    read_table,
    read_text,
)
from clerestory.models import Model
from clerestory.models.core.seeds import check_seeds, item_seeds
from clerestory.recordings.template import Template

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RESERVED", "VOCABULARY", "prompt_table", "random_prompts", "with_seeds"]

VOCABULARY = "vocabulary"
"""Source of random prompts that stands for the words of the model's tokenizer."""
LEVEL_KINDS = frozenset({"text", "True and False", "number", "date"})
"""What levels of factors may be."""
RESERVED = ("sample", "seed", "done", "bad", "complete")
"""Names that no factor can have, since a recording adds such columns."""
MAX_PROMPTS_BYTES = 256 * 2**20
"""Limit of a text or CSV file of prompts; larger tables are given as Parquet."""
SUFFIXES = (".txt", ".csv", ".parquet", ".toml")


def prompt_table(source: str | Path | Sequence[str] | pd.DataFrame) -> pd.DataFrame:
    """Convert prompts and their factors to a table.

    Args:
        source: A list of prompts; a table with a column `prompt`; or a file, which is a `Path` or
            a string that ends in `.txt`, `.csv`, `.parquet` or `.toml`. Any other string is one
            prompt.

    Returns:
        A table with `prompt` first and a column for each factor; categories become their values.

    Raises:
        PromptError: There is no prompt, a file cannot be read, or a factor's name is taken.
    """
    import pandas as pd

    if isinstance(source, str) and source.lower().endswith(SUFFIXES):
        source = Path(source)
    if isinstance(source, Path):
        table = _read(source)
    elif isinstance(source, pd.DataFrame):
        table = source
    else:
        table = pd.DataFrame({"prompt": [source] if isinstance(source, str) else list(source)})
    where = str(source) if isinstance(source, Path) else "the table"
    if "prompt" not in table:
        raise PromptError(f"{where} has no column 'prompt'; it has {', '.join(map(str, table))}.")
    if table.empty:
        raise PromptError(f"There is no prompt in {where}; give at least one.")
    reserved = [name for name in RESERVED if name in table]
    if reserved:
        raise PromptError(
            f"{where} has a column {reserved[0]!r}, which a recording adds: rename it."
        )
    # Names as text, as files have them, in one normal form; rows are numbered from 0.
    table = table.rename(columns=lambda name: normalize("NFC", str(name))).reset_index(drop=True)
    if not table.columns.is_unique:
        raise PromptError(f"{where} has two columns of one name: rename one.")
    for name in table:
        if isinstance(table[name].dtype, pd.CategoricalDtype):
            # Factors are compared by value, also between recordings with other categories.
            table[name] = np.asarray(table[name])
        if name != "prompt" and not pd.api.types.is_numeric_dtype(table[name].dtype):
            # The same words are one level, whichever way their accents were typed.
            table[name] = table[name].map(
                lambda value: normalize("NFC", value) if isinstance(value, str) else value
            )
        if name != "prompt":
            _check_factor(where, str(name), table[name])
    return table[["prompt", *(name for name in table if name != "prompt")]]


def with_seeds(
    table: pd.DataFrame,
    seeds: int | Sequence[int] | None = None,
    seeds_per_item: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Repeat each row for each of its seeds.

    Args:
        table: Prompts and factors.
        seeds: Seeds of all rows; by default 0.
        seeds_per_item: Instead of `seeds`: the number of seeds of each item. Rows with the same
            value of the column `item` share them; without that column, every prompt is an item.
        seed: Gives other seeds for the same items.

    Returns:
        Rows prompt by prompt, with a column `seed` after `prompt`.

    Raises:
        SeedError: Both are given, or `seed` without `seeds_per_item`, or a seed is invalid.
        RecordingError: There would be more than 10,000,000 rows.
    """
    if seeds_per_item is None:
        if seed:
            raise SeedError("`seed` chooses the seeds of items: give `seeds_per_item` with it.")
        numbers = check_seeds(0 if seeds is None else seeds)
        _check_count(table, len(numbers))
        by_row = [numbers] * len(table)
    else:
        if seeds is not None:
            raise SeedError(
                "Give `seeds`, which all items share, or `seeds_per_item`, not both of them."
            )
        # Before the seeds are derived, which takes a while for very many.
        _check_count(table, seeds_per_item)
        # Without a column of items every prompt is its own.
        items = table["item" if "item" in table else "prompt"].map(str)
        by_item = {item: item_seeds(item, seeds_per_item, seed) for item in items.unique()}
        by_row = [by_item[item] for item in items]
    # A row for each seed, those of a prompt together.
    rows = table.loc[table.index.repeat(len(by_row[0]))].reset_index(drop=True)
    rows.insert(1, "seed", [number for numbers in by_row for number in numbers])
    return rows


def _check_factor(where: str, name: str, values: pd.Series) -> None:
    """PromptError where a factor's levels would not come back from a file as they are."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values.dtype):
        kinds = {"complex" if pd.api.types.is_complex_dtype(values.dtype) else "number"}
    else:
        kinds = set(map(_level_kind, values.dropna()))
    if not kinds <= LEVEL_KINDS or len(kinds) > 1:
        found = " and ".join(sorted(kinds))
        raise PromptError(
            f"The column {name!r:.80} of {where} has {found} as levels: give texts, numbers of 64 "
            "bits, True and False, or dates, of one kind in a column, as .astype(str) makes them."
        )


def _level_kind(value: Any) -> str:
    """What kind of level a value is; the name of its class where it is none."""
    if isinstance(value, str):
        # As broken exports have it: no file can hold it.
        has_half = any("\ud800" <= letter <= "\udfff" for letter in value)
        return "half a character" if has_half else "text"
    if isinstance(value, bool | np.bool_):
        return "True and False"
    if isinstance(value, int | np.integer):
        return "number" if -(2**63) <= value < 2**63 else "a number beyond 64 bits"
    if isinstance(value, float | np.floating):
        return "number"
    return "date" if isinstance(value, datetime.date) else type(value).__name__


def _check_count(table: pd.DataFrame, seeds: int) -> None:
    check_count("The plan", RecordingError, len(table) * seeds, MAX_ROWS, "samples")


def random_prompts(
    source: str | Path, count: int, seed: int = 0, *, model: Model | None = None, words: int = 5
) -> pd.DataFrame:
    """Draw random prompts.

    Args:
        source: `vocabulary` for random words of the model; a `.toml` template for random levels of
            its factors; any other file of prompts for random rows without replacement, in the order
            of the file.
        count: Number of prompts.
        seed: Random seed.
        model: The model whose words are drawn; for `vocabulary` only.
        words: Words per prompt; for `vocabulary` only.

    Returns:
        A table with a column `prompt`, and the factors of the source.

    Raises:
        PromptError: A file has too few prompts, or an argument is out of range.
    """
    rng = np.random.default_rng(seed)
    if count < 1:
        raise PromptError(f"{count} random prompts were asked for; ask for at least one.")
    if source == VOCABULARY:
        if model is None:
            raise PromptError("Random words need the model whose vocabulary they are from.")
        return prompt_table(_words(model, count, words, rng))
    path = Path(source)
    if path.suffix == ".toml":
        return prompt_table(Template.read(path).random(count, rng))
    table = prompt_table(path)
    if count > len(table):
        raise PromptError(f"{path} has {len(table)} prompts; {count} were asked for.")
    # Sorted, so that rows keep the file's order whichever are chosen.
    return table.iloc[np.sort(rng.permutation(len(table))[:count])].reset_index(drop=True)


def _words(model: Model, count: int, words: int, rng: np.random.Generator) -> list[str]:
    vocabulary = model.vocabulary()
    if not words >= 1 or len(vocabulary) < 2:
        raise PromptError(f"{words} words of {len(vocabulary)} make no prompt; ask for 1 or more.")
    return [
        " ".join(vocabulary[index] for index in rng.integers(0, len(vocabulary), words))
        for _ in range(count)
    ]


def _read(path: Path) -> pd.DataFrame:
    readers: dict[str, Any] = {
        ".txt": _lines,
        ".csv": _csv,
        ".parquet": lambda file: read_table(file, PromptError),
        ".toml": lambda file: Template.read(file).table(),
    }
    if path.suffix.lower() not in readers:
        raise PromptError(
            f"{path} is not a prompt file; its name must end in {', '.join(SUFFIXES)}."
        )
    try:
        table: pd.DataFrame = readers[path.suffix.lower()](path)
    except PromptError:
        raise
    except PARSE_ERRORS as error:
        raise PromptError(
            f"{path} cannot be read as {path.suffix}: {describe_error(error)}."
        ) from error
    return table


def _lines(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"prompt": read_lines(path, PromptError, MAX_PROMPTS_BYTES)})


def _csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    text = read_text(path, PromptError, MAX_PROMPTS_BYTES)
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = next(_rows(path, rows), [])
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise PromptError(f"{path} has the column {repeated[0]!r} twice: rename one.")
    # pandas would shift the columns of rows with more cells, and fill those with fewer.
    for row in _rows(path, rows):
        if row and len(row) != len(header):
            raise PromptError(
                f"{path}: line {rows.line_num} has {len(row)} cells and the header {len(header)}; "
                "put cells that have a comma in quotes."
            )
    # Prompts and items are texts, also `1984`; `NA` and `None` may be prompts too.
    return pd.read_csv(io.StringIO(text), keep_default_na=False, dtype={"prompt": str, "item": str})


def _rows(path: Path, rows: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from rows
    except csv.Error as error:
        raise PromptError(f"{path} cannot be read as .csv: {describe_error(error)}.") from error
