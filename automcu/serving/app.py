"""The OpenAI-compatible endpoint of a local model: who may ask, what may be asked, and how a call is given up.

It runs as a Ray Serve ingress (`on_ray`) or in a process of its own (`child`); `Engine` writes the replies. Whatever is
sent becomes a `ChatRequest`, or an HTTP status with an error in OpenAI's form. A client that goes away ends its request
in the engine, too.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException as AnyHTTPException

from automcu.serving.engine import Engine

_BODY_LIMIT_BYTES = 1_000_000
_POLL_SECONDS = 0.2
_CLIENT_CLOSED = 499
# Under a schema a small model fills up to half of its reply with line breaks and indentation, which JSON does not need.
_COMPACT = [
    ["\n" * breaks + blank * blanks, False]
    for breaks in range(3)
    for blank in (" ", "\t")
    for blanks in range(21)
    if breaks or blanks > (blank == " ")
]


class Turn(BaseModel):
    """One message of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class JSONSchema(BaseModel):
    """The schema that the reply is held to."""

    name: str = "reply"
    strict: bool | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class ResponseFormat(BaseModel):
    """How the reply is constrained."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchema | None = None


class StreamOptions(BaseModel):
    """Whether token counts end the stream."""

    include_usage: bool = False


class ChatRequest(BaseModel):
    """The part of OpenAI's chat request that is served; what else is sent is ignored."""

    messages: Annotated[list[Turn], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None

    def for_engine(self) -> dict[str, object]:
        """The request as the engine takes it."""
        asked = self.model_dump(exclude_none=True, by_alias=True)
        if self.response_format is not None and self.response_format.type != "text":
            asked["logit_bias"] = _COMPACT
        return asked


def build_app(engine: Engine, key: str) -> FastAPI:
    """The endpoint of `engine` for who sends `key` as a bearer token; the engine is closed when the app ends."""
    to_engine = httpx.AsyncClient(
        base_url=engine.address, headers={"Authorization": f"Bearer {engine.key}"}, timeout=None, trust_env=False
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with to_engine:
            yield
        engine.close()

    def guard(request: Request) -> None:
        if not secrets.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {key}".encode()):
            raise HTTPException(401, "the bearer token is wrong; only the run that started this model may use it")

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(AnyHTTPException, _in_openai_form)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models", dependencies=[Depends(guard)])
    async def models() -> dict[str, object]:
        return {"object": "list", "data": [{"id": engine.model.name, "object": "model", "owned_by": "automcu"}]}

    @app.post("/v1/chat/completions", dependencies=[Depends(guard)])
    async def chat(request: Request) -> Response:
        asked = await _read(request)
        sent = to_engine.build_request("POST", "/v1/chat/completions", json=asked.for_engine())
        reply = await _unless_gone(request, to_engine.send(sent, stream=True))
        return StreamingResponse(_body(reply), reply.status_code, media_type=reply.headers["content-type"])

    return app


async def _read(request: Request) -> ChatRequest:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _BODY_LIMIT_BYTES:
            raise HTTPException(413, f"the request is larger than {_BODY_LIMIT_BYTES:,} bytes; send less")
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise HTTPException(400, f"{where}: {first['msg']}; correct the request") from None


async def _unless_gone(request: Request, call: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
    """What `call` gives, which is cancelled when the client goes away first."""
    task = asyncio.ensure_future(call)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_POLL_SECONDS)
            if not task.done() and await request.is_disconnected():
                raise HTTPException(_CLIENT_CLOSED, "the client went away")
        return task.result()
    except httpx.HTTPError as error:
        raise HTTPException(503, f"the model's engine does not answer ({error}); start the run again") from error
    finally:
        task.cancel()


async def _body(reply: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in reply.aiter_raw():
            yield piece
    finally:
        await reply.aclose()


async def _in_openai_form(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)
    kind = "authentication_error" if error.status_code == 401 else "invalid_request_error"
    told = {"message": str(error.detail), "type": kind, "code": error.status_code}
    return JSONResponse({"error": told}, error.status_code)
