"""Execute the notebooks anew and keep what they give; some minutes each.

python tools/run_notebooks.py [style|mood|knowledge]      # all by default

Each runs in an empty folder. No times, no names of machines and no progress are kept.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from paths import DOCS

FOLDER = DOCS / "notebooks"
QUIET = {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore:IProgress not found"}
CLEARED = {"text/plain": ""}
"""What progress leaves in a cell's output at the end."""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def execute(path: Path) -> None:
    """Run one notebook in place."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as place:
        where = {"metadata": {"path": place}}
        client = NotebookClient(notebook, timeout=None, resources=where, record_timing=False)
        client.execute(env={**os.environ, **QUIET})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("data") != CLEARED]
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    nbformat.write(notebook, path)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            execute(path)
