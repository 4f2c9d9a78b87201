"""Applications on Ray Serve that answer on the loopback address of the driver's machine, and leave nothing behind.

Serve has one HTTP address a cluster, set by whoever starts it. So each run has an application and a path of its own;
the first one starts Serve on a free port, and whoever deletes the last application stops it. Serve answers on the
head node and wherever a replica is: what is to be asked from the driver's machine has its ingress there, see `here`.
"""

import logging
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import ray
from fastapi import FastAPI
from ray import serve
from ray.actor import ActorHandle
from ray.exceptions import RayError
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve.exceptions import RayServeException

from automcu.errors import InfraFailure
from automcu.serving.app import build_app
from automcu.serving.engine import Engine, LocalModel

_REQUESTS_AT_ONCE = 32
_START_SECONDS = 30.0
_STOP_SECONDS = 30.0
_LOGGING = {"log_level": "ERROR", "enable_access_log": False}


def here() -> dict[str, Any]:
    """Actor options that put a replica on this machine without taking a CPU from the trainings."""
    node_id = ray.get_runtime_context().get_node_id()
    address = next(node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == node_id)
    return {"num_cpus": 0, "resources": {f"node:{address}": 0.001}}


@contextmanager
def serve_model(model: LocalModel, key: str) -> Iterator[str]:
    """The address of `model`, for who sends `key`, while the context lasts; see `serve_application`."""

    def build() -> FastAPI:  # Serve tells a function that makes an application from an application by its type
        return build_app(Engine(model), key)

    deployment = serve.deployment(
        name="model", ray_actor_options=here(), max_ongoing_requests=_REQUESTS_AT_ONCE, logging_config=_LOGGING
    )
    with serve_application(deployment(serve.ingress(build)()).bind()) as address:
        yield address


@contextmanager
def serve_application(application: serve.Application) -> Iterator[str]:
    """The address of `application`, which is up while the context lasts; `/v1/models` of it must answer.

    Raises `InfraFailure` when it does not start.
    """
    name = f"automcu-{secrets.token_hex(8)}"
    logging.getLogger("ray.serve").setLevel(logging.CRITICAL)
    try:
        try:
            http = {"host": "127.0.0.1", "port": _free_port()}
            serve.start(proxy_location="EveryNode", http_options=http, logging_config=_LOGGING)
            serve.run(application, name=name, route_prefix=f"/{name}", logging_config=_LOGGING)
            port = ray.get(_controller().get_http_config.remote()).port  # another run may have started Serve
            address = f"http://127.0.0.1:{port}/{name}"
            _wait_for(address)
        except (RayError, RayServeException, RuntimeError, TimeoutError, ValueError) as error:
            said = (str(error).strip().splitlines() or [""])[0]
            raise InfraFailure(
                f"Ray Serve could not start the language model ({said}); free memory, or use llm=none"
            ) from error
        yield address
    finally:
        with suppress(RayError, RayServeException, TimeoutError, ValueError):
            _stop(name)


def _wait_for(address: str) -> None:
    """Until the HTTP server of this machine, which follows the replica to it, knows the application."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(f"{address}/v1/models", trust_env=False).status_code in (200, 401):
                return
        time.sleep(0.1)
    raise TimeoutError("its HTTP server does not answer on this machine")


def _stop(name: str) -> None:
    serve.delete(name)
    if serve.status().applications:
        return
    # Not `serve.shutdown`: its call ends with the controller's death, which Ray reports on the user's screen.
    ray.get(_controller().graceful_shutdown.remote(wait=False))
    deadline = time.monotonic() + _STOP_SECONDS
    with suppress(ValueError):  # no such actor any more
        while time.monotonic() < deadline:
            _controller()
            time.sleep(0.1)


def _controller() -> ActorHandle:
    return ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
