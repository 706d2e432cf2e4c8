"""Fetching URLs that callers name, without lending them this server's place in its network."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import aiohttp
from yarl import URL

from adapter.addresses import Address, is_public
from adapter.errors import InvalidRequestError, RefusedSourceError, UnreachableSourceError

_CHUNK = 1 << 16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# As they are: what was compressed might grow beyond every limit.
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "triton-ocr-server"}

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
"""The addresses of a host name; raises `OSError`."""


@dataclass(frozen=True)
class WebPolicy:
    """`allow`: `host` or `host:port` that may be fetched wherever they are; `timeout`: seconds for the whole fetch."""

    allow: frozenset[str]
    timeout: float
    max_redirects: int


async def resolve(host: str, port: int) -> Sequence[Address]:
    """As the system does it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # An address of one link has that link's name behind a percent sign.
    return [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]


class Web:
    """Gets files over HTTP(S) from hosts all of whose addresses are public, and from those that the policy allows.

    The addresses are looked up and checked anew for every redirect, and the connection is made to the very address
    that was checked: a name that leads elsewhere the next moment leads nowhere.
    """

    def __init__(self, policy: WebPolicy, resolve: Resolve = resolve) -> None:
        """Must be made inside the running event loop."""
        self._policy = policy
        self._allow = frozenset(map(str.lower, policy.allow))
        self._resolve = resolve
        # Proxies of the environment are not used: they would look the name up again.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            headers=_HEADERS,
        )

    async def close(self) -> None:
        await self._session.close()

    async def fetch(self, url: str, name: str, check_size: Callable[[int], None]) -> bytes:
        """What is behind the URL in the field `name`.

        `check_size` is told how many bytes there are, as soon as it is known and while they come. Raises what it
        raises, and `InvalidRequestError` (no URL), `RefusedSourceError`, `UnreachableSourceError`.
        """
        try:
            return await asyncio.wait_for(self._fetch(url, name, check_size), self._policy.timeout)
        except asyncio.TimeoutError as error:
            raise UnreachableSourceError(
                f"{name}: the URL could not be fetched within {self._policy.timeout:g} s (OCR_URL_TIMEOUT)"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableSourceError(f"{name}: the URL's server cannot be reached, or answers wrongly") from error

    async def _fetch(self, url: str, name: str, check_size: Callable[[int], None]) -> bytes:
        target = _parsed(url, name)
        for _ in range(self._policy.max_redirects + 1):
            async with await self._get(target, name) as response:
                location = response.headers.get("Location", "")
                if response.status not in _REDIRECTS or not location:
                    return await _body(response, name, check_size)
            target = _parsed(location, name, target)
        raise UnreachableSourceError(
            f"{name}: the URL leads through more than {self._policy.max_redirects} redirects (OCR_URL_MAX_REDIRECTS)"
        )

    async def _get(self, url: URL, name: str) -> aiohttp.ClientResponse:
        host = str(url.raw_host)
        refused: Exception | None = None
        for address in await self._addresses(url, name):
            try:
                return await self._session.get(
                    url.with_host(str(address)),
                    headers={"Host": str(url.host_port_subcomponent)},
                    # The certificate has to be that of the name.
                    server_hostname=host if url.scheme == "https" else None,
                    allow_redirects=False,
                )
            except aiohttp.ClientConnectorError as error:
                refused = error
        raise UnreachableSourceError(f"{name}: the host {host!r} cannot be reached") from refused

    async def _addresses(self, url: URL, name: str) -> Sequence[Address]:
        host, port = str(url.raw_host), int(url.port or 0)
        literal = _literal(host)
        try:
            addresses = [literal] if literal else await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise UnreachableSourceError(f"{name}: the host {host!r} is not known") from error
        bracketed = str(url.host_subcomponent).lower()
        if not (self._allow & {bracketed, f"{bracketed}:{port}"} or all(map(is_public, addresses))):
            raise RefusedSourceError(
                f"{name}: the host {host!r} is not on the public internet; OCR_URL_ALLOW can name it"
            )
        return addresses


def _parsed(text: str, name: str, base: URL | None = None) -> URL:
    try:
        url = base.join(URL(text)) if base else URL(text)
        # A port out of range shows only when it is asked for.
        known = bool(url.raw_host and url.port)
    except ValueError as error:
        raise InvalidRequestError(f"{name}: not a URL") from error
    if url.scheme not in {"http", "https"}:
        raise RefusedSourceError(f"{name}: a URL must begin with http:// or https://")
    if not known:
        raise InvalidRequestError(f"{name}: not a URL: it names no host")
    return url


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


async def _body(response: aiohttp.ClientResponse, name: str, check_size: Callable[[int], None]) -> bytes:
    if response.status != 200:
        raise UnreachableSourceError(f"{name}: the URL's server answered with status {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnreachableSourceError(f"{name}: the URL's server sent the file compressed, which was not asked for")
    check_size(response.content_length or 0)
    data = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        data += chunk
        check_size(len(data))
    return bytes(data)
