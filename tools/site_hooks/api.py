"""The pages of `reference/api`: what each public package offers, read from its source.

Nothing is imported; a page has what stands in the package's `__all__`, functions first.
"""

from __future__ import annotations

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

SOURCE = Path(__file__).parents[2] / "src" / "clerestory"
PACKAGES = (
    "models",
    "recordings",
    "contrasts",
    "causal",
    "classifiers",
    "evaluation",
    "maximization",
    "attribution",
    "recognition",
    "suppression",
    "edits",
    "steering",
    "studies",
    "microscope",
    "diagnostics",
    "stats",
    "registry",
    "errors",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every public package, and one that lists them."""
    pages = {"index": index()} | {name: page(name) for name in PACKAGES}
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/api/{name}.md", content=text))
    return files


def index() -> str:
    """The page of `clerestory` itself: its names, and the packages with their first sentence."""
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    homes = _homes(tree)
    names = [f"- [`clerestory.{name}`]({_target(name, homes[name])})" for name in _offered(tree)]
    packages = [f"- [`clerestory.{name}`]({name}.md): {_summary(name)}" for name in PACKAGES]
    return "\n".join(
        [
            "# The Python interface\n",
            _module("clerestory"),
            "\n## At hand\n",
            *names,
            "\n## Packages\n",
            *packages,
        ]
    )


def _target(name: str, home: str) -> str:
    """Where a name is documented: a submodule on its own page, others on their package's."""
    if home == "clerestory":
        return f"{name}.md"
    package = home.split(".")[1]
    return f"{package}.md#{_documented_module(package, name)}.{name}"


def page(name: str) -> str:
    """The page of a package; a name that is a file's too is asked for inside of that file."""
    tree = _tree(name)
    parts = [f"# `clerestory.{name}`\n", _module(f"clerestory.{name}")]
    parts += [f"\n::: {_documented_module(name, one)}.{one}" for one in _offered(tree)]
    return "\n".join(parts)


def _documented_module(package: str, name: str) -> str:
    """The package or, for a name that is also a file in it, the module that defines the name."""
    is_file = (SOURCE / package / f"{name}.py").exists()
    return _homes(_tree(package))[name] if is_file else f"clerestory.{package}"


def _module(module: str) -> str:
    """A module's docstring, without its members."""
    options = dict.fromkeys(("members", "show_root_heading", "show_root_toc_entry"), "false")
    lines = [f"\n      {option}: {value}" for option, value in options.items()]
    return f"::: {module}\n    options:{''.join(lines)}"


def _tree(name: str) -> ast.Module:
    path = SOURCE / f"{name}.py"
    return ast.parse((path if path.exists() else SOURCE / name / "__init__.py").read_text())


def _homes(tree: ast.Module) -> dict[str, str]:
    """The module that each name is imported from."""
    return {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _summary(name: str) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(_tree(name)) or "").partition("\n")[0]


def _offered(tree: ast.Module) -> list[str]:
    """The names in `__all__`: functions, then classes, then constants."""
    names = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return sorted(names, key=lambda name: (name.isupper(), name[0].isupper(), name))
