"""
What holds for every row of the fault matrix, whatever the fault.

Each request ends within its deadline and a second; each accepted request has exactly one
traffic entry; afterwards no place, reservation, connection or file descriptor is held that was
not before, memory is where it was (give or take 10 MB), and nothing was logged as unexpected.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.task import deferLater
from twisted.web.client import ResponseFailed

from tests.faults.scripted import Script, ScriptedBackend
from tests.harness import GatewayCase, Got

reactor: Any = the_reactor

SETTLING = 20.0
MEMORY = 10 * 1024 * 1024
CANARY = "sk-canary-7f3a9e51"
"""The backends' key in every row: it may be sent to a backend and be nowhere else."""


class FaultCase(GatewayCase):
    """
    One gateway, scripted backends, and the law.

    A row starts the gateway (``serve``), counts what it asks with ``expect`` or asks through
    ``put``, and the law is judged in ``tearDown``.
    """

    timeout = 60

    def setUp(self) -> None:
        """Look at what is held before."""
        super().setUp()
        self.scripted: list[ScriptedBackend] = []
        self.expected = 0
        self.environ["CANARY"] = CANARY
        self._answers: list[bytes] = []
        self.held_besides = 0
        self._judged = True

    def faulty(self, *scripts: Script, ssl: Any = None) -> int:
        """Open a backend that follows scripts, with TLS if told how; give its port."""
        backend = ScriptedBackend.following(*scripts)
        self.scripted.append(backend)
        return backend.listen(ssl)

    async def serve(
        self,
        *backends: int | str,
        gateway: str = "",
        profile: str = "",
        more: str = "",
        each: str = "",
        judge: bool = True,
    ) -> None:
        """
        Serve a ladder of one tier per backend, ``a`` before ``b``, each with short deadlines.

        Asked again, the same gateway goes over to other backends by a reload.

        Args:
            backends: Their ports, or their URLs.
            each: What every backend's section says besides.
            judge: Whether the law can be looked at by the admin port afterwards.
        """
        names = "abcdefgh"[: len(backends)]
        parts = _parts(names, backends, each)
        parts["more"] += more
        parts["profile"] += profile
        if self.service is not None:
            self.write(_CONFIG, gateway=gateway, **parts)
            self.service.reload()
            return
        self.start(_CONFIG, gateway=gateway, **parts)
        self._judged = judge
        await self.ask(
            "GET", "/admin/traffic", admin=True
        )  # what is opened once and kept is open now
        await self.pool.closeCachedConnections()
        self.before = self.held()
        self.resident = memory()

    async def begin_stream(self, **members: Any) -> Any:
        """Ask for a stream, and give its response, unread."""
        self.expected += 1
        body = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        return await self.begin("POST", "/v1/chat/completions", body | members)

    async def rest_of(self, response: Any) -> bytes:
        """Read a stream to its end, be it a proper one or not."""
        parts: list[bytes] = []
        try:
            await response.collect(parts.append)
        except ResponseFailed:
            parts.append(b"")
        text = b"".join(parts)
        self._answers.append(text)
        return text

    def held(self) -> dict[str, Any]:
        """Say what the gateway holds now."""
        assert self.service is not None
        resources = self.service.resources
        return {
            "descriptors": len(os.listdir("/proc/self/fd"))
            - len(self.scripted)
            - self.held_besides,
            "in flight": resources.traffic.in_flight,
            "places": _places(resources),
            "reserved": _reserved(resources),
        }

    async def put(self, *, stream: bool = False, within: float = 5.0, **members: Any) -> Got:
        """Ask once, as a client would; it must end *within* seconds and one more."""
        self.expected += 1
        began = reactor.seconds()
        got = await self.chat("a", stream=stream, **members)
        self.assertLess(reactor.seconds() - began, within + 1, "the deadline was missed")
        self._answers.append(got.body + repr(got.headers).encode())
        return got

    def kind(self, got: Got) -> str:
        """Give the kind of an error answer."""
        return str(got.headers.get("x-lmg-error"))

    async def tearDown(self) -> None:  # type: ignore[override]  # trial awaits it
        """Judge the law, then stop everything."""
        try:
            if self.service is not None and self._judged:
                await self._judge()
        finally:
            for backend in self.scripted:
                await backend.stop()
            await super().tearDown()

    async def _judge(self) -> None:
        entries = await self.entries()
        self.assertEqual(len(entries), self.expected, f"traffic entries: {entries}")
        for backend in self.scripted:
            for connection in backend.connections:
                if not connection.lost:
                    transport: Any = connection.transport
                    transport.abortConnection()
        assert self.service is not None
        self.service.resources.keep_only(set())
        await self.pool.closeCachedConnections()
        deadline = reactor.seconds() + SETTLING
        while (now := self.held())["descriptors"] > self.before["descriptors"] or any(
            now[name] != self.before[name] for name in ("in flight", "places", "reserved")
        ):
            if reactor.seconds() > deadline:
                self.fail(f"still held: {now}, before: {self.before}")
            await deferLater(reactor, 0.05)
        self.assertLess(memory() - self.resident, MEMORY, "memory is held")
        told = b"".join([*self.lines, *self._answers])
        self.assertNotIn(CANARY.encode(), told)


def _places(resources: Any) -> int:
    gates = [*resources.queues._gates.values(), *resources.bulkheads._gates.values()]
    return sum(gate.in_flight + gate.pending for gate in gates)


def _reserved(resources: Any) -> int:
    return sum(purse.reserved for purse in resources.tally.purses.purses.values())


def _parts(names: str, backends: Sequence[int | str], each: str) -> dict[str, str]:
    urls = [b if isinstance(b, str) else f"http://127.0.0.1:{b}" for b in backends]
    pairs = zip(names, urls, strict=True)
    return {
        "backends": "".join(_BACKEND.format(name=n, url=url) + each + "\n" for n, url in pairs),
        "more": "".join(_TIER.format(name=name) for name in names),
        "profile": f'max_auto_tier = "{names[-1]}"\n',
    }


def memory() -> int:
    """Give the resident memory of this process, in bytes, of what is really in use."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


_CONFIG = """
    [gateway]
    client_port = {client}
    admin_port = {admin}
    request_timeout_ms = 4000
    {gateway}

    {backends}

    [profiles.default]
    mode = "dispatch"
    classifier = "a"
    {profile}

    {more}
"""
_BACKEND = """
    [backends.{name}]
    provider = "openai"
    base_url = "{url}"
    api_key_env = "CANARY"
    connect_timeout_ms = 1000
    timeout_ms = 2000
    first_byte_timeout_ms = 1500
    idle_timeout_ms = 1500
"""
_TIER = """
    [[tiers]]
    name = "{name}"
    backend = "{name}"
    model = "m"
"""
