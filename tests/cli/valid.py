"""What commands are given to read, each made when it is first asked for, of one tiny model."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import WIDTH, tiny_pipeline

SITE = "text.blocks.1/mlp"
UNIT = f"{SITE}[0]"
CONTENTS = [f"{a} {b}" for a, b in itertools.product("abcdefgh", "klmnopqr")]


class Valid:
    """Files and folders of every kind that a command takes, in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def model(self) -> Path:
        """A pipeline of 16×16 pictures."""
        folder = self.root / "model"
        tiny_pipeline(window=64).save_pretrained(folder)
        return folder

    @cached_property
    def _opened(self) -> Any:
        import clerestory

        return clerestory.load(str(self.model))

    @cached_property
    def recording(self) -> Path:
        """Pictures in two styles, each with every content, in two templates."""
        rows = [
            {"prompt": phrase.format(f"{style} {content}"), "style": style, "subject": content}
            for style, content, phrase in itertools.product(
                ("cat", "dog"), CONTENTS[:50], ("the {}", "{} a")
            )
        ]
        from clerestory.recordings import record

        how = {"sites": SITE, "seeds": 0, "height": 16, "width": 16, "steps": 2, "prior_steps": 2}
        record(self._opened, pd.DataFrame(rows), out=self.root / "recording", **how)
        return self.root / "recording"

    @cached_property
    def findings(self) -> Path:
        """What tells the two styles apart."""
        from clerestory.contrasts import find
        from clerestory.recordings import Recording

        sides = {"positive": "style == 'cat'", "negative": "style == 'dog'", "match": ["subject"]}
        found = find(Recording.open(self.recording), **sides, top=2)
        found.save(self.root / "findings")
        return self.root / "findings"

    @cached_property
    def steered(self) -> Path:
        """One edit."""
        from clerestory.edits import Add
        from clerestory.steering import SteeredModel

        edit = Add("prior/embedding", np.ones(WIDTH), 2.0)
        return SteeredModel(self._opened, [edit]).save(self.root / "steered")

    @cached_property
    def dictionary(self) -> Path:
        """A random one, of the recorded site."""
        from clerestory.dictionaries import Dictionary

        width = self._opened.sites[SITE].shape[1]
        Dictionary.random(width, 12, site=SITE).save(self.root / "dictionary")
        return self.root / "dictionary"

    @cached_property
    def scope(self) -> Path:
        """A microscope of the recording."""
        from clerestory.microscope import Themes, build
        from clerestory.recordings import Recording

        build([Recording.open(self.recording)], self.root / "scope")
        list(Themes(self.root / "scope" / "themes.sqlite").export())
        with closing(sqlite3.connect(self.root / "scope" / "themes.sqlite")) as themes:
            themes.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self.root / "scope"

    @cached_property
    def searched(self) -> Path:
        """What is read of a finished search."""
        folder = self.root / "searched"
        folder.mkdir()
        best = [{"words": word} for word in ("cat", "dog", "a b")]
        (folder / "maximization.json").write_text(json.dumps({"best": best}))
        return folder

    @cached_property
    def report(self) -> Path:
        """A folder with a report."""
        folder = self.root / "report"
        folder.mkdir()
        (folder / "report.html").write_text("<title>Styles</title>")
        return folder

    @cached_property
    def lines(self) -> Path:
        """Contents, one a line, those first that are not in the recording."""
        return self._text("lines.txt", "\n".join(reversed(CONTENTS)) + "\n")

    @cached_property
    def prompts(self) -> Path:
        """A table of prompts."""
        return self._text("prompts.csv", "prompt,style\na cat,plain\na dog,plain\n")

    @cached_property
    def themes(self) -> Path:
        """No theme at all."""
        return self._text("themes.jsonl", "")

    @cached_property
    def marks(self) -> Path:
        """A table of marks of one picture."""
        return self._text("marks.csv", "sample,picture,marked\n0,abc,dark\n")

    @cached_property
    def lora(self) -> Path:
        """A LoRA of nothing."""
        from safetensors.numpy import save_file

        save_file({"nothing": np.zeros(1)}, self.root / "lora.safetensors")
        return self.root / "lora.safetensors"

    @cached_property
    def world(self) -> Path:
        """The built-in world's table, copied."""
        from lancet.world.table import BUILT_IN

        return Path(shutil.copy(BUILT_IN, self.root / "world.toml"))

    @cached_property
    def lancet(self) -> Path:
        """The shipped Lancet, copied."""
        from lancet.checkpoint import SHIPPED

        if not (SHIPPED / "manifest.json").exists():
            pytest.skip("Lancet's weights are not in this tree")
        return Path(shutil.copytree(SHIPPED, self.root / "lancet"))

    @cached_property
    def art(self) -> Path:
        """Sprites of one emoji, which are enough to be opened."""
        from lancet.world.art import pack

        pack(self.root / "art", [("noto", "🐱", np.full((8, 8, 4), 255, np.uint8))])
        return self.root / "art"

    def _text(self, name: str, text: str) -> Path:
        (self.root / name).write_text(text)
        return self.root / name
