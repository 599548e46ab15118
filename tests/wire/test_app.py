"""Routes declared on a class: what is fixed, and what takes the rest of a path."""

from __future__ import annotations

from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.wire.app import App
from lmgateway.wire.request import Request
from lmgateway.wire.routes import Routes
from tests.wire.serving import JSON, PlainFallback, Server, body_of, get, post, statuses


class Shop:
    """Says what it was asked for."""

    app: ClassVar[App] = App()

    def __init__(self, name: str) -> None:
        self.name = name

    def _say(self, request: Request, text: str) -> None:
        request.respond(200, JSON, f"{self.name}: {text}".encode())

    @app.route("/list", methods=["GET"])
    @app.route("/all", methods=["GET", "POST"])
    def list_all(self, request: Request) -> None:
        """List all."""
        self._say(request, "all")

    @app.route("/list/<path:what>", methods=["GET"])
    async def show(self, request: Request, what: str) -> None:
        """Show one."""
        self._say(request, what)

    @app.route("/list/<path:what>", methods=["DELETE"])
    def remove(self, request: Request, what: str) -> None:
        """Remove one."""
        self._say(request, f"no more {what}")


class AppTests(SynchronousTestCase):
    """Tests for what answers which path."""

    def setUp(self) -> None:
        self.server = Server()
        self.server.factory.resource = Routes([Shop("ours").app], PlainFallback())
        self.client = self.server.connect()

    def _ask(self, path: bytes, method: bytes = b"GET") -> bytes:
        return self.client.send(get(path, method=method))

    def test_fixed_paths(self) -> None:
        """A method answers each path that it is declared for, on the instance that is served."""
        self.assertEqual(body_of(self._ask(b"/list?some=query")), b"ours: all")
        self.assertEqual(body_of(self.client.send(post(b"/all"))), b"ours: all")

    def test_the_rest_of_a_path(self) -> None:
        """A variable part takes all that is left of a path, decoded, slashes too."""
        self.assertEqual(body_of(self._ask(b"/list/a%20b/c:d")), b"ours: a b/c:d")
        self.assertEqual(body_of(self._ask(b"/list/a/")), b"ours: a/")
        self.assertEqual(body_of(self._ask(b"/list/x", b"DELETE")), b"ours: no more x")

    def test_what_is_not_there(self) -> None:
        """Nothing left of a path, or an empty part of it, is not found, and nothing redirects."""
        for path in (b"/list/", b"/list//x", b"//list/x", b"/lists/x", b"/list%2f", b"/all/x"):
            self.assertEqual(statuses(self._ask(path)), [404], path)

    def test_head(self) -> None:
        """HEAD works where GET does."""
        self.assertEqual(statuses(self._ask(b"/list/x", b"HEAD")), [200])
        self.assertEqual(statuses(self._ask(b"/list", b"HEAD")), [200])

    def test_another_method(self) -> None:
        """A path with another method is told which ones there are, all of them."""
        answer = self._ask(b"/list/x", b"PUT")
        self.assertEqual(statuses(answer), [405])
        self.assertIn(b"allow: DELETE, GET, HEAD\r\n", answer)
        self.assertIn(b"allow: GET, HEAD, POST\r\n", self._ask(b"/all", b"PUT"))

    def test_instances(self) -> None:
        """Two instances answer each for itself."""
        self.server.factory.resource = Routes([Shop("theirs").app], PlainFallback())
        self.assertEqual(body_of(self._ask(b"/list/x")), b"theirs: x")

    def test_other_kinds_of_variable_parts(self) -> None:
        """What is not the rest of a path is refused where it is declared."""
        for path in ("/<name>", "/<path:name>/more", "/<int:n>", "/a<path:name>"):
            self.assertRaises(ValueError, App().route(path, methods=["GET"]), self._ask)
