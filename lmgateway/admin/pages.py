"""
The dashboard: ``/`` and the files that it is made of.

They are plain files in the package, served as they are.  Nothing is fetched from elsewhere, and
the content security policy would not let it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import ClassVar

from lmgateway.admin.answers import HTML, Raw
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen
from lmgateway.errors import NotFound

topic = Topic("dashboard")

_CSP = (
    b"content-security-policy",
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
)
_MEDIA = {
    "css": "text/css; charset=utf-8",
    "html": HTML,
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@cache
def _assets() -> Mapping[str, bytes]:
    """Read all files, once."""
    folder = files("lmgateway.admin") / "static"
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}


@frozen(eq=False)
class PageRoutes:
    """The routes."""

    topic: ClassVar[Topic] = topic

    @topic.route("GET", "/", role="viewer", media=HTML, answer=None, summary="Dashboard")
    def page(self, call: Call) -> Raw:
        """Show the dashboard; a browser that is not logged in is sent to log in."""
        return Raw(_assets()["index.html"], HTML, headers=(_CSP,))

    @topic.route(
        "GET", "/static/<name>", role="viewer", media="*/*", answer=None, errors=(404,),
        summary="A file of the dashboard",
    )  # fmt: skip
    def asset(self, call: Call, name: str) -> Raw:
        """Give a script, a style or a picture."""
        body = _assets().get(name)
        if body is None:
            raise NotFound("The dashboard has no such file.")
        return Raw(body, _MEDIA[name.rpartition(".")[2]], headers=(_CSP,))
