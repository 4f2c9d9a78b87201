"""The cloud tier against a server on this machine that plays the protocol, well and badly."""

import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest

from automcu.errors import CandidateFailure, ConfigError, InfraFailure
from automcu.feasibility.st.errors import StArgumentError, StBenchError, StToolError, StUnsupportedLayer
from automcu.feasibility.st.facts import ASSUMED_CODE_BYTES, ASSUMED_RUNTIME_RAM_BYTES
from automcu.feasibility.tier import FeasibilityTier
from automcu.graph.lowering import lower
from automcu.results import FeasibilityReport
from tests.contracts.feasibility_tier import RESIDUAL, FeasibilityTierContract
from tests.feasibility.st.cloud_server import (
    MODEL,
    OLD_RESULT,
    Handler,
    Misbehaviour,
    StCloudServer,
    c_info,
    drips,
    floods,
    hangs_up,
    hangs_up_at_once,
    is_silent,
    running,
    says,
    status,
    tier_of,
)
from tests.graph.shared_models import shared

# By the clock of when the tests are collected: some minutes may pass until one uses it.
IN_AN_HOUR = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


class TestStCloud(FeasibilityTierContract):
    @pytest.fixture
    def tier(self, cloud: StCloudServer) -> FeasibilityTier:
        return tier_of(cloud)


# --- a run that goes well ---------------------------------------------------------------------------------------------


def test_a_report_is_the_clouds_figures(cloud: StCloudServer, ask: Callable[..., FeasibilityReport]) -> None:
    report = ask()
    assert (report.macs, report.weights_bytes, report.activations_bytes) == (203_000, 1_204, 6_400)
    assert (report.code_bytes, report.runtime_ram_bytes) == (21_344, 1_960)  # the toolchain's share counts once
    assert (report.tier, report.target, report.margin) == ("st_cloud", "stm32f4", 0.0)
    assert report.tool == "ST Edge AI Developer Cloud"
    assert report.tool_version == "2.2.0-20266 (X-CUBE-AI 10)"


def test_the_model_is_sent_judged_and_deleted(cloud: StCloudServer, ask: Callable[..., FeasibilityReport]) -> None:
    stored: dict[str, bytes] = {}

    def looks(handler: Handler) -> None:
        stored.update(cloud.models)
        handler.answer_json({"state": "running"})

    cloud.once("GET run", looks)
    ask()
    ((name, content),) = stored.items()
    assert content == MODEL
    assert name.isascii() and name.startswith("mod-le-1-") and hashlib.sha256(MODEL).hexdigest()[:16] in name
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert not cloud.models
    analysis = next(request for request in cloud.requests if request.route == "POST analyze")
    assert analysis.path == "/api/4.0.0/stm32ai/analyze"
    arguments = json.loads(httpx.QueryParams(analysis.body.decode())["args"])
    assert arguments == {
        "model": name,
        "type": "tflite",
        "name": "network",
        "compression": "lossless",
        "optimization": "ram",
        "verbosity": 1,
        "target": "stm32f4",
        "series": "stm32f4",
        "allocateInputs": True,
        "allocateOutputs": True,
    }


def test_one_sign_in_serves_many_reports(cloud: StCloudServer, model_file: Callable[[], Path]) -> None:
    tier = tier_of(cloud)
    names = set()
    for _ in range(3):
        tier.report(lower(RESIDUAL), model_file)
        names.add(cloud.requests[-1].path)
    assert cloud.routes().count("GET authorize") == cloud.routes().count("GET versions") == 1
    assert len(names) == 3  # no two runs share a file, so that none deletes another's
    tier.close()
    tier.report(lower(RESIDUAL), model_file)
    assert cloud.routes().count("GET authorize") == 2


def test_captured_c_info_is_read(cloud: StCloudServer, ask: Callable[..., FeasibilityReport]) -> None:
    path = "stedgeai_reports/stedgeai-2.2.0_mobilenetv2-float-stm32f4-toobig/network_c_info.analyze.json"
    cloud.result = {"info": json.loads(shared(path).read_text())}
    report = ask()
    assert (report.macs, report.weights_bytes, report.activations_bytes) == (313_298_016, 13_951_264, 4_917_696)
    assert (report.code_bytes, report.runtime_ram_bytes) == (ASSUMED_CODE_BYTES, ASSUMED_RUNTIME_RAM_BYTES)
    assert report.tool_version == "2.2.0-20266 (X-CUBE-AI 10), runtime assumed: not in its report"


def test_results_of_older_versions_are_read(cloud: StCloudServer, ask: Callable[..., FeasibilityReport]) -> None:
    cloud.result = OLD_RESULT
    report = ask(tool_version="10.2.0")
    assert (report.macs, report.weights_bytes, report.activations_bytes) == (203_000, 1_204, 6_772)
    assert (report.code_bytes, report.runtime_ram_bytes) == (30_000, ASSUMED_RUNTIME_RAM_BYTES)
    assert report.tool_version == "8.0.0-19389 (X-CUBE-AI 8), runtime assumed: not in its report"


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked, used", [(None, "4.0.0"), ("2.2.0", "2.2.0"), ("12.0.0", "4.0.0"), ("10.2.0", "2.2.0")])
def test_a_version_is_named_by_tool_or_pack(cloud: StCloudServer, asked: str | None, used: str) -> None:
    tier = tier_of(cloud, tool_version=asked)
    assert tier.version == used == tier.version
    assert cloud.routes() == ["GET versions"]  # asked once, without an account


def test_a_version_that_is_not_offered(cloud: StCloudServer, ask: Callable[..., FeasibilityReport]) -> None:
    with pytest.raises(ConfigError, match=r"version 9.9.9; .*2.2.0 \(STM32Cube.AI 10.2.0\), 4.0.0 \(STM32Cube.AI 12"):
        ask(tool_version="9.9.9")
    assert cloud.routes() == ["GET versions"]


@pytest.mark.parametrize(
    "offered, error", [([], ConfigError), ({}, InfraFailure), ([{"version": "../x"}], InfraFailure)]
)
def test_odd_lists_of_versions(cloud: StCloudServer, offered: object, error: type[Exception]) -> None:
    cloud.always("GET versions", says(offered))
    with pytest.raises(error):
        _ = tier_of(cloud).version


# --- a service in trouble ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["GET versions", "GET authorize", "POST models", "POST analyze", "GET run"])
@pytest.mark.parametrize(
    "trouble", [status(500), status(429), hangs_up, hangs_up_at_once], ids=["500", "429", "half", "closed"]
)
def test_passing_trouble_is_overcome(
    cloud: StCloudServer, ask: Callable[..., FeasibilityReport], route: str, trouble: Misbehaviour
) -> None:
    cloud.once(route, trouble, trouble)
    assert ask().weights_bytes == 1_204
    assert not cloud.models


@pytest.mark.parametrize(
    "route, trouble, reason",
    [
        ("GET versions", status(500), "status 500; try again later"),
        ("POST models", status(503), "status 503"),
        ("GET run", status(502), "status 502"),
        ("GET run", hangs_up, "cannot be reached"),
        ("POST callback", status(500), "status 500"),
        ("POST callback", says({"access_token": "a\r\nb"}), "in a form that AutoMCU does not know"),
        ("POST callback", status(200), "in a form"),
        ("GET login", status(200, "<html><form></form><form action='x'><input type=password"), "in a form"),
        ("GET login", status(404), "in a form"),
        ("GET resume", status(302, "", Location="/as/resume"), "in a form"),
        ("GET resume", status(302, "", Location="http://x:port/"), "cannot be reached: RemoteProtocolError"),
        ("GET resume", status(300, "", Location="http://x:port/"), "in a form"),
        ("POST models", says({"upload": False}), "delete old models"),
        ("POST models", says({"errors": ["too large"]}, 413), r"status 413 \(\[\"too large\"\]\)"),
        ("POST analyze", says({}), "in a form"),
        ("POST analyze", says([{"runtimeId": "1"}]), "in a form"),
        ("GET run", status(200, '{"state": "done", "result": {'), "in a form"),
        ("GET run", status(200, "<html>maintenance</html>"), "in a form"),
        ("GET run", status(200, "[" * 100_000), "in a form"),
        ("GET run", status(200, b"\xff\xfe\x00".decode("latin-1")), "in a form"),
        ("GET run", status(404), "status 404"),
        ("GET run", says({"state": "done"}), "without a result"),
        ("GET run", says({"state": "done", "result": {}}), "form that AutoMCU does not know"),
        ("GET run", says({"state": "done", "result": "fine"}), "in a form"),
        ("GET run", says({"result": {"info": c_info() | {"json_schema_version": "3.0"}}}), "schema version is '3.0'"),
        ("GET run", says({"result": {"info": c_info(weights=-1)}}), "cannot be read"),
        ("GET run", says({"result": {"graph": {"macc": 1, "memory_footprint": {"weights": 1}}}}), "form that"),
        (
            "GET run",
            says({"result": {"info": c_info(series="stm32h7")}}),
            "compiled for 'stm32h7' when asked for stm32f4",
        ),
        ("GET run", floods, "sent more than 32,000,000 bytes"),
        ("GET run", status(302, "", Location="https://evil.example/?x=1"), r"has moved .*https://evil.example/\)"),
    ],
)
def test_lasting_trouble_is_an_infrastructure_failure(
    cloud: StCloudServer, ask: Callable[..., FeasibilityReport], route: str, trouble: Misbehaviour, reason: str
) -> None:
    cloud.always(route, trouble)
    with pytest.raises(InfraFailure, match=reason):
        ask()
    assert not cloud.models  # deleted even so
    assert cloud.routes().count(route) <= 10


@pytest.mark.parametrize("trouble", [drips, is_silent], ids=["drips", "silent"])
@pytest.mark.parametrize("route", ["GET versions", "GET login", "POST models", "GET run"])
def test_slow_answers_are_cut_off(
    cloud: StCloudServer, ask: Callable[..., FeasibilityReport], route: str, trouble: Misbehaviour
) -> None:
    cloud.always(route, trouble)
    began = time.monotonic()
    with pytest.raises(InfraFailure, match=r"did not end within 0.3 s; raise feasibility.time_limit_seconds"):
        ask(time_limit_seconds=0.3)
    assert time.monotonic() - began < 5


def test_a_deletion_that_drips_is_given_up(cloud: StCloudServer, ask: Callable[..., FeasibilityReport]) -> None:
    cloud.always("DELETE models", drips)
    began = time.monotonic()
    assert ask(time_limit_seconds=1.5).weights_bytes == 1_204
    assert time.monotonic() - began < 5


def test_a_run_that_never_ends(cloud: StCloudServer, ask: Callable[..., FeasibilityReport]) -> None:
    cloud.always("GET run", says({"state": "in_queue", "progress": 0}))
    with pytest.raises(InfraFailure, match=r"did not end within 0.5 s"):
        ask(time_limit_seconds=0.5)
    assert not cloud.models
    assert cloud.routes().count("GET run") < 15  # the pauses grow


def test_the_pause_that_is_asked_for_is_kept(cloud: StCloudServer, ask: Callable[..., FeasibilityReport]) -> None:
    cloud.once("POST analyze", status(429, Retry_After="1"))
    began = time.monotonic()
    ask()
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize(
    "when", ["3600", IN_AN_HOUR, IN_AN_HOUR.replace("GMT", "-0000")], ids=["seconds", "GMT", "-0000"]
)
def test_a_pause_beyond_the_deadline_is_not_begun(
    cloud: StCloudServer, ask: Callable[..., FeasibilityReport], when: str
) -> None:
    cloud.once("POST analyze", status(429, Retry_After=when))
    began = time.monotonic()
    with pytest.raises(InfraFailure, match=r"status 429 and a pause of 3\d\d\d s would end too late"):
        ask()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("when", ["soon", "-1", "1e9", "", "9" * 5_000])
def test_nonsense_pauses_are_not_kept(cloud: StCloudServer, ask: Callable[..., FeasibilityReport], when: str) -> None:
    cloud.once("POST analyze", status(429, Retry_After=when))
    assert ask().weights_bytes == 1_204


def test_nobody_listens(model_file: Callable[[], Path]) -> None:
    with running() as cloud:
        pass
    with pytest.raises(InfraFailure, match="cannot be reached: ConnectError; try again later"):
        tier_of(cloud).report(lower(RESIDUAL), model_file)


# --- the tool's own errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told, kind",
    [
        ({"message": "INTERNAL ERROR: Order of dimensions of input cannot be interpreted"}, CandidateFailure),
        ({"error": {"log": ["NOT IMPLEMENTED: layer 'gru' not supported"]}}, StUnsupportedLayer),
        ({"errors": ["E102(CliArgumentError): --target stm32x9"]}, StArgumentError),
        ({"message": "E103(CliRuntimeError): Error calling the Neural Art compiler"}, StToolError),
        ({"message": "E801(HwIOError): no board"}, StBenchError),
        ({"message": "something else"}, CandidateFailure),
        ({"result": "NOT IMPLEMENTED: layer gru"}, StUnsupportedLayer),
        ({}, CandidateFailure),
    ],
)
def test_a_run_in_error(
    cloud: StCloudServer, ask: Callable[..., FeasibilityReport], told: dict[str, object], kind: type[Exception]
) -> None:
    cloud.always("GET run", says({"state": "ERROR", "progress": 30, **told}))
    with pytest.raises(kind) as raised:
        ask()
    assert isinstance(raised.value, InfraFailure) == issubclass(kind, InfraFailure)
    assert not cloud.models


def test_an_analysis_that_is_refused_at_once(cloud: StCloudServer, ask: Callable[..., FeasibilityReport]) -> None:
    cloud.always("POST analyze", says({"status": "ko", "error": "INTERNAL ERROR: 'input'"}))
    with pytest.raises(CandidateFailure, match="INTERNAL ERROR: 'input'"):
        ask()
