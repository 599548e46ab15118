"""
A few requests to a server that keeps secrets: JSON in, JSON out, each within a deadline.

Blocking, for threads: it serves before the reactor runs, and beside it.  Redirects
are not followed, proxies of the environment not asked, answers bounded; what a
server says besides its status is repeated nowhere.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from lmgateway.stores.deadline import Deadline, Refused

MAX_ANSWER = 1024 * 1024


class Server:
    """
    One server.

    Args:
        address: Its base URL.
        ca_file: Certificates to trust, instead of the system's.
    """

    def __init__(self, address: str, ca_file: str | None = None) -> None:
        self._url = urlsplit(address)
        self._ca_file = ca_file
        self._connection: HTTPConnection | None = None

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        deadline: Deadline,
        document: Any = None,
    ) -> Any:
        """
        Make one request; the connection is kept for the next.

        Raises:
            Refused: If there is no answer, or none with success and a JSON object.
        """
        body = None if document is None else json.dumps(document).encode()
        sent = {"Accept": "application/json", "Content-Type": "application/json", **headers}
        try:
            connection = self._connected(deadline)
            connection.request(method, self._url.path.rstrip("/") + path, body, sent)
            response = connection.getresponse()
            content = _read(response, connection, deadline)
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            raise Refused(_reason(error)) from None
        except Refused:
            self.close()
            raise
        if response.will_close:
            self.close()
        if not 200 <= response.status < 300:
            raise Refused(f"it answered with status {response.status}", response.status)
        return _parsed(content)

    def _connected(self, deadline: Deadline) -> HTTPConnection:
        left = deadline.left()
        if self._connection is None:
            self._connection = self._opened(left)
            self._connection.connect()
        assert self._connection.sock is not None, "it was connected"
        self._connection.sock.settimeout(left)
        return self._connection

    def _opened(self, seconds: float) -> HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "http":
            return HTTPConnection(host, port, timeout=seconds)
        trust = ssl.create_default_context(cafile=self._ca_file)
        return HTTPSConnection(host, port, timeout=seconds, context=trust)

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _read(response: HTTPResponse, connection: HTTPConnection, deadline: Deadline) -> bytes:
    content = bytearray()
    while part := response.read1(65536):
        content += part
        if len(content) > MAX_ANSWER:
            raise Refused("its answer is too long")
        if connection.sock is not None:
            connection.sock.settimeout(deadline.left())
    response.close()  # not the connection: that is free for the next request now
    return bytes(content)


def _parsed(content: bytes) -> Any:
    try:
        document = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        raise Refused("its answer is not JSON") from None
    if not isinstance(document, dict):
        raise Refused("its answer is not an object")
    return document


def _reason(error: Exception) -> str:
    """Say what went wrong without repeating what the server sent."""
    if isinstance(error, TimeoutError):
        return "it takes too long"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    if isinstance(error, OSError):
        return f"it cannot be reached: {error.strerror or type(error).__name__}"
    return f"it does not speak HTTP ({type(error).__name__})"
