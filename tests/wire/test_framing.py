"""A corpus of requests that two servers could read differently, and what becomes of each."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.wire.framing import valid_host
from tests.wire.serving import Server, chunks, get, post, statuses

H = b"Host: gateway\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
ABC = b"3\r\nabc\r\n0\r\n\r\n"


def _line(line: bytes, rest: bytes = H) -> bytes:
    return line + b"\r\n" + rest + b"\r\n"


def _post(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST /echo HTTP/1.1\r\n" + H + fields + b"\r\n" + body


def _chunked(body: bytes) -> bytes:
    return _post(CHUNKED, body)


def _field(field: bytes) -> bytes:
    return b"GET /echo HTTP/1.1\r\n" + H + field + b"\r\n\r\n"


def _host(value: bytes) -> bytes:
    return b"GET /echo HTTP/1.1\r\nHost: " + value + b"\r\n\r\n"


REFUSED: dict[str, tuple[bytes, int]] = {
    # Request line
    "blanks before the method": (_line(b" GET /echo HTTP/1.1"), 400),
    "two blanks after the method": (_line(b"GET  /echo HTTP/1.1"), 400),
    "two blanks before the version": (_line(b"GET /echo  HTTP/1.1"), 400),
    "a blank after the version": (_line(b"GET /echo HTTP/1.1 "), 400),
    "a tab after the method": (_line(b"GET\t/echo HTTP/1.1"), 400),
    "no version": (_line(b"GET /echo"), 400),
    "HTTP/0.9": (_line(b"GET /echo HTTP/0.9"), 400),
    "HTTP/1.2": (_line(b"GET /echo HTTP/1.2"), 400),
    "HTTP/2.0": (_line(b"GET /echo HTTP/2.0"), 400),
    "HTTP/1.10": (_line(b"GET /echo HTTP/1.10"), 400),
    "HTTP/01.1": (_line(b"GET /echo HTTP/01.1"), 400),
    "HTTP/1": (_line(b"GET /echo HTTP/1"), 400),
    "http in lower case": (_line(b"GET /echo http/1.1"), 400),
    "another protocol": (_line(b"GET /echo RTSP/1.0"), 400),
    "yet another": (_line(b"SOURCE /echo ICE/1.0"), 400),
    "the HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "a method in lower case": (_line(b"get /echo HTTP/1.1"), 400),
    "an invented method": (_line(b"FROB /echo HTTP/1.1"), 400),
    "a method with a line break": (_line(b"GE\r\nT /echo HTTP/1.1"), 400),
    "TRACE": (_line(b"TRACE /echo HTTP/1.1"), 405),
    "CONNECT": (_line(b"CONNECT gateway:80 HTTP/1.1"), 405),
    "PROPFIND": (_line(b"PROPFIND /echo HTTP/1.1"), 405),
    "QUERY": (_line(b"QUERY /echo HTTP/1.1"), 405),
    "an absolute target": (_line(b"GET http://gateway/echo HTTP/1.1"), 400),
    "an absolute target elsewhere": (_line(b"GET http://evil.example/echo HTTP/1.1"), 400),
    "a star": (_line(b"OPTIONS * HTTP/1.1"), 400),
    "a relative target": (_line(b"GET echo HTTP/1.1"), 400),
    "a fragment": (_line(b"GET /echo#part HTTP/1.1"), 400),
    "a high byte in the target": (_line(b"GET /echo\xb0 HTTP/1.1"), 400),
    "DEL in the target": (_line(b"GET /echo\x7f HTTP/1.1"), 400),
    "NUL in the target": (_line(b"GET /echo\x00 HTTP/1.1"), 400),
    "a line end of LF": (b"GET /echo HTTP/1.1\n" + H + b"\r\n", 400),
    "a line end of CR": (b"GET /echo HTTP/1.1\r" + H + b"\r\n", 400),
    "a line end of CR CR LF": (b"GET /echo HTTP/1.1\r\r\n" + H + b"\r\n", 400),
    "noise": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    # Header fields
    "a blank before the colon": (_field(b"X-A : 1"), 400),
    "a tab before the colon": (_field(b"X-A\t: 1"), 400),
    "no colon": (_field(b"X-A"), 400),
    "no name": (_field(b": 1"), 400),
    "a blank before the first name": (b"GET /echo HTTP/1.1\r\n " + H + b"\r\n", 400),
    "folding": (_field(b"X-A: 1\r\n 2"), 400),
    "folding with a tab": (_field(b"X-A: 1\r\n\t2"), 400),
    "a folded Transfer-Encoding": (_post(b"Transfer-Encoding:\r\n chunked\r\n", ABC), 400),
    "a folded Content-Length": (_post(b"Content-Length:\r\n 3\r\n", b"abc"), 400),
    "a line ended by LF": (b"GET /echo HTTP/1.1\r\nHost: gateway\n\r\n", 400),
    "CR within a value": (_field(b"X-A: 1\r2"), 400),
    "NUL within a value": (_field(b"X-A: 1\x002"), 400),
    "a control character in a value": (_field(b"X-A: 1\x012"), 400),
    "a vertical tab in a value": (_field(b"X-A: 1\x0b2"), 400),
    "DEL in a value": (_field(b"X-A: 1\x7f2"), 400),
    "a control character in a name": (_field(b"X\x01A: 1"), 400),
    "a high byte in a name": (_field(b"X\xe4: 1"), 400),
    "a bracket in a name": (_field(b"X(A): 1"), 400),
    "an underscore in a name": (_field(b"X_A: 1"), 400),
    "Content_Length": (_post(b"Content_Length: 3\r\n", b"abc"), 400),
    "an end of LF": (b"GET /echo HTTP/1.1\r\n" + H + b"\n", 400),
    # Host
    "no Host": (b"GET /echo HTTP/1.1\r\nX-A: 1\r\n\r\n", 400),
    "two Hosts": (_field(b"Host: gateway"), 400),
    "two Hosts in HTTP/1.0": (b"GET /echo HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "an empty Host": (_host(b""), 400),
    "a Host with a path": (_host(b"gateway/x"), 400),
    "a Host with an at sign": (_host(b"user@gateway"), 400),
    "a Host with an empty label": (_host(b"a..b"), 400),
    "a Host with a long label": (_host(b"a" * 70), 400),
    "a Host with a blank": (_host(b"a b"), 400),
    "a Host list": (_host(b"a, b"), 400),
    "a Host with a bad port": (_host(b"gateway:http"), 400),
    "a Host with a large port": (_host(b"gateway:65536"), 400),
    "a Host with a high byte": (_host(b"g\xe4teway"), 400),
    "a Host that begins with a dash": (_host(b"-gateway"), 400),
    # Length
    "a plus before the length": (_post(b"Content-Length: +3\r\n", b"abc"), 400),
    "a negative length": (_post(b"Content-Length: -3\r\n", b"abc"), 400),
    "a length in hex": (_post(b"Content-Length: 0x3\r\n", b"abc"), 400),
    "an empty length": (_post(b"Content-Length:\r\n", b"abc"), 400),
    "a list of equal lengths": (_post(b"Content-Length: 3, 3\r\n", b"abc"), 400),
    "a blank in the length": (_post(b"Content-Length: 1 2\r\n", b"abc"), 400),
    "a fraction": (_post(b"Content-Length: 3.0\r\n", b"abc"), 400),
    "a superscript digit": (_post(b"Content-Length: \xb3\r\n", b"abc"), 400),
    "a length with 16 digits": (_post(b"Content-Length: 0000000000000003\r\n", b"abc"), 400),
    "a length with 5000 digits": (_post(b"Content-Length: " + b"9" * 5000 + b"\r\n"), 400),
    "equal lengths twice": (_post(b"Content-Length: 3\r\n" * 2, b"abc"), 400),
    "two lengths": (_post(b"Content-Length: 3\r\nContent-Length: 4\r\n", b"abc"), 400),
    "length, then coding": (_post(b"Content-Length: 3\r\n" + CHUNKED, ABC), 400),
    "coding, then length": (_post(CHUNKED + b"Content-Length: 3\r\n", ABC), 400),
    # Coding
    "identity": (_post(b"Transfer-Encoding: identity\r\n", b"abc"), 400),
    "gzip, then chunked": (_post(b"Transfer-Encoding: gzip, chunked\r\n", ABC), 400),
    "chunked, then gzip": (_post(b"Transfer-Encoding: chunked, gzip\r\n", ABC), 400),
    "chunked twice": (_post(b"Transfer-Encoding: chunked, chunked\r\n", ABC), 400),
    "two codings": (_post(CHUNKED + b"Transfer-Encoding: identity\r\n", ABC), 400),
    "two fields of chunked": (_post(CHUNKED * 2, ABC), 400),
    "xchunked": (_post(b"Transfer-Encoding: xchunked\r\n", ABC), 400),
    "chunked with a parameter": (_post(b"Transfer-Encoding: chunked;q=1\r\n", ABC), 400),
    "a vertical tab before chunked": (_post(b"Transfer-Encoding: \x0bchunked\r\n", ABC), 400),
    "quoted chunked": (_post(b'Transfer-Encoding: "chunked"\r\n', ABC), 400),
    "an empty coding": (_post(b"Transfer-Encoding:\r\n", ABC), 400),
    "a coding in HTTP/1.0": (b"POST /echo HTTP/1.0\r\n" + H + CHUNKED + b"\r\n" + ABC, 400),
    # Chunks
    "a blank after a chunk's size": (_chunked(b"3 \r\nabc\r\n0\r\n\r\n"), 400),
    "a blank before a chunk's size": (_chunked(b" 3\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk's size with 0x": (_chunked(b"0x3\r\nabc\r\n0\r\n\r\n"), 400),
    "a negative chunk": (_chunked(b"-3\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk's size with a plus": (_chunked(b"+3\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk's size that overflows": (_chunked(b"1" + b"0" * 16 + b"\r\nabc\r\n0\r\n\r\n"), 400),
    "no chunk size": (_chunked(b"\r\nabc\r\n0\r\n\r\n"), 400),
    "chunk lines ended by LF": (_chunked(b"3\nabc\n0\n\n"), 400),
    "a chunk ended by LF": (_chunked(b"3\r\nabc\n0\r\n\r\n"), 400),
    "a chunk ended by CR": (_chunked(b"3\r\nabc\r0\r\n\r\n"), 400),
    "a chunk longer than its size": (_chunked(b"3\r\nabcd\r\n0\r\n\r\n"), 400),
    "an extension ended by LF": (_chunked(b"3;a\nabc\r\n0\r\n\r\n"), 400),
    "NUL in an extension": (_chunked(b"3;a\x00\r\nabc\r\n0\r\n\r\n"), 400),
    "a length in a trailer": (_chunked(b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n"), 400),
    "a coding in a trailer": (_chunked(b"3\r\nabc\r\n0\r\n" + CHUNKED + b"\r\n"), 400),
    "a folded trailer": (_chunked(b"3\r\nabc\r\n0\r\nX: 1\r\n 2\r\n\r\n"), 400),
    # Expectations and sizes
    "another expectation": (post(b"/echo", b"abc", b"Expect: 200-ok"), 417),
    "a body over the limit": (post(b"/echo", b"x" * 1001), 413),
    "chunks over the limit": (_chunked(chunks(b"x" * 600, b"x" * 600)), 413),
    "a length of 1e11": (_post(b"Content-Length: 99999999999\r\n"), 413),
    "101 headers": (get(b"/echo", *[b"X-A: 1"] * 100), 431),
    "a long header": (get(b"/echo", b"X-A: " + b"x" * 17000), 431),
    "long headers together": (get(b"/echo", *[b"X-A: " + b"x" * 1000] * 17), 431),
    "a long target": (get(b"/" + b"x" * 9000), 414),
}

SERVED: dict[str, tuple[bytes, bytes]] = {
    "a plain request": (get(b"/echo"), b""),
    "an empty line before the request": (b"\r\n" + get(b"/echo"), b""),
    "a body": (post(b"/echo", b"abc"), b"abc"),
    "a body to GET": (b"GET /echo HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\nabc", b"abc"),
    "an empty body": (post(b"/echo"), b""),
    "no length": (_post(b""), b""),
    "a blank after the length": (_post(b"Content-Length: 3 \r\n", b"abc"), b"abc"),
    "a leading zero": (_post(b"Content-Length: 03\r\n", b"abc"), b"abc"),
    "chunks": (_chunked(chunks(b"abc", b"de")), b"abcde"),
    "chunked in capitals": (_post(b"Transfer-Encoding: CHUNKED\r\n", ABC), b"abc"),
    "a chunk's size in capitals": (_chunked(b"A\r\n0123456789\r\n0\r\n\r\n"), b"0123456789"),
    "zeros before a chunk's size": (_chunked(b"003\r\nabc\r\n00\r\n\r\n"), b"abc"),
    "an extension": (_chunked(b"3;a=b\r\nabc\r\n0\r\n\r\n"), b"abc"),
    "a trailer": (_chunked(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"), b"abc"),
    "a high byte in a value": (_field(b"X-A: caf\xe9"), b""),
    "a tab in a value": (_field(b"X-A: 1\t2"), b""),
    "an empty value": (_field(b"X-A:"), b""),
    "a Host with a port": (_host(b"gateway:8080"), b""),
    "an address as Host": (_host(b"127.0.0.1"), b""),
    "an IPv6 address as Host": (_host(b"[::1]:8080"), b""),
    "an underscore in Host": (_host(b"my_gateway"), b""),
    "a dot at the end of Host": (_host(b"gateway.example."), b""),
    "HTTP/1.0 without Host": (b"GET /echo HTTP/1.0\r\n\r\n", b""),
    "an ignored Upgrade": (
        post(b"/echo", b"abc", b"Connection: Upgrade", b"Upgrade: h2c"),
        b"abc",
    ),
    "an ignored Upgrade with chunks": (
        _post(CHUNKED + b"Connection: Upgrade\r\nUpgrade: websocket\r\n", ABC),
        b"abc",
    ),
    "an Upgrade without Connection": (get(b"/echo", b"Upgrade: h2c"), b""),
    "100 headers": (get(b"/echo", *[b"X-A: 1"] * 99), b""),
    "a backslash in the query": (get(b"/echo?a\\b"), b""),
}


class CorpusTests(SynchronousTestCase):
    """Each case whole, and again a byte at a time."""

    def test_c13_refused_without_a_route(self) -> None:
        """C13, row 42: an ambiguous request gets one refusal, no route, and the connection ends."""
        for name, (data, status) in REFUSED.items():
            for step in (len(data), 1):
                server = Server()
                client = server.connect()
                for start in range(0, len(data), step):
                    client.channel.dataReceived(data[start : start + step])
                if not client.received():
                    server.advance(12)
                case = f"{name}, {step} at a time"
                self.assertEqual(statuses(client.received()), [status], case)
                self.assertEqual(server.site.requests, [], case)
                self.assertEqual(len(server.door.refusals), 1, case)
                self.assertTrue(client.closing, case)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_c13_served(self) -> None:
        """C13: what is merely unusual is served, and the connection stays usable."""
        for name, (data, body) in SERVED.items():
            for step in (len(data), 1):
                server = Server()
                client = server.connect()
                for start in range(0, len(data), step):
                    client.channel.dataReceived(data[start : start + step])
                case = f"{name}, {step} at a time"
                self.assertEqual(statuses(client.received()), [200], case)
                self.assertEqual([r.body for r in server.site.requests], [body], case)
                if b"HTTP/1.0" not in data:
                    self.assertIn(b"HTTP/1.1 200", client.send(get(b"/echo")), case)

    def test_c13_nothing_is_smuggled(self) -> None:
        """C13: what follows a refused request on the connection is never served."""
        for name, (data, _) in REFUSED.items():
            server = Server()
            client = server.connect()
            client.send(data + get(b"/echo"))
            client.send(get(b"/echo"))
            self.assertEqual(server.site.requests, [], name)

    def test_corpus_is_large(self) -> None:
        """The corpus has at least 90 cases that must be refused."""
        self.assertGreaterEqual(len(REFUSED), 90)

    def test_c7_long_length_is_refused_quietly(self) -> None:
        """C7: a Content-Length of 5000 digits is a plain 400."""
        client = Server().connect()
        answer = client.send(_post(b"Content-Length: " + b"9" * 5000 + b"\r\n"))
        self.assertEqual(statuses(answer), [400])
        self.assertEqual(self.flushLoggedErrors(), [])


class HostTests(SynchronousTestCase):
    """The Host header."""

    def test_c20_bad_hosts(self) -> None:
        """C20, T-Host: ten bad Hosts are ten refusals, no redirect, no traceback."""
        bad = (
            b"a..b",
            b"x" * 70,
            b"",
            b"a b",
            b"a/b",
            b"a:b",
            b"[::1",
            b"a@b",
            b"a:99999",
            b"\xff",
        )
        for value in bad:
            client = Server().connect()
            answer = client.send(_host(value))
            self.assertEqual(statuses(answer), [400], value)
            self.assertNotIn(b"ocation", answer)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_long_host(self) -> None:
        """A name may have 253 bytes, all labels together."""
        self.assertTrue(valid_host(b".".join([b"a" * 60] * 4)))
        self.assertFalse(valid_host(b".".join([b"a" * 60] * 5)))
