"""URLs and paths: what may be had is had, and nothing beyond it is even asked for."""

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest

from adapter.addresses import Address
from adapter.errors import InvalidRequestError, RefusedSourceError, ServiceError, TooLargeError, UnreachableSourceError
from adapter.settings import Settings
from adapter.sources import FileLimit, Sources
from adapter.web import Resolve, Web, WebPolicy

LIMIT = FileLimit(1000, "OCR_MAX_FILE_SIZE")
PUBLIC = "93.184.216.34"


class Site:
    """A web server on this machine, which notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.asked.append((self.path, str(self.headers["Host"])))
                site.answers[self.path.partition("?")[0]](self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}).start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    site.answers = {
        "/file": answer(b"a picture"),
        "/empty": answer(b""),
        "/missing": answer(b"no", 404),
        "/long": answer(bytes(1001)),
        "/endless": endless,
        "/silent": silent,
        "/gzip": answer(b"zzz", Content_Encoding="gzip"),
        "/again": answer(b"", 302, Location="/again"),
    }
    yield site
    site.server.shutdown()
    site.server.server_close()


def answer(body: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def send(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return send


def silent(request: BaseHTTPRequestHandler) -> None:
    threading.Event().wait(1)


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    try:
        while True:
            request.wfile.write(b"64\r\n" + bytes(100) + b"\r\n")
    except OSError:
        request.close_connection = True


def names(**table: Sequence[str]) -> tuple[Resolve, list[str]]:
    """A resolver that gives each name's addresses, one after the other as it is asked, and the names it was asked."""
    asked: list[str] = []
    left = {name.replace("_", "."): list(answers) for name, answers in table.items()}

    async def resolve(host: str, port: int) -> Sequence[Address]:
        asked.append(host)
        if host not in left:
            raise OSError("no such host")
        answers = left[host]
        return [ip_address(word) for word in (answers.pop(0) if len(answers) > 1 else answers[0]).split()]

    return resolve, asked


def fetch(url: str, *allow: str, resolve: Resolve | None = None, timeout: float = 5.0) -> bytes:
    async def scenario() -> bytes:
        policy = WebPolicy(frozenset(allow), timeout, max_redirects=2)
        web = Web(policy, resolve) if resolve else Web(policy)
        try:
            return await web.fetch(url, "image", lambda size: LIMIT.check(size, "image"))
        finally:
            await web.close()

    return asyncio.run(scenario())


def refusal(url: str, *allow: str, resolve: Resolve | None = None, timeout: float = 5.0) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        fetch(url, *allow, resolve=resolve, timeout=timeout)
    assert caught.value.message.startswith("image: ")
    assert 400 <= caught.value.status < 500
    return caught.value


def test_an_internal_host_is_fetched_only_when_it_is_allowed(site: Site) -> None:
    error = refusal(site.url("/file"))
    assert isinstance(error, RefusedSourceError)
    assert "OCR_URL_ALLOW" in error.message
    assert isinstance(refusal(site.url("/file"), "127.0.0.1:1", "127.0.0.2"), RefusedSourceError)
    assert not site.asked
    assert fetch(site.url("/file"), "127.0.0.1") == b"a picture"
    assert fetch(site.url("/file"), f"127.0.0.1:{site.port}") == b"a picture"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "127.0.0.1%00.example",
        "\N{FULLWIDTH DIGIT ONE}27.0.0.1",
        "example.com@127.0.0.1",
    ],
)
def test_no_way_of_writing_this_machine_is_public(site: Site, host: str) -> None:
    refusal(site.url("/file", host))
    assert not site.asked


def test_one_private_address_among_public_ones_is_enough_to_refuse(site: Site) -> None:
    resolve, _ = names(mixed_test=[f"{PUBLIC} 127.0.0.1"])
    assert isinstance(refusal(site.url("/file", "mixed.test"), resolve=resolve), RefusedSourceError)


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/file", "http://inner.test:{port}/file"])
def test_a_redirect_to_a_private_address_is_refused(site: Site, target: str) -> None:
    site.answers["/out"] = answer(b"", 302, Location=target.format(port=site.port))
    resolve, _ = names(outer_test=["127.0.0.1"], inner_test=["127.0.0.1"])
    error = refusal(site.url("/out", "outer.test"), "outer.test", resolve=resolve)
    assert isinstance(error, RefusedSourceError)
    assert [path for path, _ in site.asked] == ["/out"]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/file", "gopher://x/"])
def test_a_redirect_to_another_scheme_is_refused(site: Site, location: str) -> None:
    site.answers["/out"] = answer(b"", 302, Location=location)
    assert isinstance(refusal(site.url("/out"), "127.0.0.1"), RefusedSourceError)


def test_redirects_are_followed_as_far_as_they_may_go(site: Site) -> None:
    site.answers["/one"] = answer(b"", 301, Location="two")
    site.answers["/two"] = answer(b"", 307, Location=site.url("/file"))
    assert fetch(site.url("/one"), "127.0.0.1") == b"a picture"
    assert "2 redirects (OCR_URL_MAX_REDIRECTS)" in refusal(site.url("/again"), "127.0.0.1").message


def test_the_connection_goes_to_the_address_that_was_checked(site: Site) -> None:
    """The name leads to a public address when it is looked up, and to this machine when it is looked up again."""
    resolve, asked = names(rebinding_test=[PUBLIC, "127.0.0.1"])
    refusal(site.url("/file", "rebinding.test"), resolve=resolve, timeout=0.5)
    assert asked == ["rebinding.test"]
    assert not site.asked


def test_the_server_is_asked_under_its_name(site: Site) -> None:
    resolve, asked = names(pinned_test=["127.0.0.1", PUBLIC])
    assert fetch(site.url("/file?a=%20b", "pinned.test"), "pinned.test", resolve=resolve) == b"a picture"
    assert site.asked == [("/file?a=%20b", f"pinned.test:{site.port}")]
    assert asked == ["pinned.test"]


def test_the_next_address_is_tried_when_one_cannot_be_reached(site: Site) -> None:
    resolve, _ = names(two_test=["127.0.0.2 127.0.0.1"])
    assert fetch(site.url("/file", "two.test"), "two.test", resolve=resolve) == b"a picture"


@pytest.mark.parametrize("path", ["/long", "/endless"])
def test_a_file_over_the_limit_is_refused_while_it_comes(site: Site, path: str) -> None:
    error = refusal(site.url(path), "127.0.0.1")
    assert isinstance(error, TooLargeError)
    assert "OCR_MAX_FILE_SIZE" in error.message


def test_what_does_not_come_in_time_is_given_up(site: Site) -> None:
    assert "0.3 s (OCR_URL_TIMEOUT)" in refusal(site.url("/silent"), "127.0.0.1", timeout=0.3).message


@pytest.mark.parametrize(("path", "said"), [("/missing", "404"), ("/gzip", "compressed")])
def test_an_answer_that_is_no_file_is_refused(site: Site, path: str, said: str) -> None:
    error = refusal(site.url(path), "127.0.0.1")
    assert isinstance(error, UnreachableSourceError)
    assert said in error.message


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("file:///etc/passwd", RefusedSourceError),
        ("ftp://example.com/file", RefusedSourceError),
        ("http://", InvalidRequestError),
        ("http:///file", InvalidRequestError),
        ("http://example.com:99999/", InvalidRequestError),
        ("http://[::1/", InvalidRequestError),
        ("", RefusedSourceError),
        ("http://nowhere.invalid/file", UnreachableSourceError),
    ],
)
def test_what_is_no_url_of_the_web_is_refused(url: str, kind: type[ServiceError]) -> None:
    resolve, _ = names()
    assert isinstance(refusal(url, resolve=resolve), kind)


_FETCH_TLS = """
import asyncio, sys
from ipaddress import ip_address
from adapter.web import Web, WebPolicy

async def main(url, host):
    async def resolve(*_):
        return [ip_address("127.0.0.1")]
    web = Web(WebPolicy(frozenset({host}), 5.0, 0), resolve)
    try:
        print((await web.fetch(url, "image", lambda size: None)).decode())
    except Exception as error:
        print(type(error.__cause__).__name__)
    await web.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_a_certificate_has_to_be_that_of_the_name(site: Site, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    options = "-x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj /CN=secure.test -addext"
    subprocess.run(
        ["openssl", "req", *options.split(), "subjectAltName=DNS:secure.test", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    site.server.socket = context.wrap_socket(site.server.socket, server_side=True)
    said = {}
    for host in ("secure.test", "other.test"):
        done = subprocess.run(
            [sys.executable, "-c", _FETCH_TLS, f"https://{host}:{site.port}/file", host],
            env={**os.environ, "SSL_CERT_FILE": str(certificate)},
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        said[host] = done.stdout.strip()
    assert said == {"secure.test": "a picture", "other.test": "ClientConnectorCertificateError"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "file").write_bytes(b"a picture")
    (root / "long").write_bytes(bytes(1001))
    (root / "empty").touch()
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "root-too").mkdir()
    (tmp_path / "root-too" / "secret").write_bytes(b"secret")
    (root / "inside").symlink_to("sub/file")
    (root / "outside").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    return root


def sources(method: str, text: str, **settings: object) -> bytes:
    async def scenario() -> bytes:
        made = Sources(Settings(**settings))  # type: ignore[arg-type]
        try:
            return bytes(await getattr(made, method)(text, "image", LIMIT))
        finally:
            await made.close()

    return asyncio.run(scenario())


def test_files_below_the_root_are_read(root: Path) -> None:
    for path in ("sub/file", "inside", str(root / "sub" / "file"), "sub/../inside"):
        assert sources("read_path", path, image_root=root) == b"a picture"


def test_a_root_may_be_a_link_itself(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    assert sources("read_path", str(link / "sub" / "file"), image_root=link) == b"a picture"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("../secret", RefusedSourceError),
        ("../root-too/secret", RefusedSourceError),
        ("/etc/passwd", RefusedSourceError),
        ("outside", RefusedSourceError),
        ("up/secret", RefusedSourceError),
        ("up/root/sub/../../secret", RefusedSourceError),
        ("missing", UnreachableSourceError),
        ("sub", UnreachableSourceError),
        ("pipe", UnreachableSourceError),
        ("loop", UnreachableSourceError),
        ("a\0b", UnreachableSourceError),
        ("x" * 5000, UnreachableSourceError),
        ("file:///etc/passwd", UnreachableSourceError),
        ("long", TooLargeError),
        ("empty", InvalidRequestError),
    ],
)
def test_nothing_else_is(root: Path, path: str, kind: type[ServiceError]) -> None:
    with pytest.raises(kind, match=r"^image: ") as caught:
        sources("read_path", path, image_root=root)
    assert 400 <= caught.value.status < 500


def test_without_a_root_no_path_is_read_and_the_error_says_how_to_allow_it() -> None:
    with pytest.raises(RefusedSourceError, match="OCR_IMAGE_ROOT"):
        sources("read_path", "/etc/hostname")


def test_a_url_and_base64_are_told_apart_by_the_scheme(site: Site) -> None:
    allowed = {"url_allow": ("127.0.0.1",)}
    assert sources("url_or_base64", site.url("/file"), **allowed) == b"a picture"
    assert sources("url_or_base64", f" {site.url('/file')}\n", **allowed) == b"a picture"
    assert sources("url_or_base64", "YSBwaWN0dXJl") == b"a picture"
    assert sources("url_or_base64", "data:image/png;base64,YSBwaWN0dXJl") == b"a picture"
    with pytest.raises(InvalidRequestError, match="empty"):
        sources("url_or_base64", site.url("/empty"), **allowed)
    with pytest.raises(RefusedSourceError):
        sources("url_or_base64", "file:///etc/passwd")
