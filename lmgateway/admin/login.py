"""Logging in with a browser: ``/login``, ``/logout``, ``/admin/session``."""

from __future__ import annotations

from html import escape
from typing import ClassVar

import msgspec

from lmgateway.admin.access import Expired, Guesses, Tokens
from lmgateway.admin.answers import HTML, Answer, Raw, Shape
from lmgateway.admin.cookies import Cookies
from lmgateway.admin.declared import FORM, Call, Topic
from lmgateway.admin.operator import Operator
from lmgateway.admin.sessions import Sessions
from lmgateway.classes import frozen
from lmgateway.errors import GatewayError, RateLimited, Unauthenticated
from lmgateway.wire.viewer import policy

topic = Topic("login")

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { display: grid; place-items: center; min-height: 90vh; margin: 0;
  background: light-dark(#f4f5f7, #14171c); color: light-dark(#1c2128, #e6e9ee) }
form { display: grid; gap: .75rem; width: min(22rem, 88vw); padding: 2rem; border-radius: .75rem;
  background: light-dark(#fff, #1d2229); box-shadow: 0 1px 8px rgb(0 0 0 / .2) }
h1 { margin: 0; font-size: 1.25rem }
p { margin: 0; color: light-dark(#b3261e, #ff8a80) }
input, button { font: inherit; padding: .6rem .75rem; border-radius: .4rem;
  border: 1px solid light-dark(#8a94a3, #5b6675); background: transparent; color: inherit }
button { border: 0; background: #2563eb; color: #fff; font-weight: 600; cursor: pointer }
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in - lmgateway</title><style>{style}</style></head>
<body><form method="post" action="login">
<h1>lmgateway</h1>{said}
<label for="token">Admin token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button>
</form></body></html>
"""

_CSP = (
    b"content-security-policy",
    policy(f"<style>{_STYLE}</style>".encode(), b"form-action 'self'"),
)
_HOME = (b"location", b"./")


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the page sends."""

    token: str


class Whoami(Shape, frozen=True):
    """
    Who asks.

    Attributes:
        via: ``token``, ``session``, or ``open`` where no token is asked for.
        csrf: What a browser must send as ``X-CSRF-Token`` with whatever is not a GET.
        expires_in: Seconds until the session ends, if nothing more is asked.
    """

    name: str
    role: str
    via: str
    csrf: str | None = None
    expires_in: float | None = None


@frozen(eq=False)
class LoginRoutes:
    """The routes."""

    tokens: Tokens
    guesses: Guesses
    sessions: Sessions
    cookies: Cookies
    topic: ClassVar[Topic] = topic

    @topic.route("GET", "/login", role="public", media=HTML, answer=None, summary="Login page")
    def page(self, call: Call) -> Raw:
        """Show the form, unless no token is asked for."""
        if not self.tokens:
            return Raw(b"", HTML, 303, (_HOME,))
        return _form()

    @topic.route(
        "POST", "/login", role="public", media=HTML, body=Credentials, body_media=FORM, answer=None,
        status=303, errors=(401, 429), summary="Log in",
    )  # fmt: skip
    def login(self, call: Call, body: Credentials) -> Raw:
        """Begin a session for who knows a token; the browser gets a cookie."""
        head = call.request.head
        try:
            self.guesses.check(call.address)
            token = self.tokens.identify(body.token.strip().encode())
        except RateLimited as error:
            return _form(error)
        except Unauthenticated as error:
            if not isinstance(error, Expired):
                self.guesses.wrong(call.address)
            return _form(error)
        call.operator = Operator(token.name, token.role, "session")
        if (old := self.cookies.read(head)) is not None:
            self.sessions.end(old)
        cookie = self.cookies.written(head, self.sessions.begin(token.digest))
        return Raw(b"", HTML, 303, (_HOME, cookie))

    @topic.route("POST", "/logout", role="viewer", answer=None, status=204, summary="Log out")
    def logout(self, call: Call) -> Answer:
        """End the browser's session."""
        head = call.request.head
        cookie = self.cookies.read(head)
        if cookie is not None:
            self.sessions.end(cookie)
        return Answer(None, 204, (self.cookies.written(head, ""),))

    @topic.route("GET", "/admin/session", role="viewer", answer=Whoami, summary="Who am I")
    def whoami(self, call: Call) -> Whoami:
        """Say who asks, what they may do, and what their browser must show to do it."""
        operator = call.operator
        cookie = self.cookies.read(call.request.head) if operator.via == "session" else None
        session = None if cookie is None else self.sessions.find(cookie)
        return Whoami(
            name=operator.name,
            role=operator.role,
            via=operator.via,
            csrf=None if session is None else session.csrf,
            expires_in=None if session is None else round(session.rest(self.sessions.now()), 1),
        )


def _form(error: GatewayError | None = None) -> Raw:
    said = "" if error is None else f'\n<p role="alert">{escape(str(error))}</p>'
    headers = [_CSP]
    if error is not None and error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    body = _PAGE.format(style=_STYLE, said=said).encode()
    return Raw(body, HTML, 200 if error is None else error.status, tuple(headers))
