"""A run's own endpoint for a model on this machine: `with serve_local(...) as endpoint`."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from automcu.child import Child, Frame
from automcu.errors import CandidateFailure, InfraFailure
from automcu.llm.endpoint import Endpoint
from automcu.serving.engine import LocalModel

_START_SECONDS = 60.0


@contextmanager
def serve_local(model: LocalModel, *, on_ray: bool) -> Iterator[Endpoint]:
    """Serve `model` while the context lasts: on the Ray that this process is connected to, or in a child process.

    Raises `ConfigError` when something is not installed, `InfraFailure` when the model does not start.
    """
    model.require()
    key = secrets.token_urlsafe()
    if on_ray:
        from automcu.serving.on_ray import serve_model

        with serve_model(model, key) as address:
            yield Endpoint(model.name, f"{address}/v1", key)
        return
    asked = {"threads": model.threads, "context_tokens": model.context_tokens, "key": key}
    child = Child("automcu.serving.child", {})
    try:
        weights = None if model.weights is None else str(model.weights)
        try:
            port = child.ask(Frame(asked | {"weights": weights}, {}), _START_SECONDS).header["port"]
        except CandidateFailure as error:
            raise InfraFailure(f"the local model does not start ({error}); free memory, or use llm=none") from error
        yield Endpoint(model.name, f"http://127.0.0.1:{port}/v1", key)
    finally:
        child.close()
