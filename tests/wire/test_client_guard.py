"""What a lying backend may send, and what is made of it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import ProtocolError, UnsupportedEncoding
from tests.wire.dialing import CHUNKED, Memory, chunked, ok, run


class GuardTests(SynchronousTestCase):
    """What a lying backend may send (U5 to U8)."""

    def refused(self, *pieces: bytes) -> None:
        memory = Memory()
        sent = memory.send()
        wire = memory.accept()
        wire.answer(*pieces)
        self.failureResultOf(sent, ProtocolError)
        self.assertTrue(wire.aborted, pieces)
        self.assertEqual((memory.agent.idle, memory.agent.active), (0, 0))

    def test_malformed_heads(self) -> None:
        """U6: what two readers could read differently is refused, and not pooled."""
        for head in (
            b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            b"XXX/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"RTSP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 2_00 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 99999 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2,2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n",
            b"\r\n\r\n",
            b"\x16\x03\x01",
        ):
            self.refused(head)

    def test_headers_without_end(self) -> None:
        """U7: a flood of headers ends at 64 KiB or 100 lines."""
        start = b"HTTP/1.1 200 OK\r\n"
        self.refused(start, *[b"X-%d: %b\r\n" % (n, b"a" * 1000) for n in range(70)])
        self.refused(start + b"X: " + b"a" * 70000, b"\r\n\r\n")
        self.refused(start + b"X: " + b"a" * 66000 + b"\r\nContent-Length: 0\r\n\r\n")
        self.refused(start + b"X: y\r\n" * 101 + b"\r\n")
        self.refused(start, b"X: ", *[b"a" * 100 for _ in range(700)])

    def test_interim_answers_without_end(self) -> None:
        """U7: the seventeenth interim answer is one too many."""
        self.refused(*[b"HTTP/1.1 103 Early\r\n\r\n"] * 17)
        self.refused(b"HTTP/1.1 100 Continue\r\n\r\n" * 10000)
        self.refused(*[b"HTTP/1.1 103 E\r\n" + b"X: y\r\n" * 10 + b"\r\n"] * 11)

    def test_compressed_answers_are_refused(self) -> None:
        """U1: an encoding that was not asked for is an error of its own kind."""
        for encoding in (b"gzip", b"br", b"deflate", b"GZIP", b"identity, gzip"):
            memory = Memory()
            sent = memory.send()
            wire = memory.accept()
            wire.answer(ok(b"xx", b"Content-Encoding: " + encoding))
            self.failureResultOf(sent, UnsupportedEncoding)
            self.assertTrue(wire.aborted)
        memory = Memory()
        sent = memory.send()
        memory.accept().answer(ok(b"xx", b"Content-Encoding: Identity"))
        self.successResultOf(sent)

    def test_close_is_understood_in_any_case(self) -> None:
        """U5: a connection that the backend will close is not used again, however it says so."""
        for line in (b"close", b"Close", b"CLOSE", b"x, close", b"close, x", b"keep-alive, Close"):
            memory = Memory()
            sent = memory.send()
            wire = memory.accept()
            wire.answer(ok(b"ok", b"Connection: " + line))
            self.successResultOf(sent)
            self.assertTrue(wire.closing)
            self.assertEqual((memory.agent.idle, memory.agent.active), (0, 0))

    def test_old_http_is_kept_only_if_it_says_so(self) -> None:
        """U5: HTTP/1.0 closes by default."""
        for line, idle in ((b"X: y", 0), (b"Connection: Keep-Alive", 1)):
            memory = Memory()
            sent = memory.send()
            memory.accept().answer(ok(b"ok", line).replace(b"1.1", b"1.0", 1))
            self.successResultOf(sent)
            self.assertEqual(memory.agent.idle, idle)

    def test_bytes_after_the_answer(self) -> None:
        """U6: more than the answer is an error, and the connection is not used again."""
        for more in (b"X", b"HTTP/1.1 200 OK\r\n", ok()):
            for line in (b"X: y", b"Connection: close"):
                self.refused(ok(b"ok", line) + more)

    def test_bytes_between_two_answers(self) -> None:
        """U6: a connection that speaks unasked is cut, not reused."""
        memory = Memory()
        sent = memory.send()
        wire = memory.accept()
        wire.answer(ok())
        self.successResultOf(sent)
        wire.answer(ok(b"evil"))
        self.assertTrue(wire.aborted)
        self.assertEqual(memory.agent.idle, 0)

    def test_bad_chunks(self) -> None:
        """U6: chunks that are none end the body with an error."""
        for chunk in (
            b"zz\r\n",
            b"2\nok\n",
            b"2\r\nokX",
            b"-1\r\n",
            b"2 \r\nok\r\n",
            b"0x2\r\nok\r\n",
        ):
            memory = Memory()
            sent = memory.send()
            wire = memory.accept()
            wire.answer(CHUNKED)
            reading = run(memory.reader(self.successResultOf(sent)).whole(100, 1))
            wire.answer(chunk)
            self.failureResultOf(reading, ProtocolError)
            self.assertTrue(wire.aborted)

    def test_trailers_without_end(self) -> None:
        """U7: trailers and chunk extensions are bounded like headers."""
        for first, more in ((b"0\r\nX: ", b"a" * 1000), (b"2;", b"x" * 1000)):
            memory = Memory()
            sent = memory.send()
            wire = memory.accept()
            wire.answer(CHUNKED)
            reading = run(memory.reader(self.successResultOf(sent)).whole(100, 1))
            wire.answer(first, *[more] * 70)
            self.failureResultOf(reading, ProtocolError)
            self.assertTrue(wire.aborted)

    def test_trailers_are_ignored(self) -> None:
        """Trailers do not become headers, and the connection is good afterwards."""
        memory = Memory()
        sent = memory.send()
        memory.accept().answer(CHUNKED, chunked(b"ok", end=False) + b"0\r\nX-T: y\r\n\r\n")
        response = self.successResultOf(sent)
        self.assertEqual(self.successResultOf(run(memory.reader(response).whole(9, 1))), b"ok")
        self.assertIsNone(response.get(b"x-t"))
        self.assertEqual(memory.agent.idle, 1)

    def test_hop_by_hop_headers(self) -> None:
        """U12: a header that ``Connection`` names is not for anybody behind us."""
        memory = Memory()
        sent = memory.send()
        memory.accept().answer(ok(b"ok", b"Connection: X-Secret, x-b", b"X-Secret: 1", b"X-A: 2"))
        response = self.successResultOf(sent)
        self.assertIsNone(response.get(b"x-secret"))
        self.assertEqual(response.get(b"x-a"), b"2")
