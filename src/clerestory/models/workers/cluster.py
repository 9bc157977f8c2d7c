"""Joins a cluster of Ray, or starts one on this machine; for pools of workers and recordings."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from clerestory.errors import ClerestoryError, describe_error

__all__ = ["cause", "check_address", "cluster", "join", "leave", "loss_errors"]

ANSWER = 5.0
"""Seconds that a cluster has to answer."""
SETTINGS = b"\x04"
"""The type of HTTP/2's frame of settings."""
_GUARD = threading.Lock()
_users = 0
"""How many have joined by a connection that is closed with the last of them."""


def join(address: str | None, workers: int, error: type[ClerestoryError]) -> Any:
    """Connect to a cluster, or start one; a connection that is open already is used.

    Args:
        address: Its address, or `auto` for one that runs on this machine; None starts a local one.
        workers: How many workers a local one can run at once, at least.
        error: Class of errors.

    Returns:
        The module `ray`, connected. Each call needs one of `leave`.

    Raises:
        ClerestoryError: Ray is not installed, or the cluster cannot be joined.
    """
    global _users
    check_address(address, error)
    import ray

    with _GUARD:
        # A connection of the caller is used and left open.
        if _users or not ray.is_initialized():
            if not ray.is_initialized():
                _connect(ray, address, workers, error)
            _users += 1
    return ray


def leave(ray: Any) -> None:
    """Close the connection, or end the local cluster, with the last one that `join` opened it for.

    Args:
        ray: What `join` gave.
    """
    global _users
    with _GUARD:
        if not _users:
            return
        _users -= 1
        if not _users and ray.is_initialized():
            ray.shutdown()


@contextmanager
def cluster(address: str | None, workers: int, error: type[ClerestoryError]) -> Iterator[Any]:
    """Be connected to a cluster for as long as this is open.

    Args:
        address: As for `join`.
        workers: As for `join`.
        error: Class of errors.

    Yields:
        The module `ray`, connected.

    Raises:
        ClerestoryError: As `join`.
    """
    ray = join(address, workers, error)
    try:
        yield ray
    finally:
        leave(ray)


def _connect(ray: Any, address: str | None, workers: int, error: type[ClerestoryError]) -> None:
    where, options = address or "local", dict[str, Any]()  # None would join what was used last
    if where == "local":
        # Workers beyond the cores take turns at them; Ray would never start them.
        options = {"include_dashboard": False, "num_cpus": max(os.cpu_count() or 1, workers)}
    try:
        with _preserve_sigterm():
            ray.init(address=where, log_to_driver=False, logging_level="ERROR", **options)
    # What Ray raises for addresses that it cannot read or that do not answer.
    except (ImportError, OSError, ValueError, RuntimeError, AssertionError) as reason:
        raise error(f"The cluster {where} cannot be joined: {describe_error(reason)}") from reason


def loss_errors(ray: Any) -> tuple[type[Exception], ...]:
    """What Ray raises for a task whose worker, or whose result, was lost.

    Args:
        ray: The module.

    Returns:
        Classes of errors.
    """
    errors = ray.exceptions
    return (
        errors.RayActorError,
        errors.WorkerCrashedError,
        errors.OutOfMemoryError,
        errors.ObjectLostError,
    )


def cause(failed: Any, error: type[ClerestoryError]) -> Exception:
    """What a worker raised, which is more specific than that its task failed.

    Args:
        failed: Ray's `RayTaskError`.
        error: Class of an error that cannot be had here.

    Returns:
        The worker's error.
    """
    inner = getattr(failed, "cause", None)
    return inner if isinstance(inner, Exception) else error(str(failed)[:300])


def check_address(address: str | None, error: type[ClerestoryError]) -> None:
    """Check that Ray is installed and answers at an address, within seconds; Ray waits longer.

    Args:
        address: As for `join`.
        error: Class of errors.

    Raises:
        ClerestoryError: Ray is not installed, the address is none, or nothing like Ray answers.
    """
    if find_spec("ray") is None:
        raise error("Ray is not installed: pip install 'clerestory[ray]' on every machine.")
    if address in (None, "local", "auto"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise error(
            f"The cluster {address!r} cannot be joined: write HOST:PORT, ray://HOST:PORT, or auto."
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER) as connection:
            connection.settimeout(ANSWER)
            # Ray speaks gRPC, and so HTTP/2: both sides begin with their settings.
            connection.sendall(
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
            )
            frame = connection.recv(9)
    except (OSError, UnicodeError) as failure:
        reason = getattr(failure, "strerror", None) or describe_error(failure)
        raise error(f"The cluster {address} cannot be joined: {reason}.") from failure
    if frame[3:4] != SETTINGS:
        raise error(f"The cluster {address} cannot be joined: it is not Ray that answers.")


@contextmanager
def _preserve_sigterm() -> Iterator[None]:
    """Restore the handler of SIGTERM, which `ray.init` replaces."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # Only the main thread may set signal handlers.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
