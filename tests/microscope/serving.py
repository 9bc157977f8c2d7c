"""A server of a microscope's pages, in a thread of the test."""

import socket
import threading

import uvicorn

from clerestory.microscope import application


class Served:
    """The address of its pages, for as long as the block takes."""

    def __init__(self, scope, opens, **how):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        pages = application(scope, opens, **how)
        config = uvicorn.Config(
            pages, port=self.port, log_level="error", timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        while not self.server.started:
            self.thread.join(0.05)
        return f"http://127.0.0.1:{self.port}"

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join()
