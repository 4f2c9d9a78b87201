"""What AutoMCU says to ST Edge AI Developer Cloud: sign-in, versions, upload, analysis, deletion.

AutoMCU's tests never called the real service: they talk to a server on this machine that plays the protocol as it is
described here. It was read from public sources: ST's own Python client (STMicroelectronics/stm32ai-modelzoo-services,
`common/stm32ai_dc`: cloud.py, login_service.py, stm32ai_service.py at f971224, helpers.py at ad0ee9d; its earlier form
in STMicroelectronics/stm32ai-modelzoo, file_service.py at 3f8374a; endpoints.py and types.py in the fork
wyb217/stm32ai-modelzoo-services at 9bb116e and 571546d) and, for host and licence, two write-ups of the service's
OpenAPI pages in public repositories.

1. Sign-in: `GET sso/as/authorization.oauth2` (OAuth code flow) leads by redirects to an HTML form; its hidden fields,
   with user name and password, are posted back; redirects then lead to `base/callback?code=...`, which is not called:
   the code goes to `POST base/api/user_service/login/callback`, whose answer holds an access and a refresh token.
   A wrong password and a locked account are told in words, on a page with status 200.
2. `GET base/assets/versions.json` lists the tool's versions, without a sign-in.
3. All else carries `Authorization: Bearer TOKEN`. After a 401, `POST base/api/user_service/login/refresh` renews it.
4. `POST base/api/file/files/models` (multipart, field `file`) uploads; `DELETE .../models/NAME` deletes.
5. `POST base/api/VERSION/stm32ai/analyze` (form field `args`: JSON) answers with a `runtimeId`;
   `GET .../run/ID` tells `state` and, when done, `result`: `info` (c_info.json), or `graph` and `report` up to
   X-CUBE-AI 8.

Tokens stay in memory: nothing is written to disk. A refused password is not tried again, as five wrong ones lock the
account. Tokens and password are struck out of whatever the service says before it becomes part of an error.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import quote, quote_plus

import httpx
from pydantic import Field, JsonValue, StringConstraints, TypeAdapter, ValidationError

from automcu.errors import ConfigError, InfraFailure
from automcu.feasibility.st.cloud_http import Http, Pauses, Reply, Service
from automcu.feasibility.st.errors import classify_error

USER_VARIABLE = "stmai_username"
PASSWORD_VARIABLE = "stmai_password"
"""The environment variables that ST's model zoo reads; upper case is accepted as well."""
_CLIENT_ID = "oidc_prod_client_app_stm32ai"  # what ST's own client, a public one, calls itself
_HOPS = 10
_PAGE_LIMIT_BYTES = 1_000_000
_SHOWN_CHARACTERS = 300
_WRONG_PASSWORD = re.compile(r"wrong password", re.IGNORECASE)
_LOCKED = re.compile(r"exceeded \d+ login attempts", re.IGNORECASE)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A my.st.com account."""

    username: str = field(repr=False)
    password: str = field(repr=False)


def credentials_from_environment(environment: Mapping[str, str]) -> Credentials | None:
    """The account named by `stmai_username` and `stmai_password`, or the same in upper case; None when one is missing
    or empty."""
    found = [environment.get(name) or environment.get(name.upper()) for name in (USER_VARIABLE, PASSWORD_VARIABLE)]
    return Credentials(found[0], found[1]) if found[0] and found[1] else None


# --- what the service answers -----------------------------------------------------------------------------------------

_Token = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,20000}$")]  # what may stand in a header
_PathPart = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]{0,40}$")]


@dataclass(frozen=True, slots=True)
class _Tokens:
    access_token: _Token = field(repr=False)
    refresh_token: _Token | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OfferedVersion:
    """A version of the tool that the cloud runs, such as 4.0.0, and the version of the pack with it, by platform."""

    version: _PathPart
    is_latest: Annotated[bool, Field(alias="isLatest")] = False
    platform: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Uploaded:
    upload: bool


@dataclass(frozen=True, slots=True)
class _Started:
    runtime_id: Annotated[str | int | None, Field(alias="runtimeId")] = None
    error: JsonValue = None
    message: JsonValue = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run found, each as JSON: `info` is the tool's c_info.json, `graph` and `report` are its predecessors."""

    info: JsonValue = None
    graph: JsonValue = None
    report: JsonValue = None


@dataclass(frozen=True, slots=True)
class _Run:
    state: str | None = None
    result: JsonValue = None
    error: JsonValue = None
    errors: JsonValue = None
    message: JsonValue = None


@dataclass(frozen=True, slots=True)
class _Said:
    error: JsonValue = None
    errors: JsonValue = None
    message: JsonValue = None
    detail: JsonValue = None


_VERSIONS: TypeAdapter[list[OfferedVersion]] = TypeAdapter(list[OfferedVersion])


# --- the conversation -------------------------------------------------------------------------------------------------


class Account:
    """What is known of an account from one conversation to the next: its tokens, and that it was refused."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self.tokens: _Tokens | None = None
        self.refusal: str | None = None

    @property
    def form(self) -> dict[str, str]:
        """The sign-in form's fields."""
        return {"username": self._credentials.username, "password": self._credentials.password}

    def without_secrets(self, text: str) -> str:
        """`text`, with user name, password and tokens struck out, and without characters that a terminal would obey."""
        secrets = [self._credentials.password, self._credentials.username]
        if self.tokens is not None:
            secrets += [self.tokens.access_token, self.tokens.refresh_token or ""]
        for secret in filter(None, secrets):
            for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret), _in_json(secret)[1:-1]):
                text = text.replace(form, "***")
        return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


class Conversation:
    """One conversation with the cloud; use it in `async with`. `deadline` is a time of the running event loop's clock.

    Every method raises `InfraFailure` when the service is down, slow, too busy or not understood, and `ConfigError`
    when the account is refused.
    """

    def __init__(self, account: Account, service: Service, deadline: float) -> None:
        self._account = account
        self._service = service
        self._deadline = deadline
        self._http = Http(service, deadline, cookies=False)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    async def versions(self) -> list[OfferedVersion]:
        """The versions of the tool on offer; needs no account."""
        reply = await self._http.send("GET", self._url("/assets/versions.json"))
        return self._read(_VERSIONS, self._accepted(reply, "the list of versions"), "the list of versions")

    async def upload(self, name: str, content: bytes) -> None:
        """Store a model under `name`."""
        files = {"file": (name, content, "application/octet-stream")}
        reply = await self._call("POST", "/api/file/files/models", "the upload", files=files)
        if not self._read(TypeAdapter(_Uploaded), reply, "the upload").upload:
            raise InfraFailure(
                "ST Edge AI Developer Cloud did not store the model; delete old models in your account there, or use "
                "feasibility=st_estimate"
            )

    async def delete(self, name: str) -> None:
        """Remove the model stored under `name`."""
        await self._call("DELETE", f"/api/file/files/models/{quote(name, safe='')}", "the deletion")

    async def analyze(self, version: str, arguments: Mapping[str, JsonValue]) -> RunResult:
        """What `analyze` says of an uploaded model, by a version of the tool; waits until it is done.

        Raises what `classify_error` makes of the tool's own error.
        """
        tool = f"/api/{quote(version, safe='')}/stm32ai"
        reply = await self._call("POST", f"{tool}/analyze", "the analysis", data={"args": json.dumps(arguments)})
        started = self._read(TypeAdapter(_Started), reply, "the analysis")
        if started.runtime_id is None:
            if started.error is None and started.message is None:
                raise self._not_understood("the analysis")
            raise classify_error(1, self._told(started.error, started.message))
        pauses = Pauses(self._service.first_pause_seconds)
        while True:
            path = f"{tool}/run/{quote(str(started.runtime_id), safe='')}"
            run = self._read(TypeAdapter(_Run), await self._call("GET", path, "the run"), "the run")
            state = (run.state or "").lower()
            if state == "error":
                told = self._told(run.message, run.error, run.errors) or self._told(run.result)
                raise classify_error(1, told)
            if run.result is not None:
                return self._read_result(run.result)
            if state == "done":
                raise InfraFailure(
                    "ST Edge AI Developer Cloud ended the analysis without a result; try again later, or use "
                    "feasibility=st_estimate"
                )
            await pauses.wait()

    async def sign_in(self) -> None:
        """Get new tokens for user name and password.

        Raises `ConfigError` when they are refused, and from then on without asking again.
        """
        if self._account.refusal is not None:
            raise ConfigError(self._account.refusal)
        callback = self._url("/callback")
        async with Http(self._service, self._deadline, cookies=True) as http:
            authorize = httpx.URL(self._service.sso_url.rstrip("/") + "/as/authorization.oauth2")
            parameters = {
                "response_type": "code",
                "client_id": _CLIENT_ID,
                "scope": "openid",
                "redirect_uri": str(callback),
                "response_mode": "query",
            }
            page = await self._follow(http, await http.send("GET", authorize, params=parameters), callback)
            form = None if isinstance(page, httpx.URL) or page.status != 200 else _login_form(page)
            if form is None:
                raise self._not_understood("the sign-in page")
            action, fields = form
            if not self._service.knows(action):
                raise _leads_away(action)
            fields |= {"_eventId": "Login", **self._account.form}
            # Never repeated: a password that turns out wrong is tried once.
            answer = await http.send("POST", action, attempts=1, data=fields)
            end = await self._follow(http, answer, callback)
        if not isinstance(end, httpx.URL) and end.status in (200, 401, 403):
            self._account.refusal = self._refusal(end)
            raise ConfigError(self._account.refusal)
        code = end.params.get("code") if isinstance(end, httpx.URL) else None
        if code is None:
            raise self._not_understood("the sign-in")
        data = {"redirect_url": str(callback), "code": code}
        reply = await self._http.send("POST", self._url("/api/user_service/login/callback"), attempts=1, data=data)
        self._account.tokens = self._read(TypeAdapter(_Tokens), self._accepted(reply, "the sign-in"), "the sign-in")

    async def _follow(self, http: Http, reply: Reply, callback: httpx.URL) -> Reply | httpx.URL:
        """Where redirects end: a page, or the address of the callback with what is handed to it."""
        for _ in range(_HOPS):
            if not 300 <= reply.status < 400 or reply.location is None:
                return reply
            try:
                target = reply.url.join(reply.location)
            except (httpx.InvalidURL, ValueError):
                break
            if target.copy_with(query=None, fragment=None) == callback:
                return target
            if not self._service.knows(target):
                raise _leads_away(target)
            reply = await http.send("GET", target)
        raise self._not_understood("the sign-in")

    def _refusal(self, answer: Reply) -> str:
        text = answer.body.decode("utf-8", "replace")
        if _LOCKED.search(text):
            return "ST has locked this account after too many sign-ins; set a new password at https://my.st.com"
        if _WRONG_PASSWORD.search(text) or answer.status != 200:
            return (
                f"ST refused the user name or the password; correct {USER_VARIABLE} and {PASSWORD_VARIABLE}, and mind "
                "that five wrong passwords lock the account"
            )
        return (
            f"ST's sign-in asks for what only a person can answer; sign in once at {self._service.base_url} with a "
            "browser"
        )

    async def _refreshed(self) -> bool:
        """Renew the tokens by the refresh token; False when there is none or it is refused."""
        tokens = self._account.tokens
        if tokens is None or tokens.refresh_token is None:
            return False
        data = {"refresh_token": tokens.refresh_token}
        reply = await self._http.send("POST", self._url("/api/user_service/login/refresh"), data=data)
        found = _parsed(TypeAdapter(_Tokens), reply.body) if reply.status == 200 else None
        if found is None:
            return False
        self._account.tokens = _Tokens(found.access_token, found.refresh_token or tokens.refresh_token)
        return True

    async def _call(self, method: str, path: str, what: str, **content: Any) -> Reply:
        """An answer with status 200. A token that has expired is renewed once, then replaced by a new sign-in once."""
        if self._account.tokens is None:
            await self.sign_in()
        reply = await self._authorized(method, path, content)
        if reply.status == 401 and await self._refreshed():
            reply = await self._authorized(method, path, content)
        if reply.status == 401:
            await self.sign_in()
            reply = await self._authorized(method, path, content)
        return self._accepted(reply, what)

    async def _authorized(self, method: str, path: str, content: dict[str, Any]) -> Reply:
        assert self._account.tokens is not None
        headers = {"Authorization": f"Bearer {self._account.tokens.access_token}"}
        return await self._http.send(method, self._url(path), headers=headers, **content)

    def _url(self, path: str) -> httpx.URL:
        return httpx.URL(self._service.base_url.rstrip("/") + path)

    def _accepted(self, reply: Reply, what: str) -> Reply:
        """`reply`, when its status is 200."""
        if reply.status == 200:
            return reply
        if reply.status == 401:
            raise InfraFailure(
                f"ST Edge AI Developer Cloud refuses {what} although the sign-in succeeded; try again later, or use "
                "feasibility=st_estimate"
            )
        if reply.status == 403:
            raise ConfigError(
                f"this ST account may not use ST Edge AI Developer Cloud; accept its licence at "
                f"{self._service.base_url} with a browser"
            )
        if 300 <= reply.status < 400:
            target = self._account.without_secrets((reply.location or "nowhere").split("?")[0])[:_SHOWN_CHARACTERS]
            raise InfraFailure(
                f"ST Edge AI Developer Cloud has moved ({what} is redirected to {target}); update AutoMCU, or use "
                "feasibility=st_estimate"
            )
        said = _parsed(TypeAdapter(_Said), reply.body)
        told = "" if said is None else self._told(said.message, said.error, said.errors, said.detail)
        told = " ".join(told.split())[:_SHOWN_CHARACTERS]
        raise InfraFailure(
            f"ST Edge AI Developer Cloud refused {what} with status {reply.status}{f' ({told})' if told else ''}; try "
            "again later, or use feasibility=st_estimate"
        )

    def _told(self, *parts: JsonValue) -> str:
        texts = [part if isinstance(part, str) else _in_json(part) for part in parts if part is not None]
        return self._account.without_secrets("\n".join(texts))

    def _read(self, form: TypeAdapter[_T], reply: Reply, what: str) -> _T:
        found = _parsed(form, reply.body)
        if found is None:
            raise self._not_understood(what)
        return found

    def _read_result(self, value: JsonValue) -> RunResult:
        try:
            return TypeAdapter(RunResult).validate_python(value)
        except ValidationError:
            pass
        raise self._not_understood("the run")

    def _not_understood(self, what: str) -> InfraFailure:
        return InfraFailure(
            f"ST Edge AI Developer Cloud answered {what} in a form that AutoMCU does not know; check that "
            f"{self._service.base_url} works in a browser, update AutoMCU, or use feasibility=st_estimate"
        )


def _in_json(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False)


def _leads_away(target: httpx.URL) -> InfraFailure:
    return InfraFailure(
        f"ST's sign-in leads to {target.scheme}://{target.host}, which is no host of ST's; check the network for a "
        "captive portal or a proxy"
    )


def _parsed(form: TypeAdapter[_T], body: bytes) -> _T | None:
    """`body` in that form; None when it is not. The reason is dropped, as it would quote tokens."""
    try:
        return form.validate_json(body)
    except ValidationError:
        return None


class _Forms(HTMLParser):
    """Finds the first form with a field for a password."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.complete = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if self.complete:
            return
        found = {name: value or "" for name, value in attributes}
        if tag == "form":
            self.action, self.fields = found.get("action", ""), {}
        elif tag == "input" and self.action is not None:
            if found.get("type", "").lower() == "hidden" and found.get("name"):
                self.fields[found["name"]] = found.get("value", "")
            self.fields |= {"password": ""} if found.get("type", "").lower() == "password" else {}

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and not self.complete:
            self.complete = "password" in self.fields
            self.action = self.action if self.complete else None


def _login_form(page: Reply) -> tuple[httpx.URL, dict[str, str]] | None:
    """Where the sign-in form of a page goes, and its hidden fields; None when the page has none."""
    if len(page.body) > _PAGE_LIMIT_BYTES:
        return None
    forms = _Forms()
    forms.feed(page.body.decode("utf-8", "replace"))
    forms.close()
    if not forms.complete or forms.action is None:
        return None
    try:
        return page.url.join(forms.action), forms.fields
    except (httpx.InvalidURL, ValueError):
        return None
