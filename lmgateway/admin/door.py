"""
The admin port's door: a token if there is one, and no browser tricks.

A page of another site can make a browser on the operator's machine ask a
loopback port.  So the ``Host`` must be one that the operator would type, and
an ``Origin``, if there is one, must be that very host.
"""

from __future__ import annotations

from hmac import compare_digest

from attrs import frozen
from twisted.logger import Logger

from lmgateway.admin.answers import refusal_of
from lmgateway.config.secrets import Secret
from lmgateway.errors import Forbidden, GatewayError, Unauthenticated
from lmgateway.wire.door import Head, Pass, Refusal

MAX_BODY = 1024 * 1024
_LOOPBACK = (b"127.0.0.1", b"localhost", b"[::1]")


@frozen(eq=False)
class AdminDoor:
    """
    Lets the operator in: see ``wire.door.Door``.

    Attributes:
        token: What must be shown; ``None`` on a loopback port without one.
    """

    token: Secret | None
    _log = Logger()

    def admit(self, head: Head) -> Pass:
        """
        Let in who shows the token.

        Raises:
            Unauthenticated: If a token is needed and not shown.
            Forbidden: If the request comes from a page of another site.
        """
        self._refuse_other_sites(head)
        if head.path != b"/healthz" and self.token is not None:
            self._ask_token(head, self.token)
        return Pass(max_body=MAX_BODY, principal=None)

    def _ask_token(self, head: Head, token: Secret) -> None:
        shown = head.get(b"authorization") or b""
        if shown[:7].lower() != b"bearer ":
            raise Unauthenticated("A token is needed.")
        if not compare_digest(shown[7:].strip(), token.reveal().encode()):
            raise Unauthenticated("The token is not valid.")

    def _refuse_other_sites(self, head: Head) -> None:
        host = head.get(b"host") or b""
        origin = head.get(b"origin")
        if origin is not None and origin.partition(b"://")[2] != host:
            raise Forbidden("Requests from pages of other sites are not served.")
        name = host if host.endswith(b"]") else host.rpartition(b":")[0] or host
        if self.token is None and name not in _LOOPBACK:
            raise Forbidden("Without a token only a loopback name is served.")

    def refuse(self, head: Head | None, error: GatewayError) -> Refusal:
        """Give the answer to a request that is not let in."""
        return refusal_of(head, error)

    def refused(self, head: Head | None, peer: str, error: GatewayError) -> None:
        """Log that a request was not let in."""
        self._log.warn("Admin request refused: {kind} from {peer}", kind=error.kind, peer=peer)
