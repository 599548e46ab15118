"""A refusal as bytes, whatever happens to the door."""

from __future__ import annotations

from twisted.logger import Logger

from lmgateway.errors import GatewayError
from lmgateway.wire.door import Door, Head, Refusal
from lmgateway.wire.heads import NO_BODY, render_head

_log = Logger()


def render_refusal(
    door: Door, head: Head | None, peer: str, error: GatewayError, framing: bytes
) -> bytes:
    """
    Have *door* render *error*, tell it so, and make a whole response of it.

    Args:
        framing: Finished header lines to add.
    """
    refusal = _ask(door, head, peer, error)
    body = refusal.body if refusal.status not in NO_BODY else b""
    framing += b"content-length: %d\r\n" % len(body)
    if head is not None and head.method == b"HEAD":
        body = b""
    return render_head(refusal.status, refusal.headers, framing) + body


def _ask(door: Door, head: Head | None, peer: str, error: GatewayError) -> Refusal:
    try:
        door.refused(head, peer, error)
        return door.refuse(head, error)
    except Exception:
        _log.failure("The door could not refuse.")
        return Refusal(error.status, (), b"")
