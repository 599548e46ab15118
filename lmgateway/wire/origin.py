"""
Where a backend lives, and requests to it prepared ahead of time.

All of this is made once, when the configuration is read: what is left to do
per request is to join a few byte strings.  Hosts, paths and credentials come
from the configuration alone; nothing here looks at a client's request.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote, urlsplit

from attrs import field

from lmgateway.classes import frozen

_PORTS = {"http": 80, "https": 443}
_PATH = re.compile(r"(?:/[A-Za-z0-9\-._~!$&'()*+,;=:@%]*)*")
_TARGET = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*)?")
_LINE = b"%b: %b\r\n".__mod__
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST = re.compile(r"(?!-)[a-z0-9_\-]{1,63}(?:\.[a-z0-9_\-]{1,63})*\.?")
_RESERVED = frozenset(
    (
        b"accept-encoding",
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)


def is_literal(host: str) -> bool:
    """Whether *host* is an IP address rather than a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def authority(host: str, port: int) -> str:
    """Write *host* and *port* as one, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_url(url: str) -> SplitResult:
    """
    Take an ``http`` or ``https`` URL apart.

    Raises:
        ValueError: If it is none, has no host or an impossible port, or has characters that
            no URL has.  The message never repeats the URL: it may hold a password.
    """
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("a URL has only printable ASCII characters and no spaces")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("this is not a URL, or its port is not a number up to 65535") from None
    if parts.scheme not in _PORTS:
        raise ValueError("the URL must begin with http:// or https://")
    host = parts.hostname
    if not host or (not is_literal(host) and _HOST.fullmatch(host) is None):
        raise ValueError("the URL names no host, or not a valid one")
    if port == 0:
        raise ValueError("the URL's port must not be 0")
    return parts


@frozen(kw_only=True)
class Way:
    """
    A proxy, and what it wants to be told.

    Attributes:
        credentials: The value of ``Proxy-Authorization``, never shown.
    """

    host: str
    port: int
    credentials: bytes | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Way:
        """
        Read ``http://[user:password@]host:port``.

        Raises:
            ValueError: If it is something else; the message holds no password.
        """
        try:
            parts = split_url(url)
        except ValueError as error:
            raise ValueError(f"proxy: {error}") from None
        if parts.scheme != "http":
            raise ValueError("proxy: only http:// proxies are supported")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("proxy: the URL must be http://[user:password@]host:port")
        credentials = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            credentials = b"Basic " + b64encode(pair.encode("utf-8"))
        return cls(host=str(parts.hostname), port=parts.port or 80, credentials=credentials)

    def ask(self, host: str, port: int) -> bytes:
        """Write the request for a tunnel to *host*."""
        there = authority(host, port).encode("ascii")
        lines = [b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (there, there)]
        if self.credentials is not None:
            lines.append(b"Proxy-Authorization: %b\r\n" % self.credentials)
        return b"".join((*lines, b"\r\n"))


@frozen(kw_only=True)
class Origin:
    """
    Where one backend lives, and how it is reached.

    Attributes:
        scheme: ``http`` or ``https``.
        host: Name or IP address, lower-case, without brackets.
        prefix: What comes before each path; no trailing slash, so empty for none.
        ca_file: PEM certificates trusted instead of the system's.
        client_cert: PEM file with a certificate (chain) and its key, shown to the backend.
        proxy: An HTTP proxy to go through, ``http://[user:password@]host:port``.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""
    ca_file: str | None = None
    client_cert: str | None = None
    proxy: str | None = field(default=None, repr=False)

    @classmethod
    def parse(
        cls,
        base_url: str,
        *,
        ca_file: str | None = None,
        client_cert: str | None = None,
        proxy: str | None = None,
    ) -> Origin:
        """
        Read a backend's base URL.

        Raises:
            ValueError: If the URL is not plainly ``http(s)://host[:port][/prefix]``; the
                message says what is wrong and holds no secret.
        """
        parts = split_url(base_url)
        if parts.username is not None or parts.password is not None:
            raise ValueError("the URL must not hold credentials: give the key separately")
        if "?" in base_url or "#" in base_url:
            raise ValueError("the URL must not have a query or a fragment")
        prefix = parts.path.rstrip("/")
        if _PATH.fullmatch(prefix) is None or {"..", "."} & set(prefix.split("/")):
            raise ValueError("the URL's path has characters or segments that it must not have")
        if parts.scheme == "http" and (ca_file or client_cert):
            raise ValueError("ca_file and client_cert have no meaning for an http:// URL")
        if proxy is not None:
            Way.parse(proxy)
        return cls(
            scheme=parts.scheme,
            host=str(parts.hostname),
            port=parts.port or _PORTS[parts.scheme],
            prefix=prefix,
            ca_file=ca_file,
            client_cert=client_cert,
            proxy=proxy,
        )

    @property
    def authority(self) -> bytes:
        """The ``Host`` header: the port is left out where it is the scheme's own."""
        whole = authority(self.host, self.port)
        if self.port == _PORTS[self.scheme]:
            whole = whole.rpartition(":")[0]
        return whole.encode("ascii")

    @property
    def url(self) -> bytes:
        """Scheme and authority, for those who need a whole URL."""
        return self.scheme.encode("ascii") + b"://" + self.authority


def header_block(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """
    Write header lines.

    Raises:
        ValueError: If a value would end its line early.  Names are ours, not checked.
    """
    block = b"".join(map(_LINE, headers))
    lines = len(headers)
    if block.count(b"\n") != lines or block.count(b"\r") != lines or 0 in block:
        raise ValueError("a header value has a line break or a NUL in it")
    return block


@frozen(kw_only=True)
class Target:
    """
    One call of one backend, ready but for what each request adds.

    Attributes:
        origin: Where it goes.
        method: Upper-case.
        uri: The whole URL, for agents that want one.
        headers: The fixed headers, credentials included: never shown.
        head: Request line and fixed headers as they go out, never shown.
    """

    origin: Origin
    method: bytes
    uri: bytes
    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)
    head: bytes = field(repr=False)

    @classmethod
    def prepare(
        cls,
        origin: Origin,
        method: bytes,
        path: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> Target:
        """
        Write down everything that does not change from request to request.

        Args:
            path: Comes after the origin's prefix; begins with a slash, may have a query.
            headers: Fixed headers, credentials included.

        Raises:
            ValueError: If any part could be read as more than it is.
        """
        if _TOKEN.fullmatch(method) is None or method != method.upper():
            raise ValueError("the method is not an upper-case word")
        if _TARGET.fullmatch(path) is None:
            raise ValueError("the path has characters that it must not have")
        for name, _ in headers:
            if _TOKEN.fullmatch(name) is None or name.lower() in _RESERVED:
                raise ValueError(f"the header {name!r} cannot be set")
        whole = origin.prefix.encode("ascii") + path.encode("ascii")
        return cls(
            origin=origin,
            method=method,
            uri=origin.url + whole,
            headers=tuple(headers),
            head=b"%b %b HTTP/1.1\r\nhost: %b\r\naccept-encoding: identity\r\n%b"
            % (method, whole, origin.authority, header_block(headers)),
        )

    def render(self, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
        """
        Write the whole head of one request that carries *body*.

        Raises:
            ValueError: If a header value would end its line early.
        """
        more = header_block(headers) if headers else b""
        if not body and self.method in (b"GET", b"HEAD"):
            return b"%b%b\r\n" % (self.head, more)
        return b"%b%bcontent-length: %d\r\n\r\n" % (self.head, more, len(body))
