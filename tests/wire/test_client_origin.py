"""Origins and prepared requests."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.wire.client import Origin, Target


class OriginTests(SynchronousTestCase):
    def test_parse(self) -> None:
        """A base URL gives scheme, host, port and prefix, each in one spelling."""
        for url, parts, authority in (
            ("http://Example.test", ("http", "example.test", 80, ""), b"example.test"),
            ("https://example.test/", ("https", "example.test", 443, ""), b"example.test"),
            (
                "https://example.test:443/v1/",
                ("https", "example.test", 443, "/v1"),
                b"example.test",
            ),
            ("http://h:8000/a/b", ("http", "h", 8000, "/a/b"), b"h:8000"),
            ("http://[::1]:8000", ("http", "::1", 8000, ""), b"[::1]:8000"),
            ("https://[::1]", ("https", "::1", 443, ""), b"[::1]"),
            ("http://10.0.0.1:1", ("http", "10.0.0.1", 1, ""), b"10.0.0.1:1"),
            ("https://my_host.internal.", ("https", "my_host.internal.", 443, ""), None),
        ):
            origin = Origin.parse(url)
            self.assertEqual((origin.scheme, origin.host, origin.port, origin.prefix), parts)
            if authority is not None:
                self.assertEqual(origin.authority, authority)

    def test_bad_urls(self) -> None:
        """What is not plainly a base URL is refused; the message never repeats it."""
        for url in (
            "",
            "canary",
            "canary.test:80",
            "ftp://canary.test",
            "http://",
            "http:///canary",
            "http://user:canary@host.test",
            "http://canary@host.test",
            "http://host.test/?canary",
            "http://host.test/?",
            "http://host.test/#canary",
            "http://host.test:99999/canary",
            "http://host.test:0/canary",
            "http://host.test:x/canary",
            "http://host.test/can ary",
            "http://host.test/canary\r\nX: y",
            "http://host.test/canary\\",
            "http://host.test/../canary",
            "http://host.test/canary/./x",
            'http://host.test/"canary"',
            "http://-canary.test",
            "http://can..ary.test",
            "http://can%61ry.test",
            "http://can\u00e4ry.test",
            "http://[::1/canary",
        ):
            with self.assertRaises(ValueError, msg=url) as caught:
                Origin.parse(url)
            self.assertNotIn("canary", str(caught.exception))

    def test_certificates_need_tls(self) -> None:
        """Certificates for a plain origin are a mistake that is told."""
        for key in ("ca_file", "client_cert"):
            with self.assertRaises(ValueError):
                Origin.parse("http://host.test", **{key: "x.pem"})


class TargetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.origin = Origin.parse("https://host.test/v1")

    def test_prefix_and_query(self) -> None:
        """The path comes after the prefix, and may have a query of the operator's."""
        target = Target.prepare(self.origin, b"POST", "/models/m:stream?alt=sse")
        self.assertTrue(target.head.startswith(b"POST /v1/models/m:stream?alt=sse HTTP/1.1\r\n"))
        self.assertEqual(target.uri, b"https://host.test/v1/models/m:stream?alt=sse")

    def test_lengths(self) -> None:
        """A request says how long its body is, but for GET and HEAD without one."""
        for method, body, line in (
            (b"POST", b"", b"content-length: 0\r\n"),
            (b"POST", b"ab", b"content-length: 2\r\n"),
            (b"GET", b"ab", b"content-length: 2\r\n"),
            (b"GET", b"", b""),
            (b"HEAD", b"", b""),
        ):
            head = Target.prepare(self.origin, method, "/x").render(body)
            self.assertTrue(head.endswith(line + b"\r\n"))
            self.assertEqual(b"content-length" in head, bool(line))

    def test_what_cannot_be_prepared(self) -> None:
        """Methods, paths and headers that could be read as more than they are, are refused."""
        for method, path, headers in (
            (b"post", "/x", []),
            (b"PO ST", "/x", []),
            (b"POST", "x", []),
            (b"POST", "", []),
            (b"POST", "/x y", []),
            (b"POST", "/x\r\nX: y", []),
            (b"POST", "/x#y", []),
            (b"POST", "/\u00e4", []),
            (b"POST", "/x", [(b"X Y", b"z")]),
            (b"POST", "/x", [(b"X:", b"z")]),
            (b"POST", "/x", [(b"X", b"y\r\nZ: a")]),
            (b"POST", "/x", [(b"Host", b"evil.test")]),
            (b"POST", "/x", [(b"content-length", b"1")]),
            (b"POST", "/x", [(b"Transfer-Encoding", b"chunked")]),
            (b"POST", "/x", [(b"Accept-Encoding", b"gzip")]),
            (b"POST", "/x", [(b"Connection", b"close")]),
        ):
            with self.assertRaises(ValueError, msg=(method, path, headers)):
                Target.prepare(self.origin, method, path, headers)

    def test_secrets_are_not_shown(self) -> None:
        """U13: neither the prepared headers nor the proxy's password are in any ``repr``."""
        origin = Origin.parse("https://host.test", proxy="http://u:canary@proxy.test:1")
        target = Target.prepare(origin, b"POST", "/x", [(b"authorization", b"Bearer canary")])
        self.assertNotIn("canary", repr(target))
