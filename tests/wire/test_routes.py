"""Routes: the table, the patterns, and what happens to handlers that fail."""

from __future__ import annotations

from collections.abc import Sequence

from klein import Klein
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.wire.request import Request
from lmgateway.wire.routes import Routes
from tests.wire.serving import JSON, PlainFallback, Server, body_of, get, post, statuses


class DispatchTests(SynchronousTestCase):
    """Which handler answers."""

    def setUp(self) -> None:
        self.server = Server()
        self.client = self.server.connect()

    def _ask(self, path: bytes, method: bytes = b"GET") -> bytes:
        return self.client.send(get(path, method=method))

    def test_fixed_path(self) -> None:
        """A fixed path finds its handler, with or without a query."""
        self.assertEqual(statuses(self._ask(b"/echo")), [200])
        self.assertEqual(statuses(self._ask(b"/echo?a=b")), [200])

    def test_pattern(self) -> None:
        """A pattern takes its part of the path, decoded."""
        self.assertEqual(body_of(self._ask(b"/things/a%2Fb%20c")), b"a/b c")

    def test_head(self) -> None:
        """HEAD works where GET does, and sends the head alone."""
        for path in (b"/things/abc", b"/echo", b"/plain", b"/stream"):
            client = self.server.connect()
            answer = client.send(get(path, method=b"HEAD"))
            self.assertIn(statuses(answer), ([200], [201]), path)
            self.assertEqual(body_of(answer), b"", path)
        self.assertIn(b"content-length: 3\r\n", self._ask(b"/things/abc", b"HEAD"))

    def test_unknown_path(self) -> None:
        """An unknown path is the fallback's not_found."""
        self.assertIn(b'"not_found"', self._ask(b"/nowhere"))

    def test_unknown_method(self) -> None:
        """A known path with another method is the fallback's, with what is allowed."""
        answer = self._ask(b"/echo", b"DELETE")
        self.assertEqual(statuses(answer), [405])
        self.assertIn(b"allow: GET, HEAD, POST\r\n", answer)
        answer = self.client.send(post(b"/things/abc"))
        self.assertIn(b"allow: GET, HEAD\r\n", answer)

    def test_c20_no_redirect(self) -> None:
        """C20: neither a slash too many nor one too few redirects anywhere."""
        for path in (b"/echo/", b"//echo", b"/things//a", b"/things/", b"/things", b"//evil/.."):
            answer = self._ask(path)
            self.assertNotIn(b"ocation:", answer, path)
            self.assertNotIn(b"30", answer.split(b"\r\n")[0], path)

    def test_c20_undecodable_paths(self) -> None:
        """C20: a path that is no text is not found, without a trace in the log."""
        for path in (b"/%ff", b"/things/%ff", b"/things/%00", b"/things/a%0d%0ab"):
            self.assertEqual(statuses(self._ask(path)), [404], path)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_another_spelling(self) -> None:
        """What limits and keys say of a path holds for the only spelling that it has."""
        self.assertEqual(statuses(self._ask(b"/%65cho")), [404])

    def test_plain_klein_route(self) -> None:
        """A handler that uses Twisted's own request methods works."""
        answer = self.client.send(post(b"/plain", b"body"))
        self.assertEqual(statuses(answer), [201])
        self.assertIn(b"X-Thing: 1\r\n", answer)
        self.assertIn(b"8\r\nwritten \r\n4\r\nbody\r\n0\r\n\r\n", answer)


class FailureTests(SynchronousTestCase):
    """C16: what a handler's failure looks like."""

    def setUp(self) -> None:
        self.server = Server()
        self.client = self.server.connect()

    def test_c16_before_the_answer(self) -> None:
        """C16: an exception before the first byte is logged once and answered by the fallback."""
        answer = self.client.send(get(b"/broken"))
        self.assertEqual(statuses(answer), [500])
        self.assertIn(b"internal_error", answer)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(statuses(self.client.send(get(b"/echo"))), [200])

    def test_c16_in_the_answer(self) -> None:
        """C16: an exception after the first byte breaks the answer off without a proper end."""
        answer = self.client.send(get(b"/breaks"))
        self.assertTrue(answer.endswith(b"4\r\nsome\r\n"))
        self.assertTrue(self.client.closing)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_no_answer(self) -> None:
        """A handler that forgets to answer is a failure too."""
        self.assertEqual(statuses(self.client.send(get(b"/silent"))), [500])

    def test_fallback_fails(self) -> None:
        """A fallback with a bug leaves a bare 500."""

        class BrokenFallback(PlainFallback):
            def not_found(self, request: Request) -> None:
                raise RuntimeError("a bug")

            def failed(self, request: Request) -> None:
                raise RuntimeError("another")

        self.server.factory.resource = Routes([self.server.site.app], BrokenFallback())
        self.assertEqual(statuses(self.client.send(get(b"/nowhere"))), [500])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_dispatch_fails(self) -> None:
        """Routes that raise, against the contract, end the connection and not the process."""

        class BrokenRoutes:
            def dispatch(self, request: Request) -> None:
                raise RuntimeError("a bug")

        self.server.factory.resource = BrokenRoutes()
        self.client.send(get(b"/echo"))
        self.assertTrue(self.client.closing)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class SeveralAppsTests(SynchronousTestCase):
    """More than one Klein app on one port."""

    def test_each_app_answers_for_itself(self) -> None:
        """Handlers run on the instance that their app is bound to; allowed methods add up."""

        class Named:
            app = Klein()

            def __init__(self, name: bytes) -> None:
                self.name = name

            @app.route("/named", methods=["GET"])
            async def named(self, request: Request) -> None:
                request.respond(200, JSON, self.name)

        class Other:
            app = Klein()

            @app.route("/named", methods=["POST"])
            @app.route("/other/<int:number>", methods=["DELETE"])
            async def other(self, request: Request, number: int = 0) -> None:
                request.respond(200, JSON, b"other %d" % number)

        server = Server()
        first, second = Named(b"first"), Other()
        server.factory.resource = Routes([first.app, second.app], PlainFallback())
        client = server.connect()
        self.assertEqual(body_of(client.send(get(b"/named"))), b"first")
        self.assertEqual(body_of(client.send(post(b"/named"))), b"other 0")
        self.assertEqual(body_of(client.send(get(b"/other/7", method=b"DELETE"))), b"other 7")
        answer = client.send(get(b"/named", method=b"PUT"))
        self.assertIn(b"allow: GET, HEAD, POST\r\n", answer)

    def test_route_without_methods(self) -> None:
        """A route that names no methods is refused when the table is made."""
        app = Klein()

        @app.route("/any")
        def anything(request: Request) -> None:
            """Would answer TRACE."""

        self.assertRaises(ValueError, Routes, [app], PlainFallback())

    def test_two_for_one(self) -> None:
        """Two routes for one path and method are refused when the table is made."""
        apps: Sequence[Klein] = [Server().site.app, Server().site.app]
        self.assertRaises(ValueError, Routes, apps, PlainFallback())
