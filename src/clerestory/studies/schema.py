"""A study's file: the question, its classifiers, and tasks by kind and name.

name = "stained-glass"
question = "Where does the model keep …?"
headline = ["build.glass"]

[classifiers.style]
profile = "style"
default = "zero-shot:openai/clip-vit-large-patch14[stained glass, plain]"

[record.styles]
…
[find.glass]
record = "styles"
…
[quick."find.glass"]
top = 10
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError

from clerestory.arguments import checked
from clerestory.classifiers.base import is_code
from clerestory.errors import RegistryError, TableError
from clerestory.io.reading import read_toml
from clerestory.models.profile import ModelProfile
from clerestory.registry import load_plugin, plugins, suggest
from clerestory.studies.tasks import Task, tasks

__all__ = ["SCALES", "Scale", "Study", "StudyClassifier", "built_in_studies", "study_file"]

GROUP = "clerestory.studies"
"""Entry points of packages whose TOML files are studies, known by their names."""
Scale: TypeAlias = Literal["quick", "full"]
SCALES: tuple[Scale, Scale] = ("quick", "full")
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
CODE = re.compile(r"^python:\S+|(?<!\w)python:[\w.]+:\w+")
"""A classifier that is code, by itself or in a query or sum."""


class StudyClassifier(BaseModel):
    """A classifier of a study: the model's own where its profile has one, else a default.

    Attributes:
        profile: The factor under which the model's profile lists a classifier of its own.
        default: The classifier for models whose profile lists none.
        labels: What `default` calls the labels that the tasks name, where it calls them otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = ""
    default: str = ""
    labels: dict[str, str] = {}

    def choose(self, profile: ModelProfile) -> str:
        """The classifier for a model; "" where there is none.

        Args:
            profile: The model's profile.

        Returns:
            The classifier's full name.
        """
        return profile.classifiers.get(self.profile, "") or self.default


class Study(BaseModel):
    """A question about a model, and the tasks that answer it.

    It holds everything besides the model that the figures depend on.

    Attributes:
        name: A name of lower-case letters, digits and dashes.
        question: The question.
        headline: The tasks whose claims make the answer.
        classifiers: The classifiers that the tasks name.
        plan: The tasks by key, `find.glass`, each after those that it needs.
        file: The path that it was read from, as it was given; "" for a built-in study.
        scale: How much is drawn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=f"^{NAME.pattern}$", max_length=60)
    question: str = Field(min_length=1, max_length=400)
    headline: tuple[str, ...] = Field(min_length=1)
    classifiers: dict[str, StudyClassifier] = {}
    plan: dict[str, SerializeAsAny[Task]] = Field(min_length=1)
    file: str = ""
    scale: Scale = "full"

    @classmethod
    @checked()
    def load(cls, source: str | Path, scale: Scale = "full") -> Study:
        """Read a study.

        Args:
            source: The name of a built-in study, or a TOML file.
            scale: `quick` for the smaller one that the file describes.

        Returns:
            The study, checked.

        Raises:
            RegistryError: No study has this name.
            TableError: The file does not describe a study; with the field, and what is possible.
        """
        path = study_file(source)
        # By its path: only an installed file is trusted, whatever another one is called.
        file = "" if path in _built_in_files().values() else str(source)
        try:
            data = read_toml(path, TableError)
        except TableError as error:
            raise TableError(f"{path} cannot be read as a study: {error}") from error
        try:
            return cls.from_dict(data, scale, file=file)
        except ValidationError as error:
            raise TableError(f"{file or path.stem}: {_describe_error(error)}.") from error
        except TableError as error:
            raise TableError(f"{file or path.stem}: {error}") from error

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], scale: Scale = "full", *, file: str = "") -> Study:
        """A study at a scale, from what its file holds.

        Args:
            data: The tables and fields of a study's file.
            scale: `quick` for the fields of the table `quick` in place of others.
            file: The file's name, as it was given; "" for a built-in study.

        Returns:
            The study, checked.

        Raises:
            TableError: A task, a field or a reference is wrong.
            ValidationError: A field of the study itself is.
        """
        # A copy, since tables are taken out of it below.
        fields = dict(data)
        quick = _table("quick", fields.pop("quick", {}))
        # Tables of tasks are named by kinds; the other fields are the study's own.
        tables = {kind: fields.pop(kind) for kind in list(fields) if kind in tasks}
        possible = sorted(set(cls.model_fields) - {"plan", "file", "scale"})
        unknown = sorted(set(fields) - set(possible))
        if unknown:
            hint = suggest(unknown[0], [*possible, *tasks, "quick"])
            raise TableError(f"{unknown[0]!r} is no field.{hint}")
        # Both scales are read, so that an error in either shows at once.
        plans: dict[Scale, dict[str, Task]] = {
            "full": dict(_read_tasks(tables, {})),
            "quick": dict(_read_tasks(tables, quick)),
        }
        for key in quick:
            if key not in plans["full"]:
                hint = suggest(key, plans["full"])
                raise TableError(f"quick has {key!r}, which is no task.{hint}")
        for name in _table("classifiers", fields.get("classifiers", {})):
            if not NAME.fullmatch(name):
                raise TableError(
                    f"classifiers: name {name!r} with lower-case letters, digits and dashes."
                )
        plan = {key: task for key, task in plans[scale].items() if not task.skip}
        return cls(**fields, plan=_sort_by_needs(plan), file=file, scale=scale).check()

    @classmethod
    def from_definition(cls, definition: Mapping[str, Any]) -> Study:
        """The study whose `model_dump` is given.

        Args:
            definition: What `model_dump` gave, as in `results.json`.

        Returns:
            An equal study, checked.

        Raises:
            TableError: It is none.
        """
        try:
            # Tasks by kind first: pydantic alone would validate each as the base class.
            fields = {**definition, "plan": dict(_tasks_of_plan(definition["plan"]))}
            return cls.model_validate(fields).check()
        except (KeyError, TypeError, AttributeError) as error:
            raise TableError("The definition of the study was altered.") from error
        except ValidationError as error:
            raise TableError(f"The definition of the study: {_describe_error(error)}.") from error

    def check(self) -> Study:
        """Check that the parts fit together.

        Returns:
            The study itself.

        Raises:
            TableError: A task names a classifier, task or code that the study cannot have, or makes
                no claims where some are needed.
        """
        for key, task in self.plan.items():
            for needed in task.requires_support:
                if not self.plan[needed].makes_claims:
                    raise TableError(f"{key}.requires_support: {needed} makes no claims.")
            for name, _ in task.predicted_labels():
                # A name with a colon is a classifier's full name.
                if name not in self.classifiers and ":" not in name:
                    hint = suggest(name, self.classifiers)
                    raise TableError(f"{key}: the study has no classifier {name!r}.{hint}")
            # Anywhere in a task: queries and sums name classifiers too.
            code = next((text for text in _strings(task.model_dump()) if CODE.search(text)), None)
            if code is not None:
                raise TableError(
                    f"{key} names {code[:80]!r}, which is code, and a file cannot bring any: put a "
                    "name there, with a table [classifiers.NAME], and give --classifier "
                    "NAME=python:MODULE:FUNCTION."
                )
            try:
                task.check_plan(self.plan, self.classifiers)
            except TableError as error:
                raise TableError(f"{key}.{error}") from error
        for key in self.headline:
            if key not in self.plan:
                raise TableError(f"headline: {key!r} is no task.{suggest(key, self.plan)}")
            if not self.plan[key].makes_claims:
                raise TableError(f"headline: {key} makes no claims.")
        return self

    def choose_classifiers(
        self, profile: ModelProfile, overrides: Mapping[str, str]
    ) -> dict[str, str]:
        """The classifiers for a model by the study's names.

        Args:
            profile: The model's profile.
            overrides: Classifiers in place of the study's, by name.

        Returns:
            Classifiers' full names, by the study's names.

        Raises:
            TableError: One has none for this model, or the file names code, which only the person
                who runs the study may do.
        """
        unknown = [name for name in overrides if name not in self.classifiers]
        if unknown:
            hint = suggest(unknown[0], self.classifiers)
            raise TableError(f"The study has no classifier {unknown[0]!r}.{hint}")
        chosen = {}
        for name, entry in self.classifiers.items():
            chosen[name] = overrides.get(name) or entry.choose(profile)
            if name not in overrides and is_code(chosen[name]):
                raise TableError(
                    f"{self.file or self.name}: classifiers.{name} is {chosen[name][:80]!r}, which "
                    "is code, and a file cannot bring any. If you trust it: --classifier "
                    f"{name}={' '.join(chosen[name][:80].split())}"
                )
            if not chosen[name]:
                raise TableError(
                    f"classifiers.{name} has no default, and the model's profile no such "
                    f"classifier: give --classifier {name}=NAME."
                )
        return chosen

    def trusted_classifiers(self, overrides: Mapping[str, str], profile: ModelProfile) -> set[str]:
        """Classifiers that may be loaded, and fetched from a hub.

        They are the overrides, the profile's, and a built-in study's, but not those of any other
        file; code is trusted only among the overrides.

        Args:
            overrides: Classifiers in place of the study's, by name: from the command line or
                Python.
            profile: The model's profile.

        Returns:
            Classifiers' full names.
        """
        # A file that is not installed may come from anybody.
        entries = () if self.file else self.classifiers.values()
        installed = {*profile.classifiers.values(), *(entry.default for entry in entries)}
        # What the user gave on the command line is trusted whatever it is.
        return {*overrides.values(), *(name for name in installed if not is_code(name))}

    def label_names(
        self, chosen: Mapping[str, str], profile: ModelProfile
    ) -> dict[str, Mapping[str, str]]:
        """What the chosen classifiers call the study's labels.

        A classifier of the model's own profile calls them as the study does.

        Args:
            chosen: What `choose_classifiers` gave.
            profile: The model's profile.

        Returns:
            By the study's name of a classifier: what the chosen one calls each label. Labels that
            it calls the same are left out.
        """
        return {
            name: {} if chosen[name] == profile.classifiers.get(entry.profile) else entry.labels
            for name, entry in self.classifiers.items()
        }

    def digests(
        self,
        chosen: Mapping[str, str],
        label_names: Mapping[str, Mapping[str, str]],
        *dependencies: str,
    ) -> dict[str, str]:
        """Digests of all that the tasks' results depend on, the tasks that they need included.

        Args:
            chosen: The classifiers that are used.
            label_names: What these call the study's labels.
            dependencies: What else the results depend on, such as the model's weights.

        Returns:
            16 hexadecimal digits for each task.
        """
        digests: dict[str, str] = {}
        for key, task in self.plan.items():
            used = {
                name: [classifier, label_names[name]]
                for name, classifier in chosen.items()
                if task.uses_classifier(name)
            }
            # Without defaults: a field that is written out with its default value changes nothing.
            parts = [key, task.model_dump(mode="json", exclude_defaults=True), used, *dependencies]
            # A chain of digests: a change far upstream changes every task after it.
            parts += [digests[needed] for needed in _needs(task)]
            # Sorted, so that the order of a table's fields does not matter.
            text = json.dumps(parts, sort_keys=True)
            digests[key] = hashlib.sha256(text.encode()).hexdigest()[:16]
        return digests


def built_in_studies() -> tuple[Study, ...]:
    """The studies of installed packages, by name."""
    return tuple(Study.load(path) for path in _built_in_files().values())


def study_file(source: str | Path) -> Path:
    """The file of a built-in study, or the file itself.

    Args:
        source: The name of a built-in study, or a file, which ends in .toml.

    Returns:
        The file, which need not exist.

    Raises:
        RegistryError: No study has this name.
    """
    if isinstance(source, Path) or source.endswith(".toml"):
        return Path(source)
    known = _built_in_files()
    if source not in known:
        hint = suggest(source, known)
        raise RegistryError(f"No study is called {source!r}.{hint} A file must end in .toml.")
    return known[source]


def _built_in_files() -> dict[str, Path]:
    """The TOML files beside the packages that entry points name, by the studies' names."""
    files: dict[str, Path] = {}
    for entry in plugins(GROUP).values():
        folder = Path(load_plugin(entry).__file__).parent
        files |= {path.stem: path for path in folder.glob("*.toml")}
    return dict(sorted(files.items()))


def _needs(task: Task) -> tuple[str, ...]:
    """Keys of the tasks that run before a task."""
    return tuple(dict.fromkeys((*task.needs(), *task.requires_support)))


def _sort_by_needs(plan: Mapping[str, Task]) -> dict[str, Task]:
    """Each task after those that it needs; else in the order of the file.

    Raises:
        TableError: A task needs one that is not there, or itself, by way of others.
    """
    for key, task in plan.items():
        for needed in _needs(task):
            if needed not in plan:
                # Not the task itself: needing that would be a circle.
                hint = suggest(needed, [name for name in plan if name != key])
                raise TableError(f"{key} needs {needed!r}, which is no task.{hint}")
    sorter = TopologicalSorter({key: _needs(task) for key, task in plan.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        # graphlib lists each task before the one that needs it.
        cycle = " needs ".join(reversed(error.args[1]))
        raise TableError(f"{cycle}: no order of tasks is possible.") from error
    keys, ready = list(plan), list[int]()
    ordered: dict[str, Task] = {}
    positions = {key: position for position, key in enumerate(keys)}
    while sorter.is_active():
        # Of those that are ready, the first of the file: the order is always the same.
        for key in sorter.get_ready():
            heappush(ready, positions[key])
        first = keys[heappop(ready)]
        ordered[first] = plan[first]
        sorter.done(first)
    return ordered


def _read_tasks(tables: Mapping[str, Any], quick: Mapping[str, Any]) -> Iterator[tuple[str, Task]]:
    """Each task with its key; `quick` has fields in place of the file's."""
    for kind, table in tables.items():
        for name, fields in _table(kind, table).items():
            key = f"{kind}.{name}"
            if not NAME.fullmatch(name):
                raise TableError(f"{key!r}: name a task with lower-case letters, digits, dashes.")
            yield key, _task(kind, key, {**_table(key, fields), **_table(key, quick.get(key, {}))})


def _tasks_of_plan(plan: Mapping[str, Any]) -> Iterator[tuple[str, Task]]:
    for key, fields in plan.items():
        yield key, _task(key.partition(".")[0], key, fields)


def _task(kind: str, key: str, fields: Mapping[str, Any]) -> Task:
    """A task of validated fields; TableError with the field where one is wrong."""
    try:
        return tasks[kind].model_validate(fields)
    except ValidationError as error:
        # An error of the whole table has no field, and is called one of the study.
        text = f"{key}.{_describe_error(error)}.".replace(".the study:", ":", 1)
        raise TableError(text) from error


def _table(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TableError(f"{name} must be a table, as [{name}.NAME].")
    return value


def _strings(value: Any) -> Iterator[str]:
    """Every string in a task's fields, however deep, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            # Keys come from the file as well.
            yield from _strings(name)
            yield from _strings(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _strings(item)


def _describe_error(error: ValidationError) -> str:
    """The first error: the field, what is possible, and the value found."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the study"
    got = repr(first.get("input"))[:60]
    return f"{field}: {str(first['msg']).removeprefix('Value error, ')} (got {got})"
