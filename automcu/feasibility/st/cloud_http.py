"""HTTP towards a service that may be slow, down, or not what it claims to be.

Covered: time limits for connecting, for each read and write and for a whole call, so that an answer that drips is cut
off like one that never comes; a size limit for what is received; repetition with growing, random pauses; TLS
verification; no redirect is followed here, see `Service.knows` for where one may lead; no cookie of one purpose goes
along with another; errors that hold no request, and nothing in the log. Not covered: a name look-up that hangs, which
the operating system ends.
"""

import asyncio
import logging
import random
import re
import ssl
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self

import httpx

from automcu import __version__
from automcu.errors import ConfigError, InfraFailure

ATTEMPTS = 4
"""How often a call that may be repeated is made."""
_TIMEOUTS = httpx.Timeout(10.0, read=30.0, write=30.0)
_CALL_SECONDS = 60.0
_REPLY_LIMIT_BYTES = 32_000_000
_LONGEST_PAUSE_SECONDS = 10.0
_ST = "st.com"


@dataclass(frozen=True, slots=True)
class Service:
    """Where the developer cloud and its sign-in are, and the pause before a call is repeated for the first time.

    Both addresses are HTTPS; plain HTTP is accepted to this machine itself, for tests. Raises `ConfigError`.
    """

    base_url: str = "https://stedgeai-dc.st.com"
    sso_url: str = "https://sso.st.com"
    first_pause_seconds: float = 1.0

    def __post_init__(self) -> None:
        for address in (self.base_url, self.sso_url):
            try:
                url = httpx.URL(address)
            except httpx.InvalidURL:
                url = httpx.URL()
            if not url.host or not (url.scheme == "https" or (url.scheme == "http" and _is_this_machine(url.host))):
                raise ConfigError(f"{address!r} is no https:// address; give one")

    def knows(self, url: httpx.URL) -> bool:
        """Whether credentials may go to `url`: this service itself, or HTTPS to a host of ST's."""
        if url.scheme == "https" and url.port is None and (url.host == _ST or url.host.endswith(f".{_ST}")):
            return True
        return _origin(url) in (_origin(httpx.URL(self.base_url)), _origin(httpx.URL(self.sso_url)))


@cache
def _trusted_authorities() -> ssl.SSLContext:
    """For verification, which is always on: the usual ones, or those of SSL_CERT_FILE. Takes a while to load."""
    return httpx.create_ssl_context()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its status, where it came from, and what it holds. `body` is whole, and within the size limit."""

    status: int
    url: httpx.URL = field(repr=False)
    location: str | None = field(repr=False)
    retry_after: str | None = field(repr=False)
    body: bytes = field(repr=False)


class Http:
    """An HTTP client for one purpose; use it in `async with`. `deadline` is a time of the running event loop's clock.

    With `cookies`, those that are set live as long as this object; without, none are kept. Raises `ConfigError` when
    the proxy or the certificates named by the environment cannot be used.
    """

    def __init__(self, service: Service, deadline: float, *, cookies: bool) -> None:
        policy = DefaultCookiePolicy() if cookies else DefaultCookiePolicy(allowed_domains=())
        # Compression would let a small answer grow without limit. ST's own client passes for a browser.
        headers = {"User-Agent": f"Mozilla/5.0 (compatible; AutoMCU/{__version__})", "Accept-Encoding": "identity"}
        try:
            self._client = httpx.AsyncClient(
                headers=headers,
                cookies=CookieJar(policy),
                timeout=_TIMEOUTS,
                follow_redirects=False,
                verify=_trusted_authorities(),
                trust_env=service.base_url.startswith("https:"),  # proxies are for what is not on this machine
            )
        except (ValueError, httpx.InvalidURL, ImportError, OSError):
            # Not quoted: the address of a proxy may hold a password.
            raise ConfigError(
                "the proxy or the certificates that the environment names cannot be used; correct HTTPS_PROXY, "
                "ALL_PROXY or SSL_CERT_FILE"
            ) from None
        self._first_pause_seconds = service.first_pause_seconds
        self._deadline = deadline

    async def __aenter__(self) -> Self:
        _keep_quiet()
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    async def send(self, method: str, url: httpx.URL, *, attempts: int = ATTEMPTS, **content: Any) -> Reply:
        """The answer to a request; `content` is what `httpx` takes: `params`, `data`, `files`, `headers`.

        A call that fails, that is answered with 429 or 5xx, is made up to `attempts` times, after the pause that the
        answer asks for. Raises `InfraFailure` when it still fails, or the pause would end after the deadline.
        """
        trouble = ""
        for attempt in range(attempts):
            pause = self._first_pause_seconds * 2**attempt
            try:
                async with asyncio.timeout(_CALL_SECONDS):
                    reply = await self._receive(method, url, content)
            except TimeoutError:
                trouble = f"did not answer within {_CALL_SECONDS:g} s"
            except httpx.TransportError as error:
                trouble = f"cannot be reached: {type(error).__name__}"
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    trouble += ", its TLS certificate is not trusted"
                    break
            else:
                if reply.status < 500 and reply.status != 429:
                    return reply
                trouble = f"answered with status {reply.status}"
                pause = _asked_pause_seconds(reply.retry_after, pause)
            if attempt + 1 < attempts:
                if asyncio.get_running_loop().time() + pause > self._deadline:
                    trouble += f" and a pause of {pause:.0f} s would end too late"
                    break
                await asyncio.sleep(pause * random.uniform(1.0, 1.3))
        # Outside of the `except` above: httpx's errors hold the request, and with it password or token.
        raise InfraFailure(
            f"ST Edge AI Developer Cloud ({url.host}) {trouble}; try again later, or use feasibility=st_estimate"
        )

    async def _receive(self, method: str, url: httpx.URL, content: dict[str, Any]) -> Reply:
        async with self._client.stream(method, url, **content) as response:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _REPLY_LIMIT_BYTES:
                    raise InfraFailure(
                        f"ST Edge AI Developer Cloud ({url.host}) sent more than {_REPLY_LIMIT_BYTES:,} bytes; use "
                        "feasibility=st_estimate"
                    )
            headers = response.headers
            return Reply(response.status_code, url, headers.get("Location"), headers.get("Retry-After"), bytes(body))


class Pauses:
    """Pauses for asking again and again: each is half as long again as the one before, up to a limit, and varied so
    that many askers spread out."""

    def __init__(self, first_seconds: float) -> None:
        self._next_seconds = first_seconds

    async def wait(self) -> None:
        """Sleep for the next pause."""
        await asyncio.sleep(self._next_seconds * random.uniform(0.8, 1.2))
        self._next_seconds = min(self._next_seconds * 1.5, _LONGEST_PAUSE_SECONDS)


def _asked_pause_seconds(retry_after: str | None, otherwise: float) -> float:
    """The pause of a `Retry-After` header: seconds or a date (RFC 9110, section 10.2.3)."""
    if retry_after is None:
        return otherwise
    if re.fullmatch(r"[0-9]{1,9}", retry_after):
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return otherwise
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


_QUIET: ContextVar[bool] = ContextVar("_QUIET", default=False)
_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks")


def _keep_quiet() -> None:
    """Stop what these libraries log from here on in this context: addresses with one-time codes, and cookies."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_unless_quiet)  # once only, however often it is added
    _QUIET.set(True)


def _unless_quiet(record: logging.LogRecord) -> bool:
    return not _QUIET.get()
