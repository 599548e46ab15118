"""Posts bodies to one address that the config names: a collector, a receiver of records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from lmgateway.backend_errors import BackendError
from lmgateway.config.secrets import Secret
from lmgateway.service.resources import Resources
from lmgateway.telemetry.outbox import NotTaken
from lmgateway.wire.body import BodyReader
from lmgateway.wire.client import Origin, Target, WireAgent, WireClient

MAX_REPLY = 65536
CONNECT_SECONDS = 3.0
IDLE_SECONDS = 4.0
_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})


def target_of(url: str, headers: Sequence[tuple[bytes, bytes]]) -> Target:
    """
    Give what is posted to at *url*, with *headers* each time.

    Raises:
        ValueError: If it is not a plain URL, or a header cannot be sent.
    """
    parts = urlsplit(url)
    origin = Origin.parse(f"{parts.scheme}://{parts.netloc}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target.prepare(origin, b"POST", path, headers)


class Poster:
    """
    Posts.

    Args:
        url: Where to.
        media: What bodies are.
        auth: A header with a credential.
        seconds: How long an answer may take.

    Raises:
        ValueError: If a header cannot be sent.
    """

    def __init__(
        self,
        resources: Resources,
        url: str,
        media: str,
        headers: Mapping[str, str],
        auth: tuple[str, Secret] | None,
        seconds: float,
    ) -> None:
        fixed = {name.lower(): value for name, value in headers.items()}
        if auth is not None:
            fixed[auth[0].lower()] = auth[1].reveal()
        fixed = {"content-type": media, "user-agent": "lmgateway", **fixed}
        pairs = [(name.encode(), value.encode()) for name, value in fixed.items()]
        self._target = target_of(url, pairs)
        self._seconds = seconds
        self._wheel = resources.wheel
        self._agent = WireAgent(
            resources.reactor,
            resources.wheel,
            self._target.origin,
            connect_seconds=CONNECT_SECONDS,
            pool_idle_seconds=IDLE_SECONDS,
        )
        self._client = WireClient(self._agent, resources.wheel)

    async def __call__(self, body: bytes) -> None:
        """
        Post one body.

        Raises:
            NotTaken: If it was not taken.
        """
        try:
            response = await self._client.send(self._target, body, head_seconds=self._seconds)
            reply = BodyReader(response, self._wheel)
            try:
                await reply.whole(MAX_REPLY, self._seconds)
            finally:
                reply.abort()
        except BackendError as error:
            raise NotTaken(error.kind) from error
        if response.code >= 300:
            retryable = response.code in _LATER
            raise NotTaken(f"answered with status {response.code}", retryable=retryable)

    def close(self) -> None:
        """Close connections that are idle."""
        self._agent.close()
