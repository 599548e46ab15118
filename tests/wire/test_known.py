"""Heads that were read before are read the same way again."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import GatewayError
from lmgateway.wire.door import Head
from lmgateway.wire.framing import read_head
from lmgateway.wire.known import HEADS, MAX_HEAD, MAX_HEADS, Heads, take
from lmgateway.wire.limits import Limits
from lmgateway.wire.reader import Message, Reader
from tests.wire.serving import Server, body_of, get, post, statuses

LIMITS = Limits()
BOUNDED = settings(
    max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
USUAL = (b"Authorization: Bearer good", b"Connection: keep-alive", b"X-Thing:  a, b ")


def parsed(data: bytes) -> tuple[Message, Head] | None:
    """Give what llhttp and the rules make of *data*, if it is one whole proper message."""
    reader = Reader(LIMITS)
    reader.feed(data)
    if reader.broken is not None or reader.heading or len(reader.messages) != 1:
        return None
    (message,) = reader.messages
    try:
        head = read_head(message, "192.0.2.7", secure=True)
    except GatewayError:
        return None
    return (message, head) if message.complete else None


def taught(*lessons: bytes) -> Heads:
    """Give heads that each of these messages came to twice."""
    heads = Heads()
    for data in lessons * 2:
        found = parsed(data)
        assert found is not None, "a proper message"
        found[0].whole = data
        heads.learn(*found)
    return heads


class HeadsTests(SynchronousTestCase):
    """What is recognised, and what must not be."""

    def _check(self, heads: Heads, data: bytes) -> bool:
        """See that *data*, if it is recognised, is what llhttp says; say whether it is."""
        message = heads.recognise(data, LIMITS)
        if message is None:
            return False
        found = parsed(data)
        assert found is not None, "refused otherwise"
        other, head = found
        self.assertEqual(message.read("192.0.2.7", secure=True), head)
        for name in ("method", "target", "version", "keep_alive", "body", "received", "complete"):
            self.assertEqual(getattr(message, name), getattr(other, name), name)
        return True

    def test_another_length(self) -> None:
        """The same head with a body of another length is recognised, and the body is its own."""
        heads = taught(post(b"/echo?a=b", b"first", *USUAL))
        self.assertEqual(len(heads), 1)
        for body in (b"", b"another", b"x" * 5000, b"\r\n\r\n", b"\r\nContent-Length: 7\r\n"):
            self.assertTrue(self._check(heads, post(b"/echo?a=b", body, *USUAL)))

    def test_small_letters(self) -> None:
        """Clients that write names in small letters are known too, each to himself."""
        data = post(b"/echo", b"first").replace(b"Content-Length", b"content-length")
        heads = taught(data)
        self.assertTrue(self._check(heads, data))
        self.assertFalse(self._check(heads, post(b"/echo", b"first")))

    def test_what_one_has_does_not_change_what_is_known(self) -> None:
        """What is done to the headers of one request is not done to those of the next."""
        data = post(b"/echo", b"first", *USUAL)
        heads = taught(data)
        message = heads.recognise(data, LIMITS)
        assert message is not None, "known"
        head = message.read("192.0.2.7", secure=True)
        head.headers.clear()
        head.first.clear()
        self.assertTrue(self._check(heads, data))

    def test_not_whole(self) -> None:
        """Neither a part of a message is recognised, nor one with something behind it."""
        data = post(b"/echo", b"first", *USUAL)
        heads = taught(data)
        for cut in range(len(data)):
            self.assertFalse(self._check(heads, data[:cut]))
        self.assertFalse(self._check(heads, data + b"x"))
        self.assertFalse(self._check(heads, data + data))

    def test_strange_lengths(self) -> None:
        """A length that is no plain number is left to those who refuse it."""
        data = post(b"/echo", b"x" * 11)
        heads = taught(data)
        for length in (b"+11", b"1_1", b" 11", b"11 ", b"", b"0x0b", b"0" * 14 + b"11", b"\xb2"):
            self.assertFalse(self._check(heads, data.replace(b": 11", b": " + length)))

    def test_what_is_not_learned(self) -> None:
        """Messages that are not plain are read anew each time."""
        for data in (
            get(b"/echo"),
            post(b"/echo", b"x", b"Connection: close"),
            post(b"/echo", b"x", version=b"1.0"),
            post(b"/echo", b"x", b"Connection: upgrade", b"Upgrade: h2c"),
            post(b"/echo", b"x", b"Expect: 100-continue"),
            post(b"/echo", b"x", b"X-Long: " + b"x" * MAX_HEAD),
            b"\r\n" + post(b"/echo", b"x"),
            post(b"/echo", b"x").replace(b"Content-Length: ", b"Content-Length:"),
            post(b"/echo", b"x").replace(b"Content-Length: ", b"Content-Length:  "),
        ):
            self.assertEqual(len(taught(data)), 0, data)

    def test_once_is_not_enough(self) -> None:
        """A head that came once takes no place, however many of them there are."""
        heads = Heads()
        for number in range(5000):
            message, head = parsed(post(b"/echo", b"x", b"X-Id: %d" % number)) or self.fail()
            message.whole = post(b"/echo", b"x", b"X-Id: %d" % number)
            heads.learn(message, head)
        self.assertEqual(len(heads), 0)

    def test_bounded(self) -> None:
        """So many are kept, and the oldest goes first."""
        lessons = [post(b"/echo", b"x", b"X-Id: %d" % number) for number in range(MAX_HEADS + 1)]
        heads = taught(*lessons)
        self.assertEqual(len(heads), MAX_HEADS)
        self.assertFalse(self._check(heads, lessons[0]))
        self.assertTrue(self._check(heads, lessons[1]))

    def test_a_row_of_strange_heads(self) -> None:
        """After many heads that all differ, one that is always the same is recognised again."""
        reader, found = Reader(LIMITS), []
        same = post(b"/echo", b"x", b"X-Row: same")
        differing = [post(b"/echo", b"x", b"X-Row: %d" % number) for number in range(40)]
        for data in (*differing, *[same] * 40):
            found.append(take(reader, data))
            (message,) = reader.messages
            if message.whole is not None:
                HEADS.learn(message, read_head(message, "192.0.2.7", secure=True))
            reader.messages.clear()
        self.assertEqual(found[:40], [None] * 40)
        self.assertIsNotNone(found[-1])

    def test_narrower_limits(self) -> None:
        """Limits that became narrower hold for heads that are known as well."""
        data = post(b"/echo", b"x", *USUAL)
        heads = taught(data)
        self.assertIsNone(heads.recognise(data, Limits(max_headers=4)))
        self.assertIsNone(heads.recognise(data, Limits(max_header_bytes=1024)))

    @BOUNDED
    @given(st.data())
    def test_whatever_is_recognised_is_right(self, data: st.DataObject) -> None:
        """Of bytes that are nearly those of a known head, none is read as llhttp would not."""
        lesson = post(b"/echo?a=b", b"first", *USUAL)
        heads = taught(lesson)
        at = data.draw(st.integers(0, len(lesson)))
        gone = data.draw(st.integers(0, 3))
        new = data.draw(st.sampled_from((b"", b"\r\n", b"\r", b"\n", b"0", b"7", b" ", b"x")))
        more = data.draw(st.sampled_from((b"", lesson, b"x", b"Content-Length: 5\r\n\r\n")))
        self._check(heads, lesson[:at] + new + lesson[at + gone :] + more)


class ConnectionTests(SynchronousTestCase):
    """Known heads on a connection."""

    def setUp(self) -> None:
        self.server = Server()
        self.client = self.server.connect()

    def test_the_same_answers(self) -> None:
        """A client that asks again and again is answered as at first."""
        for number in range(8):
            answer = self.client.send(post(b"/echo", b"%d" % number * number, *USUAL))
            self.assertEqual(statuses(answer), [200])
            self.assertEqual(body_of(answer), b"%d" % number * number)
        lengths = [head.get(b"content-length") for head in self.server.door.seen]
        self.assertEqual(lengths, [b"%d" % number for number in range(8)])
        self.assertEqual({head.peer for head in self.server.door.seen}, {"192.0.2.7"})

    def test_the_door_is_asked_each_time(self) -> None:
        """A key that is refused is refused each time, and so is a body that is too large."""
        for _ in range(4):
            bad = self.client.send(post(b"/echo", b"x", b"Authorization: Bearer bad"))
            self.assertEqual(statuses(bad), [401])
        for _ in range(3):
            self.client.send(post(b"/echo", b"x", *USUAL))
        self.assertEqual(statuses(self.client.send(post(b"/echo", b"x" * 1001, *USUAL))), [413])

    def test_while_one_is_answered(self) -> None:
        """What is sent ahead of an answer waits for it, in its order."""
        for _ in range(3):
            self.client.send(post(b"/wait", b"", *USUAL))
            self.client.send(post(b"/echo", b"1", *USUAL))
            self.client.send(post(b"/echo", b"2", *USUAL))
            before = len(self.client.received())
            self.server.site.go()
            answers = self.client.received()[before:]
            self.assertEqual(statuses(answers), [200] * 3)
            self.assertTrue(answers.endswith(b"2"))

    def test_cut_after_known_ones(self) -> None:
        """A request that comes in pieces is read, after others that came whole."""
        data = post(b"/echo", b"hello", *USUAL)
        for cut in range(1, len(data)):
            self.assertEqual(statuses(self.client.send(data)), [200])
            self.client.send(data[:cut])
            self.assertEqual(body_of(self.client.send(data[cut:])), b"hello")

    def test_heads_that_always_differ(self) -> None:
        """A connection whose heads always differ is seldom looked at for known ones."""
        reader = Reader(LIMITS)
        for number in range(150):
            data = post(b"/echo", b"x", b"X-Id: %d of these" % number)
            take(reader, data)
            self.assertEqual(reader.messages.pop().whole is not None, number % 64 < 16)
