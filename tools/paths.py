"""Folders of the repository that the scripts read and write."""

from pathlib import Path

__all__ = ["BUILD", "DOCS", "PICTURES", "RESULTS", "ROOT"]

ROOT = Path(__file__).resolve().parents[1]
DOCS, RESULTS, BUILD = ROOT / "docs", ROOT / "results", ROOT / "build"
PICTURES = DOCS / "pictures"
