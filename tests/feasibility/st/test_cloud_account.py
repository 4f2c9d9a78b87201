"""The cloud tier's account: signing in, keeping a session, and keeping secrets."""

import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from automcu.errors import AutoMCUError, ConfigError, InfraFailure
from automcu.feasibility.program import run_program
from automcu.feasibility.st.cloud import ST_SERVICE, StCloud
from automcu.feasibility.st.cloud_client import Credentials, credentials_from_environment
from automcu.feasibility.st.cloud_http import Service, _trusted_authorities
from automcu.graph.lowering import lower
from automcu.results import FeasibilityReport
from tests.contracts.feasibility_tier import RESIDUAL
from tests.feasibility.st.cloud_server import (
    CREDENTIALS,
    PASSWORD,
    USERNAME,
    Misbehaviour,
    StCloudServer,
    echoes_secrets,
    expires,
    hangs_up,
    is_silent,
    login_page,
    running,
    says,
    self_signed,
    status,
    tier_of,
)

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
