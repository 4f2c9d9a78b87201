"""A server on this machine that plays ST Edge AI Developer Cloud and its sign-in, and can be told to misbehave.

The protocol is the one described in `automcu/feasibility/st/cloud_client.py`. Cloud and sign-in listen on ports of
their own, as they are different hosts in reality.
"""

import json
import secrets
import ssl
import threading
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from automcu.feasibility.st.cloud import StCloud
from automcu.feasibility.st.cloud_client import Credentials
from automcu.feasibility.st.cloud_http import Service

USERNAME = "dupont@example.com"
PASSWORD = 'pass "word+&%é'
CREDENTIALS = Credentials(USERNAME, PASSWORD)
MODEL = b"TFL3 a model"
CORE = "2.2.0-20266 2adc00962"


def c_info(**footprint: object) -> dict[str, Any]:
    """A small `network_c_info.json` of schema 2: the fields that AutoMCU reads, and some that it must pass over."""
    return {
        "json_schema_version": "2.0",
        "environment": {"tools": [{"name": "ST.EdgeAI.Core", "version": CORE, "arguments": "analyze"}]},
        "memory_footprint": {
            "activations": 6_400,
            "weights": 1_204,
            "io": [0, 0],
            "kernel_flash": 21_344,
            "kernel_ram": 1_960,
            "toolchain_flash": 1_526,  # is in kernel_flash already
            "toolchain_ram": 8,
            "series": "stm32f4",
        }
        | footprint,
        "memory_pools": [{"name": "POOL_0_RAM", "size_bytes": -1, "used_size_bytes": 6_400}],
        "buffers": [],
        "graphs": [
            {"nodes": [{"name": "conv", "id": 0, "macc": 203_000, "inputs": [], "outputs": [], "scratchs": []}]},
        ],
    }


OLD_RESULT = {
    "report": {"cli_version_str": "Neural Network Tools for STM32AI v1.7.0 (STM.ai v8.0.0-19389)"},
    "graph": {
        "version": "1.2",
        "macc": 203_000,
        "memory_footprint": {"activations": 6_000, "weights": 1_204, "io": [768, 4], "kernel_flash": 30_000},
    },
}
VERSIONS = [
    {"version": "2.2.0", "isLatest": False, "platform": {"stm32": "10.2.0", "ispu": "2.2.0"}},
    {"version": "4.0.0", "isLatest": True, "platform": {"stm32": "12.0.0", "ispu": None}},
]


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: `route` is such as "POST upload"."""

    route: str
    host: str
    path: str
    headers: dict[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    """One request; `misbehave` functions get it and write the answer themselves."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for an acknowledgement
    timeout = 10
    cloud: "StCloudServer"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, body: bytes | str, headers: dict[str, str] | None = None) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def answer_json(self, value: object, status: int = 200) -> None:
        self.answer(status, json.dumps(value), {"Content-Type": "application/json"})

    def redirect(self, url: str, headers: dict[str, str] | None = None) -> None:
        self.answer(302, "", {"Location": url, **(headers or {})})

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_form = self.headers.get("Content-Type") == "application/x-www-form-urlencoded"
        self.form = first_values(self.body.decode("ascii")) if is_form else {}
        try:
            self.cloud.handle(self)
        except (BrokenPipeError, ConnectionResetError):  # the client gave up, as it should
            self.close_connection = True

    do_POST = do_DELETE = do_GET


class Server(ThreadingHTTPServer):
    daemon_threads = False  # so that `server_close` waits for them

    def __init__(self, cloud: "StCloudServer") -> None:
        super().__init__(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"cloud": cloud}))
        self.cloud = cloud

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.cloud.faults.append(traceback.format_exc())


def first_values(query: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(query, keep_blank_values=True).items()}


Misbehaviour = Callable[[Handler], None]


@dataclass
class StCloudServer:
    """The state of the service; see `running`."""

    run_states: tuple[str, ...] = ("in_queue", "running")
    """What a run tells before it is done."""
    result: dict[str, Any] = field(default_factory=lambda: {"info": c_info(), "report": {}, "graph": None})
    refresh_works: bool = True
    certificate: Path | None = None
    """A file with certificate and key, to speak TLS."""
    requests: list[Request] = field(default_factory=list)
    secrets: set[str] = field(default_factory=lambda: {USERNAME, PASSWORD, quote(PASSWORD), quote_plus(PASSWORD)})
    """All that must never be shown: the account, and every token, code and cookie given out."""
    models: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    """Requests that break the protocol, as tracebacks of this server's assertions."""
    stopping: threading.Event = field(default_factory=threading.Event)
    base_url: str = ""
    sso_url: str = ""

    def __post_init__(self) -> None:
        self._once: defaultdict[str, deque[Misbehaviour]] = defaultdict(deque)
        self._always: dict[str, Misbehaviour] = {}
        self._lock = threading.Lock()
        self._access: set[str] = set()
        self._refresh: set[str] = set()
        self._codes: set[str] = set()
        self._runs: dict[str, deque[str]] = {}

    @property
    def service(self) -> Service:
        return Service(self.base_url, self.sso_url, first_pause_seconds=0.01)

    def once(self, route: str, *misbehaviours: Misbehaviour) -> None:
        """The next calls of `route` are answered so; then it is well again."""
        self._once[route].extend(misbehaviours)

    def always(self, route: str, misbehaviour: Misbehaviour) -> None:
        self._always[route] = misbehaviour

    def expire(self) -> None:
        """No access token given out so far is good any more."""
        self._access.clear()

    def routes(self) -> list[str]:
        return [request.route for request in self.requests]

    def handle(self, handler: Handler) -> None:
        path = urlsplit(handler.path)
        parts = path.path.strip("/").split("/")
        match parts:
            case ["as", "authorization.oauth2"]:
                name = "authorize"
            case ["cas", "login"]:
                name = "login"
            case ["as", "resume"]:
                name = "resume"
            case ["api", "user_service", "login", "callback" | "refresh" as name]:
                pass
            case ["assets", "versions.json"]:
                name = "versions"
            case ["api", "file", "files", "models", *_]:
                name = "models"
            case ["api", _, "stm32ai", "analyze"]:
                name = "analyze"
            case ["api", _, "stm32ai", "run", _]:
                name = "run"
            case _:
                name = "unknown"
        route = f"{handler.command} {name}"
        with self._lock:
            host = handler.headers["Host"]
            self.requests.append(Request(route, host, handler.path, dict(handler.headers), handler.body))
            queue = self._once[route]
            misbehave = queue.popleft() if queue else self._always.get(route)
            if misbehave is None and name in ("models", "analyze", "run"):
                if handler.headers.get("Authorization", "").removeprefix("Bearer ") not in self._access:
                    misbehave = status(401)
                assert "Cookie" not in handler.headers, "cookies of the sign-in are none of the cloud's business"
        if misbehave is not None:
            misbehave(handler)
        else:
            getattr(self, f"play_{name}")(handler, parts, first_values(path.query))

    def _new_secret(self, kind: str) -> str:
        secret = f"{kind}-{secrets.token_hex(8)}"
        self.secrets.add(secret)
        return secret

    # --- sign-in -------------------------------------------------------------------------------------------------

    def play_authorize(self, handler: Handler, parts: list[str], query: dict[str, str]) -> None:
        assert query["response_type"] == "code" and query["redirect_uri"] == f"{self.base_url}/callback"
        assert query["client_id"]
        self._cookie = self._new_secret("cookie")
        handler.redirect("/cas/login?service=a&b=c", {"Set-Cookie": f"session={self._cookie}; Path=/"})

    def play_login(self, handler: Handler, parts: list[str], query: dict[str, str]) -> None:
        assert query == {"service": "a", "b": "c"}
        assert self._cookie in handler.headers["Cookie"]
        if handler.command == "GET":
            self._lt = self._new_secret("lt")
            handler.answer(200, login_page(self._lt), {"Content-Type": "text/html"})
            return
        form = handler.form
        assert (form["lt"], form["execution"], form["_eventId"]) == (self._lt, "e1s1", "Login")
        if (form["username"], form["password"]) != (USERNAME, PASSWORD):
            text = "You have provided the wrong password. You have 4 attempts left."
            handler.answer(200, login_page(self._new_secret("lt"), text))
        else:
            handler.redirect(f"{self.sso_url}/as/resume?ticket={self._new_secret('ticket')}")

    def play_resume(self, handler: Handler, parts: list[str], query: dict[str, str]) -> None:
        code = self._new_secret("code")
        self._codes.add(code)
        handler.redirect(f"{self.base_url}/callback?code={code}")

    def play_callback(self, handler: Handler, parts: list[str], query: dict[str, str]) -> None:
        assert handler.command == "POST", "the callback page itself is not to be called"
        assert handler.form["redirect_url"] == f"{self.base_url}/callback"
        self._codes.remove(handler.form["code"])  # good once only
        self._give_tokens(handler)

    def play_refresh(self, handler: Handler, parts: list[str], query: dict[str, str]) -> None:
        if self.refresh_works and handler.form["refresh_token"] in self._refresh:
            self._give_tokens(handler)
        else:
            handler.answer_json({"error": "invalid_grant"}, 400)

    def _give_tokens(self, handler: Handler) -> None:
        access, refresh = self._new_secret("access"), self._new_secret("refresh")
        self._access.add(access)
        self._refresh.add(refresh)
        expires = time.time() + 3600
        handler.answer_json(
            {"access_token": access, "refresh_token": refresh, "expires_at": expires, "scope": "openid"}
        )

    # --- the cloud -----------------------------------------------------------------------------------------------

    def play_unknown(self, handler: Handler, parts: list[str], query: dict[str, str]) -> None:
        handler.answer(404, "<html>not found</html>")

    def play_versions(self, handler: Handler, parts: list[str], query: dict[str, str]) -> None:
        handler.answer_json(VERSIONS)

    def play_models(self, handler: Handler, parts: list[str], query: dict[str, str]) -> None:
        if handler.command == "DELETE":
            handler.answer_json({"deleted": self.models.pop(parts[-1], None) is not None})
            return
        head, _, rest = handler.body.partition(b"\r\n\r\n")
        assert b'name="file"; filename="' in head
        name = head.split(b'filename="')[1].split(b'"')[0].decode("ascii")
        self.models[name] = rest[: rest.rindex(b"\r\n--")]
        handler.answer_json({"upload": True})

    def play_analyze(self, handler: Handler, parts: list[str], query: dict[str, str]) -> None:
        arguments = json.loads(handler.form["args"])
        assert arguments["model"] in self.models
        run = secrets.token_hex(4)
        self._runs[run] = deque(self.run_states)
        handler.answer_json({"runtimeId": run})

    def play_run(self, handler: Handler, parts: list[str], query: dict[str, str]) -> None:
        states = self._runs[parts[-1]]
        if states:
            handler.answer_json({"state": states.popleft(), "progress": 10, "result": None})
        else:
            handler.answer_json({"state": "done", "progress": 100, "result": self.result})


def login_page(lt: str, text: str = "") -> str:
    return f"""<html><body><form action="/search"><input name="q"></form><p>{text}</p>
<form method="post" class="login"
 action="/cas/login?service=a&amp;b=c"><input type="text" name="username"><input type="PASSWORD" name="password">
<input type="hidden" name="lt" value="{lt}" /><input type="hidden" name="execution" value="e1s1">
<input type="submit" name="_eventId" value="Login"></form></body></html>"""


def self_signed(path: Path) -> Path:
    """Write a certificate for this machine that no authority has signed, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    secret = key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(certificate.public_bytes(form) + secret)
    return path


# --- misbehaviours ------------------------------------------------------------------------------------------------


def status(code: int, body: str = "<html>no</html>", **headers: str) -> Misbehaviour:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.answer(code, body, named)


def says(value: object, code: int = 200) -> Misbehaviour:
    return lambda handler: handler.answer_json(value, code)


def expires(handler: Handler) -> None:
    """The token given out is no longer good."""
    handler.cloud.expire()
    handler.answer(401, "")


def drips(handler: Handler) -> None:
    """A byte now and then, head and body, for as long as anyone listens."""
    for byte in b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n" + b" " * 100_000:
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()
        if handler.cloud.stopping.wait(0.05):
            break
    handler.close_connection = True


def is_silent(handler: Handler) -> None:
    handler.cloud.stopping.wait(20)
    handler.close_connection = True


def floods(handler: Handler) -> None:
    """A body without an end."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    while not handler.cloud.stopping.is_set():
        handler.wfile.write(b"[" * 1_000_000)


def hangs_up(handler: Handler) -> None:
    """Closes the connection half-way through the body."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"state": ')
    handler.close_connection = True


def hangs_up_at_once(handler: Handler) -> None:
    handler.close_connection = True


def echoes_secrets(handler: Handler) -> None:
    """An error that quotes the request's token, and the account."""
    token = handler.headers.get("Authorization", "")
    errors = [{"by": [USERNAME, PASSWORD]}, quote(PASSWORD), quote_plus(PASSWORD), token]
    handler.answer_json({"message": f"bad request \x1b[31m by {USERNAME} {PASSWORD}", "errors": errors}, 400)


@contextmanager
def running(**state: Any) -> Iterator[StCloudServer]:
    """The service, listening; at the end all its threads have ended."""
    cloud = StCloudServer(**state)
    servers = [Server(cloud) for _ in range(2)]
    scheme = "http"
    if cloud.certificate is not None:
        scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cloud.certificate)
        for server in servers:
            server.socket = context.wrap_socket(server.socket, server_side=True)
    cloud.base_url, cloud.sso_url = (f"{scheme}://127.0.0.1:{server.server_port}" for server in servers)
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield cloud
    finally:
        cloud.stopping.set()
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()
    assert not cloud.faults, cloud.faults[0]


def tier_of(cloud: StCloudServer, time_limit_seconds: float = 20.0, tool_version: str | None = None) -> StCloud:
    return StCloud(
        "stm32f4",
        CREDENTIALS,
        tool_version=tool_version,
        time_limit_seconds=time_limit_seconds,
        service=cloud.service,
    )
