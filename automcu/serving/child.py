"""The process that serves a local model where there is no Ray; started by `automcu.serving.local`.

It is asked once, for the port, and serves until its parent closes it or ends.
"""

import threading
import time
from pathlib import Path
from typing import Any

import uvicorn

from automcu.child import Frame, serve
from automcu.errors import InfraFailure
from automcu.serving.app import build_app
from automcu.serving.engine import Engine, LocalModel


def _start(request: Frame) -> Frame:
    asked: dict[str, Any] = dict(request.header)
    weights = asked["weights"]
    model = LocalModel(None if weights is None else Path(weights), asked["threads"], asked["context_tokens"])
    app = build_app(Engine(model), asked["key"])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise InfraFailure("the local model has no port to answer on; close other programs")
        time.sleep(0.02)
    return Frame({"port": server.servers[0].sockets[0].getsockname()[1]}, {})


if __name__ == "__main__":
    serve(lambda: _start)
