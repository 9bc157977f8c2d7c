"""What holds for the whole tree: layers, hooks, documents, sizes, names."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import clerestory
from clerestory.registry import Registry

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "clerestory"
FILES = sorted(SOURCE.rglob("*.py"))

SPOKEN = (".md", ".py", ".toml", ".txt", ".yaml", ".yml", ".html", ".css", ".js", "")


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def test_statistics_know_no_files_hooks_or_pictures():
    banned = {"diffusers", "pathlib", "PIL", "zarr", "transformers", "torch"}
    for path in sorted((SOURCE / "stats").glob("*.py")):
        assert not banned & {name.split(".")[0] for name in imports(path)}, path


def test_hooks_live_in_one_file():
    found = [path.name for path in FILES if "register_forward" in path.read_text()]
    assert found == ["hooks.py"]


def modules() -> list[str]:
    walked = pkgutil.walk_packages(clerestory.__path__, "clerestory.")
    return [module.name for module in walked if not module.name.endswith("__main__")]


@pytest.mark.parametrize("name", modules())
def test_every_module_has_a_docstring_and_the_names_that_it_offers(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert all(hasattr(module, entry) for entry in getattr(module, "__all__", ()))


def test_every_registered_name_is_documented():
    pages = "\n".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    for name in modules():
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, Registry):
                for entry in value:
                    assert f"`{entry}`" in pages, f"{value.noun} {entry!r} is in no reference page"


def test_the_public_surface_is_sorted_complete_and_leaks_nothing():
    names = clerestory.__all__
    assert names == sorted(names)
    assert set(dir(clerestory)) == {*names, "__version__"}
    for module in modules():  # a submodule of the same name would replace a verb
        importlib.import_module(module)
    for name in names:
        assert inspect.ismodule(getattr(clerestory, name)) == (name == "errors"), name


def test_every_error_is_exported_and_drawn_in_the_tree():
    from clerestory import errors

    defined = sorted(name for name, value in vars(errors).items() if inspect.isclass(value))
    assert errors.__all__ == [*defined, "describe_error"]
    assert sorted(re.findall(r"(?m)^[ │├└─]+(\w+Error)\b", errors.__doc__ or "")) == defined


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['clerestory', '--help']\n"
        "from clerestory.cli.main import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'xarray', 'diffusers', 'PIL', 'altair', 'pydantic'}\n"
        "heavy |= {'zarr', 'ray', 'sklearn', 'fsspec', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_no_tracked_text_names_a_registry_host_or_a_machine_path():
    hosts = r"registry\.npm|files\.python" + r"hosted|py" + r"pi\.org"
    paths = r"(?<![\w.~{}*$-])/(?:work|root|home|Users|opt|mnt)/"
    named = re.compile(f"{hosts}|{paths}", re.IGNORECASE)
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    for name in done.stdout.splitlines():
        path = ROOT / name
        if path.suffix in SPOKEN and path.name != "test_house.py" and path.exists():
            found = named.search(path.read_text())
            assert not found, f"{name}: {found and found.group()}"


def test_links_between_documents_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page}: {target}"


def test_no_two_test_files_share_a_name():
    """Outside packages pytest imports them by name, and collects only the first of two."""
    paths = (ROOT / "tests").rglob("test_*.py")
    names = [path.name for path in paths if not (path.parent / "__init__.py").exists()]
    assert sorted(names) == sorted(set(names))
