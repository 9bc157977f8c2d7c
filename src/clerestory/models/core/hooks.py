"""The only torch hooks: `attach` puts them on for a run, and they never outlive it.

- transformers captures hidden states with hooks of its own, so ours go before them (`prepend`).
- An early stop is an exception that is raised and caught in this file.
- Calls of the same modules in other threads are neither edited nor counted.

What a hook does to a value is in `attachment.py`, what was not reached in `visits.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from weakref import WeakSet

from torch import Tensor, nn

from clerestory.errors import ModelError
from clerestory.models.core.attachment import Attachment
from clerestory.models.core.family import SiteHook
from clerestory.models.core.rows import Rows, is_row_list

__all__ = [
    "attach",
    "change_inputs",
    "halt_before",
    "watch_calls",
    "watch_inputs",
    "watch_outputs",
]


@contextmanager
def attach(attachment: Attachment, stage_modules: Mapping[str, nn.Module]) -> Iterator[Attachment]:
    """Hook an attachment's sites and their stages, for as long as this is open.

    Args:
        attachment: The edits and taps.
        stage_modules: The modules whose calls count as calls of a stage, by stage.

    Yields:
        The attachment. All hooks are removed at the end, also after an error.

    Raises:
        SiteError: At the end, where an edit was never applied or a tap never called.
        ModelError: A run of these modules is in progress, whose tap or edit starts this one.
    """
    with ExitStack() as hooks:
        hooks.enter_context(_claim(stage_modules.values()))
        for address, site_hook in attachment.site_hooks.items():
            if site_hook.module is None:
                continue
            if site_hook.is_input:
                handle = site_hook.module.register_forward_pre_hook(
                    _input_hook(attachment, address), prepend=True, with_kwargs=True
                )
            else:
                handle = site_hook.module.register_forward_hook(
                    _output_hook(attachment, address), prepend=True
                )
            hooks.callback(handle.remove)
        # Only stages with a site that is hooked are counted. A stage's own hook runs after those of
        # its sites, whose hooks are prepended, also where the site is the stage's module.
        stages = {site_hook.site.stage for site_hook in attachment.site_hooks.values()}
        stages |= attachment.counted_stages
        for stage in stages & stage_modules.keys():
            handle = stage_modules[stage].register_forward_hook(_count_hook(attachment, stage))
            hooks.callback(handle.remove)
        yield attachment
        # Not in a `finally`: after an error in the block that error is the one to see.
        attachment.finish(stage_modules)


_MODULES_IN_USE: WeakSet[nn.Module] = WeakSet()
"""Modules with hooks of a run. Other threads wait for their turn at `hold_pipeline`."""


@contextmanager
def _claim(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Refuse a run within a run: the inner one would be edited and counted as the outer one."""
    in_use = [module for module in set(modules) if isinstance(module, nn.Module)]
    if any(module in _MODULES_IN_USE for module in in_use):
        raise ModelError("A run of this model is in progress: a tap or an edit cannot run it too.")
    _MODULES_IN_USE.update(in_use)
    try:
        yield
    finally:
        _MODULES_IN_USE.difference_update(in_use)


@contextmanager
def watch_outputs(
    modules: Mapping[str, nn.Module], callback: Callable[[str, Any], None]
) -> Iterator[None]:
    """Call a function with what modules return, after any edits, for as long as this is open.

    Args:
        modules: Modules by name.
        callback: Called with the name and the output, which it must not change.

    Yields:
        Nothing; the hooks are removed at the end.
    """

    def output_hook(name: str) -> Callable[..., None]:
        return lambda module, args, output: callback(name, output)

    with ExitStack() as hooks:
        for name, module in modules.items():
            # Not prepended: edits come first.
            hooks.callback(module.register_forward_hook(output_hook(name)).remove)
        yield


@contextmanager
def watch_inputs(
    modules: Mapping[str, nn.Module],
    callback: Callable[[str, Sequence[Any], Mapping[str, Any]], None],
) -> Iterator[None]:
    """Call a function with what modules are given, before any edits, for as long as this is open.

    Args:
        modules: Modules by name.
        callback: Called in this thread with the name, the arguments by position and those by name,
            which it must not change.

    Yields:
        Nothing; the hooks are removed at the end.
    """
    thread = threading.get_ident()

    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            if threading.get_ident() == thread:
                callback(name, args, kwargs)

        return hook

    with ExitStack() as hooks:
        for name, module in modules.items():
            handle = module.register_forward_pre_hook(hook_of(name), prepend=True, with_kwargs=True)
            hooks.callback(handle.remove)
        yield


@contextmanager
def change_inputs(
    modules: Mapping[str, nn.Module],
    change: Callable[[str, tuple[Any, ...], dict[str, Any]], tuple[Any, Any] | None],
) -> Iterator[None]:
    """Let a function see, and perhaps replace, what modules are given, after any edits.

    Args:
        modules: Modules by name.
        change: Called in this thread with the name, the arguments by position and those by name;
            returns what takes their place, or None to leave them.

    Yields:
        Nothing; the hooks are removed at the end.
    """
    thread = threading.get_ident()

    def hook_of(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
            return change(name, args, kwargs) if threading.get_ident() == thread else None

        return hook

    with ExitStack() as hooks:
        for name, module in modules.items():
            # Not prepended: edits come first.
            handle = module.register_forward_pre_hook(hook_of(name), with_kwargs=True)
            hooks.callback(handle.remove)
        yield


@contextmanager
def watch_calls(
    modules: Mapping[str, nn.Module],
    begin: Callable[[str], None],
    end: Callable[[str], None],
) -> Iterator[None]:
    """Call functions when modules are called and when they return, for as long as this is open.

    Args:
        modules: Modules by name.
        begin: Called in this thread with the name before the module runs.
        end: Called with the name after it has run, also where it raised.

    Yields:
        Nothing; the hooks are removed at the end.
    """
    thread = threading.get_ident()

    def hook_of(callback: Callable[[str], None], name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            if threading.get_ident() == thread:
                callback(name)

        return hook

    with ExitStack() as hooks:
        for name, module in modules.items():
            handle = module.register_forward_pre_hook(hook_of(begin, name))
            hooks.callback(handle.remove)
            handle = module.register_forward_hook(hook_of(end, name), always_call=True)
            hooks.callback(handle.remove)
        yield


# An exception is the only way out of a pipeline's loop from within a module.
class _HaltError(Exception):
    """Raised and caught by `halt_before` only."""


@contextmanager
def halt_before(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Leave the block, without an error, when one of these modules is about to be called.

    Args:
        modules: Modules; an early stop is the first call of any of them.

    Yields:
        Nothing; the modules stop the block while this is open.
    """

    thread = threading.get_ident()

    def halt(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == thread:
            raise _HaltError

    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_pre_hook(halt, prepend=True).remove)
        hooks.enter_context(suppress(_HaltError))
        yield


def _visit(attachment: Attachment, address: str, value: Rows) -> Rows:
    """A value after a visit, the same object where it is not edited."""
    if not isinstance(value, Tensor) or not attachment.site_hooks[address].positions_first:
        return attachment.visit(address, value)
    # A view, of which a copy has the same strides.
    rows = value.transpose(0, 1)
    result = attachment.visit(address, rows)
    return value if result is rows or not isinstance(result, Tensor) else result.transpose(0, 1)


def _output_hook(attachment: Attachment, address: str) -> Callable[..., Any]:
    index = attachment.site_hooks[address].output_index

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        if not attachment.is_listening:
            return None
        value = _output_value(attachment.site_hooks[address], output)
        if not isinstance(value, Tensor) and not is_row_list(value):
            attachment.set_unreadable(
                address, f"gives a {_describe(output, value)} in place of a tensor"
            )
            return None
        result = _visit(attachment, address, value)
        if result is value:
            return None
        return result if output is value else _replace_output(output, index, result)

    return hook


def _output_value(site_hook: SiteHook, output: Any) -> Any:
    """What a module gives at a site: all of its output, or one of several values."""
    if isinstance(output, Tensor) or (isinstance(output, list) and _has_rows(site_hook, output)):
        return output
    values = list(output.values()) if isinstance(output, Mapping) else output
    several = isinstance(values, list | tuple) and site_hook.output_index < len(values)
    return values[site_hook.output_index] if several else None


def _has_rows(site_hook: SiteHook, output: list[Any]) -> bool:
    """Whether a list has a tensor for each row, rather than several values."""
    if not is_row_list(output):
        return False
    units = site_hook.site.shape[1]
    if units is None:
        # Networks that take and give lists (Z-Image) do so by rows.
        return "." not in site_hook.site.path
    return all(units == row.shape[-1 if row.ndim < 3 else 0] for row in output)


def _describe(output: Any, value: Any) -> str:
    outer, inner = type(output).__name__, type(value).__name__
    return outer if value is output else f"{outer} with a {inner}"


def _replace_output(output: Any, index: int, result: Rows) -> Any:
    """A module's several values with one of them replaced, of the same type."""
    # transformers and diffusers return ordered mappings (`ModelOutput`), which must keep their
    # type.
    if isinstance(output, Mapping):
        names = list(output)
        return type(output)(**{**output, names[index]: result})
    values = [result if position == index else value for position, value in enumerate(output)]
    # Named tuples take their fields one by one.
    return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)


def _input_hook(attachment: Attachment, address: str) -> Callable[..., Any]:
    site_hook = attachment.site_hooks[address]
    name, index = site_hook.argument_name, site_hook.argument_index

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not attachment.is_listening:
            return None
        # Pipelines pass the value by name or by position, and leave out optional ones.
        value = kwargs[name] if name in kwargs else args[index] if index < len(args) else None
        if not isinstance(value, Tensor) and not is_row_list(value):
            kind, argument = type(value).__name__, name or f"argument {index}"
            attachment.set_unreadable(
                address, f"is given a {kind} as {argument} in place of a tensor"
            )
            return None
        result = _visit(attachment, address, value)
        if result is value:
            return None
        if name in kwargs:
            return args, {**kwargs, name: result}
        return (*args[:index], result, *args[index + 1 :]), kwargs

    return hook


def _count_hook(attachment: Attachment, stage: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        if attachment.is_listening:
            attachment.end_call(stage)

    return hook
