"""The receivers of events, from a config: where they are, and how they are posted to."""

from __future__ import annotations

from lmgateway.backend_errors import BackendError
from lmgateway.config.schema import Config, WebhookSection
from lmgateway.errors import ConfigError
from lmgateway.service.port import secret_of
from lmgateway.service.poster import CONNECT_SECONDS, IDLE_SECONDS, target_of
from lmgateway.service.resources import Resources
from lmgateway.telemetry.webhooks import Hook, Pairs, Undelivered, key_bytes
from lmgateway.wire.client import Target, WireClient

_HEADERS = ((b"content-type", b"application/json"), (b"user-agent", b"lmgateway"))


class Hooks:
    """
    The webhooks of one config.

    Attributes:
        clients: What they are posted with.
    """

    def __init__(self, config: Config, resources: Resources) -> None:
        self._resources = resources
        self.clients: set[WireClient] = set()
        self._hooks = {
            section.name: self._hook(position, section, config)
            for position, section in enumerate(config.webhooks)
        }

    def settle(self) -> None:
        """Post to these from now on."""
        self._resources.webhooks.settle(self._hooks)

    def _hook(self, position: int, section: WebhookSection, config: Config) -> Hook:
        key = secret_of(section.key_source, config, self._resources)
        if key is None and section.key_source is not None:
            raise ConfigError(
                [f"webhooks[{position}]: the key of {section.name!r} resolves to nothing"]
            )
        return Hook(
            kinds=frozenset(section.events),
            key=None if key is None else key_bytes(key.reveal()),
            send=self._sender(position, section).send,
        )

    def _sender(self, position: int, section: WebhookSection) -> _Sender:
        try:
            target = target_of(section.url, _HEADERS)
        except ValueError as error:
            raise ConfigError([f"webhooks[{position}].url: {error}"]) from None
        client = self._resources.client(target.origin, CONNECT_SECONDS, IDLE_SECONDS)
        self.clients.add(client)
        return _Sender(client, target, section.timeout_ms / 1000)


class _Sender:
    """Posts to one receiver; follows no redirect, and reads no answer but its status."""

    def __init__(self, client: WireClient, target: Target, seconds: float) -> None:
        self._client = client
        self._target = target
        self._seconds = seconds

    async def send(self, body: bytes, headers: Pairs) -> int:
        """
        Post once.

        Raises:
            Undelivered: If there was no answer.
        """
        try:
            response = await self._client.send(
                self._target, body, headers, head_seconds=self._seconds
            )
        except BackendError as error:
            raise Undelivered(error.kind) from error
        response.abortConnection()
        return response.code
