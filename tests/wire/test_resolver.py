"""Looking names up without waiting for slow ones."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from threading import Event
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from lmgateway.backend_errors import BackendTimeout, Unreachable
from lmgateway.wire import race
from lmgateway.wire import resolver as resolver_module
from lmgateway.wire.resolver import Resolver, is_forbidden
from tests.wire.dialing import ok
from tests.wire.upstreams import SocketTestCase, answering

reactor: Any = installed
Answers = Sequence[tuple[Any, ...]]


def answers(*addresses: str) -> Answers:
    """Give addresses as ``getaddrinfo`` does."""
    return [(None, None, 6, "", (address, 0)) for address in addresses]


class Receiver:
    """Waits for a name."""

    def __init__(self) -> None:
        self.addresses: list[IPv4Address | IPv6Address] = []
        self.done: Deferred[list[str]] = Deferred()
        self.resolution: IHostResolution | None = None

    def resolutionBegan(self, resolution: IHostResolution) -> None:  # noqa: N802
        self.resolution = resolution

    def addressResolved(self, address: IPv4Address | IPv6Address) -> None:  # noqa: N802
        self.addresses.append(address)

    def resolutionComplete(self) -> None:  # noqa: N802
        self.done.callback([address.host for address in self.addresses])


class ThreadlessReactor(Clock):
    """A clock whose thread calls are made at once, in the thread that asks."""

    def callFromThread(self, call: Any, *args: Any) -> None:
        call(*args)


class Names:
    """Stands in for ``getaddrinfo``; some names hang until released."""

    def __init__(self, known: dict[str, Answers]) -> None:
        self.known = known
        self.asked: list[str] = []
        self.release = Event()

    def __call__(self, name: str, *rest: object, **more: object) -> Answers:
        self.asked.append(name)
        if name.startswith("hang"):
            self.release.wait(20)
        try:
            return self.known[name]
        except KeyError:
            raise OSError("no such name") from None


class ForbiddenTests(SynchronousTestCase):
    def test_ranges(self) -> None:
        """Link-local and metadata addresses are known in each of their spellings."""
        for address in (
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "fe80::1%eth0",
            "fd00:ec2::254",
            "::ffff:169.254.169.254",
        ):
            self.assertTrue(is_forbidden(address), address)
        for address in ("127.0.0.1", "10.0.0.1", "::1", "fd00::1", "::ffff:10.0.0.1", "8.8.8.8"):
            self.assertFalse(is_forbidden(address), address)


class LookUpTests(TestCase):
    timeout = 10

    def setUp(self) -> None:
        self.names = Names(
            {
                "good": answers("10.0.0.1", "10.0.0.1", "fd00::1"),
                "rebound": answers("169.254.169.254"),
                "mixed": answers("169.254.169.254", "10.0.0.2", "fd00:ec2::254"),
                "hang-1": answers("10.0.0.3"),
            }
        )
        self.addCleanup(self.names.release.set)
        self.resolver = Resolver(reactor, 4, self.names)

    def ask(self, name: str, **how: Any) -> Receiver:
        receiver = Receiver()
        self.resolver.resolveHostName(receiver, name, 80, **how)  # type: ignore[arg-type]  # one
        return receiver

    async def test_addresses(self) -> None:
        """All addresses are told once, in order, with the port."""
        receiver = self.ask("good")
        self.assertEqual(await receiver.done, ["10.0.0.1", "fd00::1"])
        self.assertEqual(receiver.addresses[0], IPv4Address("TCP", "10.0.0.1", 80))
        self.assertEqual(receiver.addresses[1], IPv6Address("TCP", "fd00::1", 80))

    async def test_only_one_kind(self) -> None:
        """Who can use one kind of address is told only these."""
        self.assertEqual(await self.ask("good", addressTypes=[IPv4Address]).done, ["10.0.0.1"])

    async def test_no_such_name(self) -> None:
        """A name that does not resolve has no addresses."""
        self.assertEqual(await self.ask("missing").done, [])

    async def test_names_must_not_lead_to_metadata(self) -> None:
        """Addresses in forbidden ranges are dropped; as literals they are let through."""
        self.assertEqual(await self.ask("rebound").done, [])
        self.assertEqual(await self.ask("mixed").done, ["10.0.0.2"])
        self.assertEqual(await self.ask("169.254.169.254").done, ["169.254.169.254"])

    def test_literals_are_answered_at_once(self) -> None:
        """U9: an address needs no thread and no look-up."""
        for literal in ("127.0.0.1", "::1"):
            self.assertEqual(self.successResultOf(self.ask(literal).done), [literal])
        self.assertEqual(self.names.asked, [])

    async def test_one_look_up_for_all(self) -> None:
        """U9: whoever asks for a name that is being looked up waits with the others."""
        waiting = [self.ask("hang-1") for _ in range(3)]
        self.assertNoResult(waiting[0].done)
        self.names.release.set()
        for receiver in waiting:
            self.assertEqual(await receiver.done, ["10.0.0.3"])
        self.assertEqual(self.names.asked, ["hang-1"])

    async def test_hanging_names_do_not_block_others(self) -> None:
        """U9: names beyond the threads wait, and get their turn."""
        self.resolver = Resolver(reactor, 1, self.names)
        hanging = self.ask("hang-1")
        queued = self.ask("good")
        self.assertEqual(await self.ask("127.0.0.1").done, ["127.0.0.1"])
        self.assertNoResult(queued.done)
        self.names.release.set()
        self.assertEqual(await hanging.done, ["10.0.0.3"])
        self.assertEqual(await queued.done, ["10.0.0.1", "fd00::1"])

    async def test_cancelled_look_up(self) -> None:
        """Who has cancelled is told nothing, and others are."""
        first, second = self.ask("hang-1"), self.ask("hang-1")
        assert first.resolution is not None
        first.resolution.cancel()
        self.names.release.set()
        self.assertEqual(await second.done, ["10.0.0.3"])
        self.assertNoResult(first.done)

    async def test_stop(self) -> None:
        """A stopped resolver looks nothing up and keeps nobody waiting."""
        waiting = self.ask("hang-1")
        self.resolver.stop()
        self.assertEqual(self.successResultOf(waiting.done), [])
        self.assertEqual(self.successResultOf(self.ask("good").done), [])
        self.assertEqual(self.names.asked, ["hang-1"])

    def test_no_thread_to_be_had(self) -> None:
        """A process at its limit of threads fails the look-up, and tries again later."""

        class NoThread:
            def __init__(self, **how: object) -> None:
                pass

            def start(self) -> None:
                raise RuntimeError("can't start new thread")

        self.patch(resolver_module, "Thread", NoThread)
        self.assertEqual(self.successResultOf(self.ask("good").done), [])

    def test_interface(self) -> None:
        """It is what a reactor wants for a resolver."""
        verifyObject(IHostnameResolver, self.resolver)


class CacheTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.names = Names({"good": answers("10.0.0.1")})
        self.clock = ThreadlessReactor()
        self.resolver = Resolver(self.clock, 4, self.names)

    def ask(self, name: str) -> list[str]:
        receiver = Receiver()
        self.resolver.resolveHostName(receiver, name)  # type: ignore[arg-type]  # one in all but name
        deadline = time.monotonic() + 5
        while not receiver.done.called and time.monotonic() < deadline:
            time.sleep(0.001)
        return self.successResultOf(receiver.done)

    def test_answers_are_kept(self) -> None:
        """U9: an answer is good for 30 seconds, a failure for 5."""
        for name, seconds, known in (("good", 30, ["10.0.0.1"]), ("missing", 5, [])):
            self.names.asked.clear()
            self.assertEqual(self.ask(name), known)
            self.clock.advance(seconds - 0.1)
            self.assertEqual(self.ask(name), known)
            self.assertEqual(self.names.asked, [name])
            self.clock.advance(0.2)
            self.assertEqual(self.ask(name), known)
            self.assertEqual(self.names.asked, [name, name])


class ClientTests(SocketTestCase):
    """Names under the client (U9)."""

    def setUp(self) -> None:
        super().setUp()
        self.names = Names({})
        self.resolver = Resolver(reactor, 32, self.names)
        self.addCleanup(self.names.release.set)
        self.addCleanup(reactor.installNameResolver, reactor.installNameResolver(self.resolver))

    async def test_hung_names_and_a_literal(self) -> None:
        """U9: a dozen names that hang cost their own connections only."""
        lines = self.serve(answering(ok()))
        hung = []
        for number in range(12):
            client, target = self.client(
                9, host=f"hang-{number}.test", agent={"connect_seconds": 0.3}
            )
            hung.append(client.send(target, b"", head_seconds=5))
        self.names.known["good.test"] = answers("127.0.0.1")
        for host in ("127.0.0.1", "good.test"):
            client, target = self.client(lines, host=host)
            self.assertEqual((await client.send(target, b"", head_seconds=5)).code, 200)
        for sent in hung:
            self.assertNoResult(sent)
        for sent in hung:
            try:
                await sent
            except BackendTimeout as error:
                self.assertIn("name look-up", str(error))
            else:
                self.fail("connected")

    async def test_cancel_during_look_up(self) -> None:
        """U2: whoever leaves while a name is looked up leaves nothing behind."""
        client, target = self.client(9, host="hang.test")
        sent = client.send(target, b"", head_seconds=5)
        sent.addErrback(lambda _: None).cancel()
        self.assertEqual((self.wheel.pending, self.agent.active), (0, 0))
        self.names.known["hang.test"] = answers("127.0.0.1")
        self.names.release.set()
        await deferLater(reactor, 0.05, lambda: None)
        self.assertEqual(self.agent.opened, 0)

    async def test_no_such_name(self) -> None:
        """U9: a name that does not resolve is told as such."""
        client, target = self.client(9, host="missing.test")
        try:
            await client.send(target, b"", head_seconds=5)
        except Unreachable as error:
            self.assertIn("resolve", str(error))
        else:
            self.fail("connected")

    async def test_one_dead_address_of_two(self) -> None:
        """U9: the next address is tried when the first refuses."""
        lines = self.serve(answering(ok()), interface="127.0.0.2")
        self.names.known["two_addresses"] = answers("127.0.0.1", "127.0.0.2")
        self.patch(race, "STAGGER", 60.0)  # so that only the refusal can bring the next one on
        client, target = self.client(lines, host="two_addresses")
        self.assertEqual((await client.send(target, b"", head_seconds=5)).code, 200)

    async def test_one_deaf_address_of_two(self) -> None:
        """U9: the next address is tried when the first does not answer, and wins."""
        port = self.deaf_port()
        lines = self.serve(answering(ok()), interface="127.0.0.2", port=port)
        self.names.known["two.test"] = answers("127.0.0.1", "127.0.0.2")
        client, target = self.client(lines, host="two.test")
        self.assertEqual((await client.send(target, b"", head_seconds=5)).code, 200)
        self.assertEqual((self.agent.opened, self.agent.idle), (1, 1))

    async def test_all_addresses_dead(self) -> None:
        """U9: if no address answers, the last failure is told."""
        self.names.known["two.test"] = answers("127.0.0.1", "127.0.0.2")
        client, target = self.client(1, host="two.test")
        try:
            await client.send(target, b"", head_seconds=5)
        except Unreachable as error:
            self.assertIn("refused", str(error))
        else:
            self.fail("connected")
        self.assertEqual(self.wheel.pending, 0)

    async def test_all_addresses_deaf(self) -> None:
        """U3: connections that nobody answers are given up together, at the deadline."""
        self.names.known["two.test"] = answers("127.0.0.1", "127.0.0.1")
        client, target = self.client(
            self.deaf_port(), host="two.test", agent={"connect_seconds": 0.4}
        )
        try:
            await client.send(target, b"", head_seconds=5)
        except BackendTimeout as error:
            self.assertIn("connection", str(error))
        else:
            self.fail("connected")
        self.assertEqual((self.wheel.pending, self.agent.active), (0, 0))


EXIT = """
import sys, time
from twisted.internet import reactor
from lmgateway.wire import race
from lmgateway.wire import resolver as resolver_module
from lmgateway.wire.resolver import Resolver
resolver = Resolver(reactor, look_up=lambda *a, **k: time.sleep(30))
class Receiver:
    def resolutionBegan(self, r): pass
    def addressResolved(self, a): pass
    def resolutionComplete(self): pass
for number in range(3):
    resolver.resolveHostName(Receiver(), "hang-%d" % number)
reactor.addSystemEventTrigger("during", "shutdown", resolver.stop)
reactor.callLater(0.1, reactor.stop)
reactor.run()
"""


class ExitTests(SynchronousTestCase):
    def test_exit_does_not_wait(self) -> None:
        """U9: names that hang do not keep the process from ending."""
        where = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        ended = subprocess.run([sys.executable, "-c", EXIT], timeout=15, env=where)
        self.assertEqual(ended.returncode, 0)
