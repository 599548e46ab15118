"""
The admin port's door: who comes in at all, decided before a byte of body is read.

Deny by default: what is not declared ``public`` needs a good token, and whatever is no route needs
one as well, so that nobody can look around.  Whether the role is enough is looked at as the route
begins (``admin.declared``), where attempts are recorded.  Without any token, which only a loopback
port or one with client certificates may be, everyone who reaches it may do all.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest

from twisted.logger import Logger

from lmgateway.admin.access import Expired, Guesses, Tokens
from lmgateway.admin.answers import HTML, head_of, refusal_of
from lmgateway.admin.cookies import Cookies
from lmgateway.admin.declared import AdminPass
from lmgateway.admin.hosts import Hosts
from lmgateway.admin.operator import ANYONE, STRANGER, Operator
from lmgateway.admin.sessions import Sessions
from lmgateway.admin.table import RouteTable
from lmgateway.classes import frozen
from lmgateway.errors import AccessError, Forbidden, GatewayError, Unauthenticated
from lmgateway.governance.addresses import Proxies
from lmgateway.wire.door import Head, Refusal
from lmgateway.wire.identity import request_id

MAX_BODY = 1024 * 1024


@frozen(kw_only=True, eq=False)
class AdminDoor:
    """
    Lets operators in: see ``wire.door.Door``.

    Attributes:
        tokens: What may be shown; none on a loopback port that is open to all.
        tell: Takes ``audit`` events.
    """

    table: RouteTable
    tokens: Tokens
    guesses: Guesses
    sessions: Sessions
    hosts: Hosts
    cookies: Cookies
    proxies: Proxies
    tell: Callable[..., None]
    _log = Logger()

    def admit(self, head: Head) -> AdminPass:
        """
        Let in who shows a good token, and anyone where none is needed.

        Raises:
            Unauthenticated: If a token is needed and no good one shown.
            RateLimited: If too many wrong ones came from there.
            Forbidden: If the request comes from a page of another site.
        """
        self.hosts.check(head)
        declared = self.table.find(head)
        address = self.proxies.client_of(head)
        if declared is not None and declared.role == "public":
            operator = STRANGER
        else:
            operator = self._operator(head, address)
        return AdminPass(
            max_body=MAX_BODY,
            address=address,
            id=request_id(head),
            operator=operator,
            declared=declared,
            tell=self.tell,
        )

    def _operator(self, head: Head, address: str) -> Operator:
        shown = head.get(b"authorization")
        if shown is not None and self.tokens:
            return self._by_token(shown, address)
        return self._by_session(head)

    def _by_token(self, shown: bytes, address: str) -> Operator:
        if shown[:7].lower() != b"bearer ":
            raise Unauthenticated("The Authorization header must be of the Bearer scheme.")
        self.guesses.check(address)
        try:
            token = self.tokens.identify(shown[7:].strip())
        except Unauthenticated as error:
            if not isinstance(error, Expired):
                self.guesses.wrong(address)
            raise
        return Operator(token.name, token.role, "token")

    def _by_session(self, head: Head) -> Operator:
        if not self.tokens:
            return ANYONE
        cookie = self.cookies.read(head)
        session = None if cookie is None else self.sessions.find(cookie)
        operator = None if session is None else self.tokens.still(session.token)
        if session is None or operator is None:
            raise Unauthenticated("A token is needed.")
        if head.method not in (b"GET", b"HEAD"):
            shown = head.get(b"x-csrf-token") or b""
            if not compare_digest(shown, session.csrf.encode()):
                raise Forbidden("The header X-CSRF-Token must be what /admin/session gives.")
        return operator

    def refuse(self, head: Head | None, error: GatewayError) -> Refusal:
        """Give the answer to a request that is not let in; a browser is sent to log in."""
        if head is not None and isinstance(error, Unauthenticated) and self._is_page(head):
            up = "../" * (head.path.count(b"/") - 1)
            location = (b"location", f"{up}login".encode())
            return Refusal(303, (*head_of(request_id(head), HTML), location), b"")
        return refusal_of(head, error)

    def _is_page(self, head: Head) -> bool:
        if head.get(b"authorization") is not None:  # no browser, and has its token elsewhere
            return False
        declared = self.table.find(head)
        return declared is not None and declared.media == HTML

    def refused(self, head: Head | None, peer: str, error: GatewayError) -> None:
        """Log that a request was not let in, and tell of whoever may not."""
        self._log.warn("Admin request refused: {kind} from {peer}", kind=error.kind, peer=peer)
        if head is not None and isinstance(error, AccessError):
            self.tell(
                "denied",
                port="admin",
                ip=self.proxies.client_of(head),
                request_id=request_id(head),
                path=head.path.decode("latin-1")[:256],
                outcome=error.kind,
                status=error.status,
            )
