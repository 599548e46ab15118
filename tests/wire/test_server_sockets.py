"""The server on real sockets: slow, silent, rude and vanishing clients."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from typing import Any

from lmgateway.wire.channel import Channel
from lmgateway.wire.limits import Limits
from tests.wire.serving import get, post, statuses
from tests.wire.sockets import (
    QUICK,
    SocketCase,
    in_thread,
    open_sockets,
    pause,
    read_all,
    read_answer,
)

BAD_KEY = b"Authorization: Bearer bad"


class ExchangeTests(SocketCase):
    """Well-behaved clients."""

    async def test_keep_alive(self) -> None:
        """A client library gets its answers over one connection."""
        await self.serve()

        def talk() -> list[bytes]:
            client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            answers = []
            for number in range(5):
                client.request("POST", "/echo", b"%d" % number)
                answers.append(client.getresponse().read())
            client.request("POST", "/echo", iter([b"in ", b"chunks"]), encode_chunked=True)
            answers.append(client.getresponse().read())
            client.close()
            return answers

        answers = await in_thread(talk)
        self.assertEqual(answers, [b"0", b"1", b"2", b"3", b"4", b"in chunks"])
        await self.empty()

    async def test_large_answer(self) -> None:
        """An answer larger than any buffer arrives whole."""
        await self.serve()
        client = self.connect(window=65536)
        answer = await in_thread(self._ask, client, get(b"/big"))
        self.assertEqual(len(answer.partition(b"\r\n\r\n")[2]), 8_000_000)
        answer = await in_thread(self._ask, client, get(b"/echo"))
        self.assertEqual(statuses(answer), [200])

    def _ask(self, client: socket.socket, data: bytes) -> bytes:
        client.sendall(data)
        return read_answer(client)

    async def test_large_body(self) -> None:
        """A body of many segments arrives whole."""
        await self.serve(Limits())
        body = bytes(range(256)) * 40_000
        answer = await in_thread(self._ask, self.connect(), post(b"/echo", body))
        self.assertEqual(answer.partition(b"\r\n\r\n")[2], body)

    async def test_small_writes_leave_at_once(self) -> None:
        """Connections do not wait to fill packets."""
        await self.serve()
        client = self.connect()
        await in_thread(self._ask, client, get(b"/echo"))
        (channel,) = self.factory.connections
        transport: Any = channel.transport
        handle = transport.getHandle()
        self.assertTrue(handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        self.assertTrue(handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    async def test_local_socket(self) -> None:
        """A socket in the file system works as well; its peers have no address."""
        path = self.mktemp()
        await self.serve(path=path)

        def talk() -> bytes:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                return self._ask(client, post(b"/echo", b"hello"))

        self.assertTrue((await in_thread(talk)).endswith(b"hello"))
        self.assertEqual(self.door.seen[0].peer, "")
        await self.empty()

    async def test_pipelined_large_answers(self) -> None:
        """C18: large answers to pipelined requests are made one by one, as they are taken."""
        await self.serve(Limits())
        client = self.connect(window=65536)
        client.sendall(get(b"/big") * 4)
        await self.until(lambda: self.site.requests)
        await pause(0.3)
        self.assertEqual(len(self.site.requests), 1)
        answers = [await in_thread(read_answer_exactly, client) for _ in range(4)]
        self.assertEqual([len(answer) for answer in answers], [8_000_000] * 4)


def read_answer_exactly(client: socket.socket) -> bytes:
    """One answer's body, and not a byte of the next answer."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    body = bytearray()
    while len(body) < 8_000_000:
        body += client.recv(min(65536, 8_000_000 - len(body)))
    return bytes(body)


class LeavingTests(SocketCase):
    """Clients that leave."""

    async def test_c15_in_each_phase(self) -> None:
        """C15, rows 30 to 32: leaving is noticed at once in every phase."""
        await self.serve(Limits())
        for data in (b"GET /", post(b"/wait", b"hello")[:-1], get(b"/wait"), get(b"/stream")):
            client = self.connect()
            client.sendall(data)
            await pause(0.05)
            client.close()
            self.assertLess(await self.empty(), 4)
        self.assertEqual(self.site.cancelled, 2)

    async def test_c14_half_close(self) -> None:
        """C14: a client that closes its sending side counts as gone."""
        await self.serve(Limits())
        client = self.connect()
        client.sendall(get(b"/wait"))
        await self.until(lambda: self.site.waiting)
        client.shutdown(socket.SHUT_WR)
        self.assertLess(await self.empty(), 4)
        self.assertEqual(self.site.cancelled, 1)

    async def test_c11_junk_then_gone(self) -> None:
        """C11, row 33: 40 kB of junk behind a request do not hide that its client left."""
        await self.serve(Limits())
        client = self.connect()
        client.sendall(get(b"/wait"))
        await self.until(lambda: self.site.waiting)
        client.sendall(b"x" * 40_000)
        client.close()
        self.assertLess(await self.empty(), 4)
        self.assertEqual(self.site.cancelled, 1)

    async def test_reset(self) -> None:
        """A reset in mid-stream is a client that left."""
        await self.serve(Limits())
        client = self.connect()
        client.sendall(get(b"/flood"))
        await self.until(lambda: self.site.outlets)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        self.assertLess(await self.empty(), 4)
        self.assertEqual(self.site.cancelled, 1)

    async def test_a_thousand_streams(self) -> None:
        """A thousand streams begun and left leave nothing behind."""
        await self.serve(Limits())
        before = open_sockets()
        for _ in range(20):
            clients = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(50)]
            for client in clients:
                client.sendall(get(b"/stream"))
            await self.until(lambda: len(self.factory.connections) == 50)
            await pause(0.02)
            for client in clients:
                client.close()
            await self.empty()
        self.assertEqual(open_sockets(), before)
        self.assertEqual(self.wheel.pending, 0)
        self.assertEqual(self.site.cancelled, len(self.site.requests))


class SlowTests(SocketCase):
    """C8, C9, C10: clients that are slow, or silent."""

    async def test_c8_no_headers(self) -> None:
        """C8, row 35: a client that says nothing is let go at the header deadline."""
        await self.serve()
        client = self.connect()
        self.assertEqual(await in_thread(read_all, client), b"")
        await self.empty()

    async def test_c8_trickle(self) -> None:
        """C8, row 35: a client that trickles is told 408 at the deadline."""
        await self.serve()

        def trickle() -> bytes:
            client = self.connect()
            client.settimeout(0.1)
            for byte in post(b"/echo", b"hello", b"X-A: " + b"x" * 1000):
                try:
                    client.send(bytes([byte]))
                    return client.recv(1000)
                except TimeoutError:
                    continue
            return b""

        start = time.monotonic()
        self.assertEqual(statuses(await in_thread(trickle)), [408])
        self.assertLess(time.monotonic() - start, 8)

    async def test_c9_slow_stream(self) -> None:
        """C9, row 34: a stream to a client that does not read is aborted at the stall limit."""
        await self.serve()
        client = self.connect(window=4096)
        client.sendall(get(b"/flood"))
        await self.until(lambda: self.site.outlets)
        await self.empty()
        self.assertEqual(self.site.cancelled, 1)

    async def test_c9_slow_whole_answer(self) -> None:
        """C9: a whole answer to a client that does not read is aborted as well."""
        await self.serve()
        client = self.connect(window=4096)
        client.sendall(get(b"/big"))
        await self.until(lambda: self.site.requests)
        await self.empty()

    async def test_c9_slow_last_answer(self) -> None:
        """C9: so is the last answer of a connection."""
        await self.serve()
        client = self.connect(window=4096)
        client.sendall(get(b"/big", b"Connection: close"))
        await self.until(lambda: self.site.requests)
        await self.empty()

    async def test_c9_slow_but_reading(self) -> None:
        """C9: a client that reads slowly but steadily gets all of it, whatever the limits."""
        await self.serve()

        def read_slowly() -> int:
            client = self.connect(window=65536)
            client.sendall(get(b"/big", b"Connection: close"))
            received = 0
            while data := client.recv(40_000):
                received += len(data)
                time.sleep(0.01)
            return received

        start = time.monotonic()
        self.assertGreater(await in_thread(read_slowly), 8_000_000)
        self.assertGreater(time.monotonic() - start, QUICK.stall_seconds)

    async def test_c18_memory_of_a_stalled_stream(self) -> None:
        """C18, row 34: an endless stream to a stalled client stops being made."""
        await self.serve(Limits())
        client = self.connect(window=4096)
        client.sendall(get(b"/flood"))
        await self.until(lambda: self.site.outlets)
        await pause(0.2)
        (channel,) = self.factory.connections
        self.assertLess(channel.outflow.unsent(), 200_000)
        held = channel.outflow.unsent()
        await pause(0.2)
        self.assertEqual(channel.outflow.unsent(), held)


class RefusedTests(SocketCase):
    """Clients that are refused while they send."""

    async def test_c2_upload_with_a_bad_key(self) -> None:
        """C2, row 44: a client in the middle of a large upload reads why it is refused."""
        await self.serve()
        taken: list[int] = []
        self._count(taken)

        def upload() -> bytes:
            client = self.connect()
            head = b"POST /echo HTTP/1.1\r\nHost: a\r\n%b\r\nContent-Length: 1000000000\r\n\r\n"
            client.sendall(head % BAD_KEY)
            threading.Thread(target=_send_all, args=(client,), daemon=True).start()
            time.sleep(0.2)
            return client.recv(65536)

        self.assertEqual(statuses(await in_thread(upload)), [401])
        await self.empty()
        self.assertLessEqual(sum(taken), 65536 * 3)
        self.assertEqual(self.site.requests, [])

    def _count(self, taken: list[int]) -> None:
        """Note how much each read of the server's takes."""
        received = Channel.dataReceived

        def counting(channel: Channel, data: bytes) -> None:
            taken.append(len(data))
            received(channel, data)

        self.patch(Channel, "dataReceived", counting)

    async def test_c2_expect(self) -> None:
        """C2, row 36: 413 at once for a client that waits to send too much, and then the end."""
        await self.serve(Limits())
        client = self.connect()
        head = b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
        start = time.monotonic()
        client.sendall(head + b"Content-Length: 99999999999\r\n\r\n")
        answer = await in_thread(read_all, client)
        self.assertEqual(statuses(answer), [413])
        self.assertLess(time.monotonic() - start, 4)
        client.close()
        await self.empty()

    async def test_old_client_sees_a_cut(self) -> None:
        """A stream to HTTP/1.0 that is broken off ends in a reset, after what was sent."""
        await self.serve()
        client = self.connect()
        client.sendall(get(b"/stream", version=b"1.0"))
        await self.until(lambda: self.site.outlets)
        self.site.outlets[0].write(b"data: 2\n\n")
        self.site.outlets[0].abort()
        await self.empty()
        self.assertIn(b"data: 2", client.recv(65536))
        self.assertRaises(ConnectionResetError, client.recv, 100)

    async def test_new_client_sees_a_cut(self) -> None:
        """A stream to HTTP/1.1 that is broken off ends without its last chunk."""
        await self.serve()
        client = self.connect()
        client.sendall(get(b"/stream"))
        await self.until(lambda: self.site.outlets)
        self.site.outlets[0].write(b"data: 2\n\n")
        self.site.outlets[0].abort()
        answer = await in_thread(read_all, client)
        self.assertTrue(answer.endswith(b"data: 2\n\n\r\n"))
        await self.empty()


def _send_all(client: socket.socket) -> None:
    try:
        while True:
            client.sendall(b"x" * 65536)
    except OSError:
        pass


class DrainTests(SocketCase):
    """The end of a server on real sockets."""

    async def test_drain(self) -> None:
        """Idle connections close, the one in flight is answered, and then it is over."""
        await self.serve()
        idle, busy = self.connect(), self.connect()
        for client in (idle, busy):
            client.sendall(get(b"/echo"))
            await in_thread(read_answer, client)
        busy.sendall(get(b"/wait"))
        await self.until(lambda: self.site.waiting)
        drained = self.factory.drain()
        self.assertEqual(await in_thread(read_all, idle), b"")
        self.assertNoResult(drained)
        self.site.go()
        self.assertEqual(statuses(await in_thread(read_all, busy)), [200])
        await drained

    async def test_row_59_too_many(self) -> None:
        """Row 59: a connection too many is told 503; when one leaves, there is room again."""
        await self.serve(Limits(max_connections=2))
        first, second = self.connect(), self.connect()
        await self.until(lambda: len(self.factory.connections) == 2)
        self.assertEqual(statuses(await in_thread(read_all, self.connect())), [503])
        first.close()
        second.sendall(get(b"/echo"))
        self.assertEqual(statuses(await in_thread(read_answer, second)), [200])
