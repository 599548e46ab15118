"""Who is told of what happens: the ``[[webhooks]]`` tables."""

from __future__ import annotations

from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from attrs import field

from lmgateway.classes import frozen
from lmgateway.config.backend import SecretSource, source_of
from lmgateway.config.values import EnvName, Milliseconds, Name, OneOf, Parsed

KINDS = (
    "alarm",
    "audit",
    "breaker",
    "budget",
    "denied",
    "key",
    "ledger",
    "limit",
    "mid_stream",
    "override",
    "probe",
    "reload",
    "secret",
    "start",
    "worker",
)
"""What can happen: see ``lmgateway.telemetry.events``."""


def _hook_url(text: str) -> None:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.fragment:
        raise ValueError("not a webhook's URL")
    if url.username is not None or url.port == 0 or not text.isascii() or not text.isprintable():
        raise ValueError("not a webhook's URL")


# Named, since pydoctor takes a string within an alias for a forward reference.
_HOOK_URL = Parsed(_hook_url, "http:// or https:// with a host, without password and fragment")
_KIND = OneOf(KINDS)

HookUrl: TypeAlias = Annotated[str, _HOOK_URL]
Kind: TypeAlias = Annotated[str, _KIND]


@frozen(kw_only=True)
class WebhookSection:
    """
    One receiver.

    Attributes:
        name: What logs and metrics call it; its URL is not told, since it may be a secret.
        url: Where events are posted to.
        events: The kinds of event that are.
        key_env: The environment variable that holds the key that deliveries are signed with.
        key_secret: Where that key is read from.
        timeout_ms: Milliseconds that the receiver may take to answer.
    """

    name: Name
    url: HookUrl = field(repr=False)
    events: tuple[Kind, ...] = ("budget",)
    key_env: EnvName | None = None
    key_secret: SecretSource | None = None
    timeout_ms: Milliseconds = 5000

    @property
    def key_source(self) -> SecretSource | None:
        """Where the key comes from, whichever way that is written."""
        return source_of(self.key_env, self.key_secret)
