"""The cloud tier against a server on this machine that plays the protocol, well and badly."""

import hashlib
import json
import logging
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from automcu.errors import AutoMCUError, CandidateFailure, ConfigError, InfraFailure
from automcu.feasibility.program import run_program
from automcu.feasibility.st_cloud import ST_SERVICE, Credentials, StCloud, credentials_from_environment
from automcu.feasibility.st_cloud_http import Service, _trusted_authorities
from automcu.feasibility.st_errors import StArgumentError, StBenchError, StToolError, StUnsupportedLayer
from automcu.feasibility.stedgeai import ASSUMED_CODE_BYTES, ASSUMED_RUNTIME_RAM_BYTES
from automcu.feasibility.tier import FeasibilityTier
from automcu.graph.lowering import lower
from automcu.results import FeasibilityReport
from tests.contracts.feasibility_tier import RESIDUAL, FeasibilityTierContract
from tests.feasibility.st_cloud_server import (
    CREDENTIALS,
    OLD_RESULT,
    PASSWORD,
    USERNAME,
    Handler,
    Misbehaviour,
    StCloudServer,
    c_info,
    drips,
    echoes_secrets,
    expires,
    floods,
    hangs_up,
    hangs_up_at_once,
    is_silent,
    login_page,
    running,
    says,
    self_signed,
    status,
)
from tests.graph.shared_models import shared

MODEL = b"TFL3 a model"
IN_AN_HOUR = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


@pytest.fixture
def cloud() -> Iterator[StCloudServer]:
    before = threading.active_count()
    with running() as server:
        yield server
    assert threading.active_count() == before


@pytest.fixture
def model_file(tmp_path: Path) -> Callable[[], Path]:
    path = tmp_path / "modèle 1.tflite"
    path.write_bytes(MODEL)
    return lambda: path


@pytest.fixture
def ask(cloud: StCloudServer, model_file: Callable[[], Path]) -> Callable[..., FeasibilityReport]:
    """A report by a new tier."""

    def make(time_limit_seconds: float = 20.0, tool_version: str | None = None) -> FeasibilityReport:
        tier = tier_of(cloud, time_limit_seconds, tool_version)
        return tier.report(lower(RESIDUAL), model_file)

    return make


def tier_of(cloud: StCloudServer, time_limit_seconds: float = 20.0, tool_version: str | None = None) -> StCloud:
    return StCloud(
        "stm32f4",
        CREDENTIALS,
        tool_version=tool_version,
        time_limit_seconds=time_limit_seconds,
        service=cloud.service,
    )


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


# --- the account ------------------------------------------------------------------------------------------------------


def test_credentials_come_from_the_environment() -> None:
    assert credentials_from_environment({"stmai_username": "a", "stmai_password": "b"}) == Credentials("a", "b")
    assert credentials_from_environment({"STMAI_USERNAME": "a", "STMAI_PASSWORD": "b"}) == Credentials("a", "b")
    for partial in ({}, {"stmai_username": "a"}, {"stmai_username": "a", "stmai_password": ""}):
        assert credentials_from_environment(partial) is None


def test_a_wrong_password_is_tried_once(cloud: StCloudServer, model_file: Callable[[], Path]) -> None:
    tier = StCloud("stm32f4", Credentials(USERNAME, "wrong"), service=cloud.service)
    for _ in range(3):  # five would lock the account
        with pytest.raises(ConfigError, match="correct stmai_username and stmai_password"):
            tier.report(lower(RESIDUAL), model_file)
    with pytest.raises(ConfigError, match="correct stmai_username"):
        tier.sign_in()
    assert cloud.routes().count("POST login") == 1
    assert "POST models" not in cloud.routes()


@pytest.mark.parametrize(
    "answer, reason",
    [
        (status(200, "You have exceeded 5 login attempts."), "locked .* set a new password"),
        (status(200, login_page("x", "Accept our terms")), "sign in once at http"),
        (status(401), "refused the user name"),
    ],
)
def test_other_refusals(cloud: StCloudServer, answer: Misbehaviour, reason: str) -> None:
    cloud.always("POST login", answer)
    tier = tier_of(cloud)
    for _ in range(2):
        with pytest.raises(ConfigError, match=reason):
            tier.sign_in()
    assert cloud.routes().count("POST login") == 1


def test_a_sign_in_that_breaks_is_not_repeated_at_once(cloud: StCloudServer) -> None:
    cloud.once("POST login", status(500))
    with pytest.raises(InfraFailure, match="status 500"):
        tier_of(cloud).sign_in()
    assert cloud.routes().count("POST login") == 1


def test_a_licence_that_is_not_accepted(cloud: StCloudServer, ask: Callable[..., FeasibilityReport]) -> None:
    cloud.always("POST models", status(403))
    with pytest.raises(ConfigError, match="accept its licence"):
        ask()


def test_a_token_that_expires_in_mid_run_is_refreshed(
    cloud: StCloudServer, ask: Callable[..., FeasibilityReport]
) -> None:
    cloud.once("GET run", says({"state": "running"}), expires)
    assert ask().weights_bytes == 1_204
    assert cloud.routes().count("POST refresh") == cloud.routes().count("GET authorize") == 1


def test_a_refused_refresh_leads_to_a_new_sign_in(cloud: StCloudServer, ask: Callable[..., FeasibilityReport]) -> None:
    cloud.refresh_works = False
    cloud.once("GET run", says({"state": "running"}), expires)
    assert ask().weights_bytes == 1_204
    assert (cloud.routes().count("POST refresh"), cloud.routes().count("GET authorize")) == (1, 2)


def test_tokens_that_are_never_accepted(cloud: StCloudServer, ask: Callable[..., FeasibilityReport]) -> None:
    cloud.always("POST models", status(401))
    with pytest.raises(InfraFailure, match="although the sign-in succeeded"):
        ask()
    routes = cloud.routes()
    assert (routes.count("POST models"), routes.count("POST refresh"), routes.count("GET authorize")) == (3, 1, 2)


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


@pytest.mark.parametrize("when", ["3600", IN_AN_HOUR, IN_AN_HOUR.replace("GMT", "-0000")])
def test_a_pause_beyond_the_deadline_is_not_begun(
    cloud: StCloudServer, ask: Callable[..., FeasibilityReport], when: str
) -> None:
    cloud.once("POST analyze", status(429, Retry_After=when))
    began = time.monotonic()
    with pytest.raises(InfraFailure, match=r"status 429 and a pause of 3[56]\d\d s would end too late"):
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


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "https://sso.st.com.evil.example/",
        "https://evil-st.com/",
        "https://sso.st.com@evil.example/",
        "https://sso.st.com:8443/",
        "http://my.st.com/",
        "http://127.0.0.1:1/",
        "//evil.example/",
        "file:///etc/passwd",
    ],
)
@pytest.mark.parametrize("route", ["GET authorize", "POST login", "GET resume", "form"])
def test_a_sign_in_does_not_lead_away(cloud: StCloudServer, url: str, route: str) -> None:
    if route == "form":
        cloud.always("GET login", status(200, login_page("x").replace("/cas/login?service=a&amp;b=c", url)))
    else:
        cloud.always(route, status(302, "", Location=url))
    with pytest.raises(InfraFailure, match="which is no host of ST's"):
        tier_of(cloud).sign_in()
    if route in ("form", "GET authorize"):
        assert "POST login" not in cloud.routes()


def test_st_hosts_are_known() -> None:
    for url in ("https://my.st.com/cas/login", "https://st.com/", ST_SERVICE.base_url, ST_SERVICE.sso_url):
        assert ST_SERVICE.knows(httpx.URL(url))
    assert not ST_SERVICE.knows(httpx.URL("http://stedgeai-dc.st.com/"))


@pytest.mark.parametrize(
    "url", ["http://stedgeai-dc.st.com", "ftp://127.0.0.1", "stedgeai-dc.st.com", "https://", "http://["]
)
def test_only_safe_addresses_are_taken(url: str) -> None:
    with pytest.raises(ConfigError, match="no https:// address"):
        Service(url)
    with pytest.raises(ConfigError, match="no https:// address"):
        Service(sso_url=url)


def test_a_certificate_of_unknown_origin_is_refused(tmp_path: Path) -> None:
    with running(certificate=self_signed(tmp_path / "certificate.pem")) as cloud:
        with pytest.raises(InfraFailure, match="its TLS certificate is not trusted"):
            tier_of(cloud).sign_in()
        assert not cloud.requests


@pytest.mark.parametrize(
    "name, value",
    [
        ("HTTPS_PROXY", "socks9://user:pass@proxy"),
        ("ALL_PROXY", "http://user:pass@proxy:port"),
        ("SSL_CERT_FILE", "/nowhere/authorities.pem"),
    ],
)
def test_settings_of_the_environment_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    _trusted_authorities.cache_clear()
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="correct HTTPS_PROXY, ALL_PROXY or SSL_CERT_FILE") as raised:
        _ = StCloud("stm32f4", CREDENTIALS, service=Service("https://127.0.0.1:1")).version
    assert value not in repr(raised.value)


@pytest.mark.parametrize(
    "route, trouble",
    [
        ("GET nothing", says({})),
        ("POST models", echoes_secrets),
        ("GET run", echoes_secrets),
        ("GET run", hangs_up),
        ("POST models", status(401)),
        ("POST login", hangs_up),
        ("POST login", status(200)),
        ("POST callback", hangs_up),
        ("POST callback", says({"access_token": "bad token"})),
        ("GET run", is_silent),
        ("GET run", lambda handler: handler.answer_json({"state": "error", "message": f"E1 {USERNAME} {PASSWORD}"})),
        (
            "GET run",
            lambda handler: handler.answer(
                302, "", {"Location": f"/x/{quote(PASSWORD)}?t={handler.headers['Authorization']}"}
            ),
        ),
    ],
)
def test_secrets_show_nowhere(
    cloud: StCloudServer,
    model_file: Callable[[], Path],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    route: str,
    trouble: Misbehaviour,
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("http"):
            caplog.set_level(logging.DEBUG, name)
    cloud.always(route, trouble)
    tier = tier_of(cloud, time_limit_seconds=0.7)
    shown = [repr(CREDENTIALS), str(CREDENTIALS)]
    try:
        shown.append(repr(tier.report(lower(RESIDUAL), model_file)))
    except AutoMCUError as error:
        chain: BaseException | None = error
        while chain is not None:
            assert isinstance(chain, AutoMCUError)  # httpx's errors hold the request
            shown += [str(chain), repr(chain), repr(chain.args), repr(vars(chain)), repr(pickle.dumps(chain))]
            chain = chain.__cause__ or chain.__context__
    out = capfd.readouterr()
    shown += [caplog.text, out.out, out.err, repr(tier), repr(vars(tier)), repr(vars(tier._account)), repr(os.environ)]
    assert len(cloud.secrets) > 3
    for text in shown:
        for secret in cloud.secrets:
            assert secret not in text


def test_other_requests_are_logged_as_before(cloud: StCloudServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "httpx")
    _ = tier_of(cloud).version
    assert not caplog.records
    httpx.get(f"{cloud.base_url}/assets/versions.json", trust_env=False)
    assert "versions.json" in caplog.text


def test_children_get_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stmai_username", "stmai_password", "STMAI_USERNAME", "STMAI_PASSWORD"):
        monkeypatch.setenv(name, PASSWORD)
    assert PASSWORD not in run_program(["/usr/bin/env"], tmp_path, 10.0).output


def test_a_tier_travels_between_processes(cloud: StCloudServer, model_file: Callable[[], Path]) -> None:
    tier: StCloud = pickle.loads(pickle.dumps(tier_of(cloud)))
    assert tier.report(lower(RESIDUAL), model_file).weights_bytes == 1_204
