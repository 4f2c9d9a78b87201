"""The tier that asks ST's compiler where ST runs it: ST Edge AI Developer Cloud, with the user's my.st.com account.

The protocol and its public sources are in `cloud_client.py`, the limits of each call in `cloud_http.py`. The real
service was never called by AutoMCU's tests, only a server that plays its protocol. The model's file is sent to ST, and
deleted there when the report is made or has failed, as far as the service answers.
"""

import asyncio
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from automcu.errors import AutoMCUError, ConfigError, InfraFailure
from automcu.feasibility.st.cloud_client import (
    Account,
    Conversation,
    Credentials,
    OfferedVersion,
    RunResult,
)
from automcu.feasibility.st.cloud_http import Service
from automcu.feasibility.st.errors import StToolError
from automcu.feasibility.st.facts import facts_by_st
from automcu.feasibility.st.reports import StReport, StVersion, read_c_info, read_version
from automcu.graph.int8 import Int8Graph
from automcu.results import FeasibilityReport

ST_SERVICE = Service()
"""The real service."""
_CLEAN_UP_SHARE = 0.05
"""The share of the time limit that is kept for deleting the model."""
_PACK_PLATFORM = "stm32"
_T = TypeVar("_T")


class StCloud:
    """ST Edge AI's figures, by the developer cloud, for one series of parts, such as `stm32f4`.

    See `facts_by_st` for what is the tool's own word. Not to be called from a coroutine. Tokens are kept from report to
    report, in memory only.
    """

    name = "st_cloud"

    def __init__(
        self,
        target: str,
        credentials: Credentials,
        *,
        tool_version: str | None = None,
        time_limit_seconds: float = 600.0,
        service: Service = ST_SERVICE,
    ) -> None:
        """`tool_version` is one that the cloud offers, of the tool (4.0.0) or its pack (12.0.0); None for the cloud's
        latest. `time_limit_seconds` holds for a whole report, whatever it takes."""
        self.target = target
        self._account = Account(credentials)
        self._wanted = tool_version
        self._time_limit_seconds = time_limit_seconds
        self._service = service
        self._version: str | None = None

    @property
    def version(self) -> str:
        """The tool's version, as the cloud names it: `4.0.0`.

        Raises `ConfigError`, with those on offer, when it is not what was asked for, and `InfraFailure` when the cloud
        does not answer.
        """
        return self._version or asyncio.run(self._in_time(self._ask_version))

    def sign_in(self) -> None:
        """Try the account, as is best done before a long run.

        Raises `ConfigError` when it is refused, `InfraFailure` when the cloud does not answer.
        """
        asyncio.run(self._in_time(Conversation.sign_in))

    def report(self, graph: Int8Graph, model_file: Callable[[], Path]) -> FeasibilityReport:
        """What the tool says of the network's file.

        Raises `StUnsupportedLayer` or `StRejectedModel` (both `CandidateFailure`) when the tool does not support the
        network; `ConfigError` when the account or the version is refused; `InfraFailure` when the service is down,
        busy, not understood, or takes longer than the time limit.
        """
        model = model_file()
        content = model.read_bytes()
        hash_ = hashlib.sha256(content).hexdigest()[:16]
        stem = re.sub(r"[^A-Za-z0-9_]+", "-", model.stem)[:40]
        # The last part keeps apart two runs that ask about the same file, as the first to end deletes it.
        name = f"{stem}-{hash_}-{secrets.token_hex(4)}.tflite"
        found = asyncio.run(self._in_time(lambda cloud: self._analyze(cloud, name, content), uploads=name))
        tool, version = "ST Edge AI Developer Cloud", str(found.version)
        return facts_by_st(self, tool, version, graph, found, "not in its report")

    def close(self) -> None:
        """Forget the tokens; no connection outlives a report."""
        self._account.tokens = None

    async def _in_time(
        self, work: Callable[[Conversation], Coroutine[None, None, _T]], uploads: str | None = None
    ) -> _T:
        """What `work` returns, within the time limit; then the model named `uploads` is deleted, if that works."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._time_limit_seconds
        deadline = end - self._time_limit_seconds * _CLEAN_UP_SHARE
        async with Conversation(self._account, self._service, deadline) as cloud:
            try:
                async with asyncio.timeout_at(deadline):
                    return await work(cloud)
            except TimeoutError:
                pass
            finally:
                if uploads is not None and self._account.tokens is not None:
                    with suppress(AutoMCUError, TimeoutError):
                        async with asyncio.timeout_at(end):
                            await cloud.delete(uploads)
        raise InfraFailure(
            f"ST Edge AI Developer Cloud did not end within {self._time_limit_seconds:g} s; raise "
            "feasibility.time_limit_seconds or use feasibility=st_estimate"
        )

    async def _ask_version(self, cloud: Conversation) -> str:
        if self._version is None:
            self._version = _chosen(await cloud.versions(), self._wanted)
        return self._version

    async def _analyze(self, cloud: Conversation, name: str, content: bytes) -> StReport:
        version = await self._ask_version(cloud)
        await cloud.upload(name, content)
        arguments: dict[str, JsonValue] = {
            "model": name,
            "type": "tflite",
            "name": "network",
            "compression": "lossless",
            "optimization": "ram",
            "verbosity": 1,
            "target": self.target,
            "series": self.target,  # what older versions call the target
            "allocateInputs": True,  # older versions count input and output apart without these
            "allocateOutputs": True,
        }
        return _figures(await cloud.analyze(version, arguments), version, self.target)


def _chosen(offered: list[OfferedVersion], wanted: str | None) -> str:
    """The version that is wanted, by its own number or its pack's, or the latest."""
    for one in offered:
        if one.is_latest if wanted is None else wanted in (one.version, one.platform.get(_PACK_PLATFORM)):
            return one.version
    names = []
    for one in offered:
        pack = one.platform.get(_PACK_PLATFORM)
        shown = isinstance(pack, str) and re.fullmatch(r"[\w.-]{1,40}", pack) is not None
        names.append(f"{one.version} (STM32Cube.AI {pack})" if shown else one.version)
    listed = ", ".join(names[:20]) or "none"
    asked = "marks no version as its latest" if wanted is None else f"does not offer version {wanted}"
    raise ConfigError(f"ST Edge AI Developer Cloud {asked}; give a tool version of: {listed}")


# --- reading a result -------------------------------------------------------------------------------------------------

_Size = Annotated[int, Field(ge=0, le=1 << 50)]


@dataclass(frozen=True, slots=True)
class _Footprint:
    activations: Annotated[_Size, Field(gt=0)]
    weights: _Size
    io: list[_Size] = field(default_factory=list)
    kernel_flash: _Size | None = None  # includes the toolchain's share, as in c_info.json
    kernel_ram: _Size | None = None


@dataclass(frozen=True, slots=True)
class _CGraph:
    """`network_c_graph.json` of X-CUBE-AI up to 8, as far as ST's own client reads it."""

    macc: _Size
    memory_footprint: _Footprint


@dataclass(frozen=True, slots=True)
class _OldReport:
    cli_version_str: str


@dataclass(frozen=True, slots=True)
class _Series:
    series: str | None = None


@dataclass(frozen=True, slots=True)
class _Compiled:
    memory_footprint: _Series


def _figures(result: RunResult, version: str, target: str) -> StReport:
    """What a run found. Raises `StToolError` when that cannot be read, or holds for another target."""
    found = read_c_info(json.dumps(result.info)) if result.info is not None else _read_c_graph(result, version)
    series = _validated(_Compiled, result.graph if result.info is None else result.info).memory_footprint.series
    # "generic" is said where no compiler was found, whatever the target; a neural processor adds its name.
    if series not in (None, "generic") and not series.lower().startswith(target):
        raise StToolError(
            f"ST Edge AI Developer Cloud compiled for {series[:40]!r} when asked for {target}; use another tool "
            "version, or feasibility=st_estimate"
        )
    return found


def _read_c_graph(result: RunResult, version: str) -> StReport:
    graph = _validated(_CGraph, result.graph)
    footprint = graph.memory_footprint
    try:
        stated = read_version(_validated(_OldReport, result.report).cli_version_str)
    except StToolError:
        stated = StVersion(version, "")
    return StReport(
        version=stated,
        model_format="",
        macs=graph.macc,
        weights_bytes=footprint.weights,
        activations_bytes=footprint.activations,
        io_bytes=sum(footprint.io),
        runtime_flash_bytes=footprint.kernel_flash,
        runtime_ram_bytes=footprint.kernel_ram,
        buffers=(),
        layers=(),
    )


def _validated(form: type[_T], value: JsonValue) -> _T:
    try:
        return TypeAdapter(form).validate_python(value, strict=False)
    except ValidationError:
        pass
    raise StToolError(
        "ST Edge AI Developer Cloud's result has a form that AutoMCU does not know; use another tool version, update "
        "AutoMCU, or use feasibility=st_estimate"
    )
