"""The server in memory: requests, refusals, and what is sent ahead."""

from __future__ import annotations

import tempfile

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import RateLimited, Unauthenticated
from lmgateway.wire.door import Head, Pass, Refusal
from lmgateway.wire.routes import Routes
from tests.wire.serving import (
    NotingDoor,
    PlainFallback,
    Server,
    Site,
    body_of,
    chunks,
    get,
    post,
    statuses,
)

EXPECT = b"POST /echo HTTP/1.1\r\nHost: gateway\r\nExpect: 100-continue\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n"


class ExchangeTests(SynchronousTestCase):
    """One request after the other on one connection."""

    def setUp(self) -> None:
        self.server = Server()
        self.client = self.server.connect()

    def test_answer(self) -> None:
        """A request is answered with length, date and nothing about who answers."""
        answer = self.client.send(post(b"/echo", b"hello"))
        self.assertEqual(body_of(answer), b"hello")
        self.assertIn(b"content-length: 5\r\n", answer)
        self.assertIn(b"date: ", answer)
        self.assertNotIn(b"server:", answer.lower())

    def test_c21_no_name_no_html(self) -> None:
        """C21: no answer of any kind names Twisted or holds HTML."""
        asked = [get(b"/"), get(b"/echo", method=b"DELETE"), get(b"/broken"), b"junk\r\n\r\n"]
        for request in asked:
            answer = self.server.connect().send(request).lower()
            self.assertNotIn(b"twisted", answer)
            self.assertNotIn(b"<html", answer)
            self.assertIn(b"application/json", answer)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_request_in_pieces(self) -> None:
        """A request that comes byte by byte is the same request."""
        for byte in post(b"/echo?a=1", b"hello", b"X-A: b"):
            self.client.channel.dataReceived(bytes([byte]))
        (request,) = self.server.site.requests
        self.assertEqual(request.body, b"hello")
        self.assertEqual(request.head.query, b"a=1")
        self.assertEqual(request.head.get(b"x-a"), b"b")

    def test_head(self) -> None:
        """The door sees the head as it was sent, with names in lower case."""
        self.client.send(post(b"/echo", b"hello", b"X-Upper:  Value "))
        (head,) = self.server.door.seen
        self.assertEqual(head.method, b"POST")
        self.assertEqual(head.path, b"/echo")
        self.assertEqual(head.length, 5)
        self.assertEqual(head.peer, "192.0.2.7")
        self.assertFalse(head.secure)
        self.assertEqual(head.get(b"x-upper"), b"Value")
        self.assertIsNone(head.get(b"x-lower"))

    def test_c1_chunked_body_stays_in_memory(self) -> None:
        """C1: a chunked body is put together in memory, and its length is not known before."""
        self.client.send(CHUNKED)
        self.client.send(chunks(b"hello ", b"world"))
        (request,) = self.server.site.requests
        self.assertEqual(request.body, b"hello world")
        self.assertIsInstance(request.body, bytes)
        self.assertIsNone(request.head.length)

    def test_c12_pipelined_in_order(self) -> None:
        """C12: ten requests sent at once get ten answers in order."""
        data = b"".join(post(b"/echo", b"%d" % number) for number in range(10))
        answer = self.client.send(data)
        self.assertEqual(statuses(answer), [200] * 10)
        found = [part.split(b"\r\n\r\n")[1][:1] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
        self.assertEqual(found, [b"%d" % number for number in range(10)])

    def test_c12_one_at_a_time(self) -> None:
        """C12: a pipelined request is not looked at until the one before it is answered."""
        self.client.send(get(b"/wait") + post(b"/echo", b"next"))
        self.assertEqual(len(self.server.door.seen), 1)
        self.server.site.go()
        self.assertEqual(statuses(self.client.received()), [200, 200])
        self.assertTrue(self.client.received().endswith(b"next"))

    def test_broken_behind_good(self) -> None:
        """Nonsense behind a good request is refused after the good answer."""
        self.client.send(get(b"/wait") + b"nonsense\r\n\r\n")
        self.assertEqual(self.client.received(), b"")
        self.server.site.go()
        self.assertEqual(statuses(self.client.received()), [200, 400])
        self.assertTrue(self.client.closing)

    def test_more_behind_broken(self) -> None:
        """What follows nonsense is not read, but still counted."""
        self.client.send(get(b"/wait") + b"nonsense\r\n\r\n")
        self.client.send(get(b"/echo"))
        self.assertFalse(self.client.aborted)
        self.client.send(b"x" * 9000)
        self.assertTrue(self.client.aborted)

    def test_c1_c3_c4_body_is_never_spooled(self) -> None:
        """C1, C3, C4: neither large bodies nor chunks nor forms touch a file or a parser."""
        self.patch(tempfile, "TemporaryFile", None)
        self.server.door.max_body = 5_000_000
        form = b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n" + b"x" * 4_000_000
        kind = b"Content-Type: multipart/form-data; boundary=b"
        self.assertEqual(statuses(self.client.send(post(b"/echo", form, kind))), [200])
        self.assertEqual(statuses(self.client.send(CHUNKED + chunks(b"x" * 200_000))), [200])
        self.assertEqual(self.server.site.requests[0].args, {})
        self.assertEqual(self.server.site.requests[0].body, form)

    def test_data_behind_close(self) -> None:
        """What follows a request that asks to close is ignored."""
        self.client.send(get(b"/echo", b"Connection: close") + get(b"/echo"))
        self.assertEqual(statuses(self.client.received()), [200])
        self.assertIn(b"connection: close", self.client.received())
        self.assertTrue(self.client.closing)

    def test_http_1_0(self) -> None:
        """HTTP/1.0 closes after the answer, unless it asks to keep the connection."""
        answer = self.client.send(get(b"/echo", b"Connection: keep-alive", version=b"1.0"))
        self.assertIn(b"connection: keep-alive", answer)
        self.assertFalse(self.client.closing)
        answer = self.client.send(get(b"/echo", version=b"1.0"))
        self.assertIn(b"connection: close", answer)
        self.assertTrue(self.client.closing)

    def test_swapped_parts(self) -> None:
        """Door and routes may be replaced; a request uses those at the end of its headers."""
        data = post(b"/echo", b"hello")
        self.client.send(data[:-2])
        site, door = Site(), NotingDoor(max_body=2)
        self.server.factory.resource = Routes([site.app], PlainFallback())
        self.server.factory.door = door
        self.client.send(data[-2:])
        self.assertEqual(len(self.server.site.requests), 1)
        self.assertEqual(statuses(self.client.send(post(b"/echo", b"hello"))), [413])
        self.assertEqual(len(door.refusals), 1)

    def test_nothing_left_over(self) -> None:
        """A thousand requests and their end leave no timer and no connection."""
        for _ in range(1000):
            self.client.send(post(b"/echo", b"hello"))
        self.client.leave()
        self.assertEqual(self.server.wheel.pending, 0)
        self.assertEqual(self.server.factory.connections, set())
        self.server.advance(0.2)
        self.assertEqual(self.server.clock.getDelayedCalls(), [])


class UpgradeTests(SynchronousTestCase):
    """C22: no other protocol is ever spoken."""

    def test_c22_upgrade_is_ignored(self) -> None:
        """C22: requests that offer an upgrade are answered as if they did not, body included."""
        client = Server().connect()
        offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMA")
        for _ in range(3):
            answer = client.send(post(b"/echo", b"hello", *offer))
            self.assertEqual(statuses(answer), [200])
            self.assertEqual(body_of(answer), b"hello")

    def test_c22_body_is_not_a_request(self) -> None:
        """C22: the body behind an offered upgrade is not taken for the next request."""
        server = Server()
        client = server.connect()
        hidden = get(b"/things/hidden")
        answer = client.send(post(b"/echo", hidden, b"Connection: Upgrade", b"Upgrade: h2c"))
        self.assertEqual(body_of(answer), hidden)
        self.assertEqual(len(server.door.seen), 1)

    def test_c22_two_upgrades_at_once(self) -> None:
        """C22: an upgrade pipelined behind an upgrade is refused after the first answer."""
        client = Server().connect()
        offer = (b"Connection: Upgrade", b"Upgrade: h2c")
        answer = client.send(post(b"/echo", b"hello", *offer) + get(b"/echo", *offer))
        self.assertEqual(statuses(answer), [200, 400])

    def test_c22_broken_body(self) -> None:
        """C22: a body behind an offered upgrade keeps the same rules."""
        client = Server().connect()
        head = CHUNKED[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        self.assertEqual(statuses(client.send(head + b"x\r\n")), [400])

    def test_c22_connect(self) -> None:
        """C22: CONNECT is refused, and what follows is not read."""
        server = Server()
        client = server.connect()
        client.send(b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n" + get(b"/echo"))
        self.assertEqual(statuses(client.received()), [405])
        self.assertTrue(client.closing)
        self.assertEqual(server.door.seen, [])


class RefusalTests(SynchronousTestCase):
    """What may not come in."""

    def setUp(self) -> None:
        self.server = Server()
        self.client = self.server.connect()

    def test_c2_too_large_by_length(self) -> None:
        """C2, row 36: 413 by Content-Length alone, without 100 Continue, and closed."""
        answer = self.client.send(EXPECT + b"Content-Length: 99999999999\r\n\r\n")
        self.assertEqual(statuses(answer), [413])
        self.assertIn(b"connection: close", answer)
        self.assertTrue(self.client.closing)

    def test_c2_too_large_by_count(self) -> None:
        """C2, row 36: chunks are counted, and the first byte too many is 413."""
        self.client.send(CHUNKED)
        self.assertEqual(self.client.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n"), b"")
        self.assertEqual(statuses(self.client.send(b"1\r\nx\r\n0\r\n\r\n")), [413])
        self.assertEqual(self.server.site.requests, [])

    def test_c2_bad_key(self) -> None:
        """C2, row 44: a bad key is refused on the headers; little of the body is read."""
        bad = EXPECT + b"Authorization: Bearer bad\r\nContent-Length: 1000000000\r\n\r\n"
        self.assertEqual(statuses(self.client.send(bad)), [401])
        self.assertTrue(self.client.closing)

    def test_refused_but_whole(self) -> None:
        """A refusal of the door's leaves the connection usable when the request was whole."""
        bad = post(b"/echo", b"hello", b"Authorization: Bearer bad")
        answer = self.client.send(bad + bad + post(b"/echo", b"good"))
        self.assertEqual(statuses(answer), [401, 401, 200])
        self.assertFalse(self.client.closing)

    def test_what_refused_leaves_nothing(self) -> None:
        """An error of the door's holds no frames once it was told, nor do those behind it."""

        class StumblingDoor(NotingDoor):
            def admit(self, head: Head) -> Pass:
                try:
                    return super().admit(head)
                except Unauthenticated as error:
                    refusal = RateLimited("Too many wrong keys.")
                    raise refusal from error

        door = self.server.factory.door = StumblingDoor()
        answer = self.client.send(post(b"/echo", b"hello", b"Authorization: Bearer bad"))
        self.assertEqual(statuses(answer), [429])
        ((_, _, error),) = door.refusals
        assert error.__cause__ is not None, "it has one"
        self.assertEqual((error.__traceback__, error.__cause__.__traceback__), (None, None))

    def test_refused_to_head(self) -> None:
        """A refused HEAD request gets the head of the refusal only."""
        answer = self.client.send(get(b"/echo", b"Authorization: Bearer bad", method=b"HEAD"))
        self.assertEqual(body_of(answer), b"")
        self.assertNotIn(b"content-length: 0", answer)

    def test_c5_refusals_are_told(self) -> None:
        """C5: each refusal of the wire is told to the door, with the peer."""
        self.client.send(get(b"/echo", *[b"X-A: 1"] * 101))
        ((head, peer, error),) = self.server.door.refusals
        self.assertIsNone(head)
        self.assertEqual(peer, "192.0.2.7")
        self.assertEqual(error.kind, "headers_too_large")
        self.assertIn(b'"headers_too_large"', self.client.received())

    def test_c5_endless_header(self) -> None:
        """C5: a header that never ends is refused as soon as it is too long."""
        self.client.send(b"GET /echo HTTP/1.1\r\nHost: gateway\r\nX-A: ")
        for _ in range(20):
            self.client.channel.dataReceived(b"x" * 1000)
        self.assertEqual(statuses(self.client.received()), [431])
        self.assertTrue(self.client.closing)

    def test_c5_endless_target(self) -> None:
        """C5: a target that never ends is 414."""
        self.client.send(b"GET /")
        for _ in range(20):
            self.client.channel.dataReceived(b"x" * 1000)
        self.assertEqual(statuses(self.client.received()), [414])

    def test_continue(self) -> None:
        """An admitted request that waits for it gets 100 Continue, once, before the body."""
        answer = self.client.send(EXPECT + b"Content-Length: 5\r\n\r\n")
        self.assertEqual(answer, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.client.send(b"he")
        self.assertEqual(statuses(self.client.send(b"llo")), [200])

    def test_no_continue_when_the_body_is_there(self) -> None:
        """A client that did not wait is not told to go on."""
        answer = self.client.send(EXPECT + b"Content-Length: 5\r\n\r\nhello")
        self.assertEqual(statuses(answer), [200])

    def test_nearly_all_framing(self) -> None:
        """Chunk extensions cannot be used to send for ever without sending anything."""
        self.client.send(CHUNKED)
        for _ in range(200):
            self.client.channel.dataReceived(b"1;" + b"e" * 1000 + b"\r\nx\r\n")
        self.assertEqual(statuses(self.client.received()), [400])

    def test_endless_trailer(self) -> None:
        """A trailer cannot go on for ever either, however large the body was."""
        self.server.door.max_body = 10_000_000
        self.client.send(CHUNKED)
        for _ in range(20):
            self.client.channel.dataReceived(b"ffff\r\n" + b"x" * 65535 + b"\r\n")
        self.client.send(b"0\r\nX-Sum: ")
        for _ in range(20):
            self.client.channel.dataReceived(b"x" * 1000)
        self.assertEqual(statuses(self.client.received()), [400])

    def test_small_chunks_are_served(self) -> None:
        """A body in one-byte chunks is still a body."""
        self.client.send(CHUNKED)
        for _ in range(900):
            self.client.channel.dataReceived(b"1\r\nx\r\n")
        self.client.send(b"0\r\n\r\n")
        self.assertEqual(self.server.site.requests[0].body, b"x" * 900)

    def test_door_fails(self) -> None:
        """A door with a bug lets nobody in, and the client hears no detail."""

        class BrokenDoor(NotingDoor):
            def admit(self, head: Head) -> Pass:
                raise RuntimeError("secret detail")

        self.server.factory.door = BrokenDoor()
        answer = self.client.send(post(b"/echo", b"hello"))
        self.assertEqual(statuses(answer), [500])
        self.assertNotIn(b"secret", answer)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_door_cannot_refuse(self) -> None:
        """A door that cannot even refuse gives the bare status."""

        class BrokenDoor(NotingDoor):
            def refuse(self, head: Head | None, error: object) -> Refusal:
                raise RuntimeError("a bug")

        self.server.factory.door = BrokenDoor()
        answer = self.client.send(post(b"/echo", b"hello", b"Authorization: Bearer bad"))
        self.assertEqual(statuses(answer), [401])
        self.assertIn(b"content-length: 0", answer)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class PipeliningTests(SynchronousTestCase):
    """C11: what a client sends ahead is bounded, and its leaving is always noticed."""

    def setUp(self) -> None:
        self.server = Server()
        self.client = self.server.connect()

    def test_c11_too_much_ahead_later(self) -> None:
        """C11, row 33: more than the bound, sent while an answer is awaited, aborts."""
        self.client.send(get(b"/wait"))
        self.client.send(b"x" * 8192)
        self.assertFalse(self.client.aborted)
        self.client.send(b"x")
        self.assertTrue(self.client.aborted)

    def test_c11_too_much_ahead_at_once(self) -> None:
        """C11, row 33: more than the bound together with the request aborts before any route."""
        self.client.send(get(b"/wait") + get(b"/wait", b"X-A: " + b"x" * 1000) * 9)
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.server.site.requests, [])

    def test_c11_one_large_ahead(self) -> None:
        """C11: one more request with a large body is too much too, whole or not."""
        for ahead in (post(b"/echo", b"x" * 9000), post(b"/echo", b"x" * 90_000)[:9500]):
            client = self.server.connect()
            client.send(get(b"/wait") + ahead)
            self.assertTrue(client.aborted)
        self.assertEqual(self.server.site.requests, [])

    def test_c11_many_small_ahead(self) -> None:
        """C11: hundreds of tiny requests at once abort as well."""
        self.client.send(get(b"/wait") + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2000)
        self.assertTrue(self.client.aborted)

    def test_c11_leaving_is_noticed(self) -> None:
        """C11, rows 31 and 33: a client that pipelined and left cancels its route at once."""
        self.client.send(get(b"/wait") + b"x" * 8000)
        self.client.leave()
        self.assertEqual(self.server.site.cancelled, 1)
        self.assertEqual(self.server.wheel.pending, 0)

    def test_large_body_before_a_small_request(self) -> None:
        """The bound counts what comes after the request, not the request."""
        server = Server(max_body=100_000)
        answer = server.connect().send(post(b"/echo", b"x" * 60_000) + get(b"/echo")[:-2])
        self.assertEqual(statuses(answer), [200])
