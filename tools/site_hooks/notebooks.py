"""Notebooks as pages: cells and outputs as they were kept, nothing is run."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PICTURES = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg"}
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page beside every notebook, with its pictures as files."""
    for file in list(files):
        if file.src_uri.endswith(".ipynb") and file.inclusion.is_included():
            path = PurePosixPath(file.src_uri)
            cells = json.loads(Path(file.abs_src_path or "").read_text())["cells"]
            text, pictures = read(cells, path.stem)
            text += f'\n\n<a href="{path.name}" download>Download this notebook</a>\n'
            made: dict[str, str | bytes] = {f"{path.stem}.md": text, **pictures}
            for name, content in made.items():
                files.append(File.generated(config, str(path.with_name(name)), content=content))
    return files


def read(cells: list[dict[str, Any]], stem: str) -> tuple[str, dict[str, bytes]]:
    """The Markdown of cells, and their pictures by name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            parts.append(_fenced(source, "python"))
            parts += [_shown(output, stem, pictures) for output in cell["outputs"]]
        elif source.strip():
            parts.append(source)
    return "\n\n".join(parts), pictures


def _shown(output: dict[str, Any], stem: str, pictures: dict[str, bytes]) -> str:
    """An output in the richest form that a page can show."""
    if output["output_type"] == "stream":
        return _fenced("".join(output["text"]), "text")
    if output["output_type"] == "error":
        return _fenced(COLOURS.sub("", "\n".join(output["traceback"])), "text")
    data = {kind: "".join(text) for kind, text in output["data"].items()}
    for kind, suffix in PICTURES.items():
        if kind in data:
            name = f"{stem}-{len(pictures) + 1}.{suffix}"
            plain = suffix == "svg"
            pictures[name] = data[kind].encode() if plain else base64.b64decode(data[kind])
            return f"![Output]({name})"
    if "text/html" in data:
        return f'<div class="output">\n{data["text/html"]}\n</div>'
    return data.get("text/markdown") or _fenced(data.get("text/plain", ""), "text")


def _fenced(text: str, language: str) -> str:
    longest = max((len(ticks) for ticks in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
