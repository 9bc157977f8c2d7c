"""An address at which no cluster answers is one line within seconds."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from clerestory.errors import RecordingError
from clerestory.models.workers import cluster


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def refused(address: str, match: str) -> None:
    started = time.monotonic()
    with pytest.raises(RecordingError, match=match) as caught:
        cluster.check_address(address, RecordingError)
    assert "\n" not in str(caught.value) and time.monotonic() - started < 8


@pytest.mark.parametrize(
    "address", ["nonsense", "", "host", "host:", ":6379", "host:ray", "host:99999", "ray://host"]
)
def test_what_is_no_address_is_told_how_to_write_one(address: str) -> None:
    refused(address, "write HOST:PORT, ray://HOST:PORT, or auto")


def test_a_port_that_nobody_listens_at_is_refused(server: socket.socket) -> None:
    _, port = server.getsockname()
    server.close()
    refused(f"127.0.0.1:{port}", "cannot be joined: .*refused")
    refused(f"ray://127.0.0.1:{port}", "cannot be joined: .*refused")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"SSH-2.0-x\r\n"])
def test_a_server_that_is_not_ray_is_refused(answer: bytes, server: socket.socket) -> None:
    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(64)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    refused(f"127.0.0.1:{server.getsockname()[1]}", "not Ray that answers|reset")
    thread.join()


def test_a_server_that_never_answers_is_given_up(
    server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER", 0.2)
    refused(f"127.0.0.1:{server.getsockname()[1]}", "timed out")


def test_a_server_that_speaks_http_2_may_be_a_cluster(server: socket.socket) -> None:
    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            connection.recv(64)

    thread = threading.Thread(target=serve)
    thread.start()
    cluster.check_address(f"127.0.0.1:{server.getsockname()[1]}", RecordingError)
    thread.join()
