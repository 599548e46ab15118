"""How workers are started, replaced and ended: real processes, on loopback ports."""

from __future__ import annotations

import errno
import http.client
import json
import os
import signal
import socket
from collections import Counter
from typing import Any, cast

from twisted.internet.defer import ensureDeferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.service.crew import LONGEST_WAIT, Crew
from lmgateway.service.hand import Hand
from lmgateway.service.line import Line
from lmgateway.service.places import Desk
from lmgateway.service.resources import Resources
from lmgateway.stores.slate import Shape, Slate
from tests.harness import free_port
from tests.working import Running, is_alive, key_of, rest_of


class LifeTests(SynchronousTestCase):
    """Tests for workers that end, and that are ended."""

    def serve(self, workers: int = 2, pace: int = 20) -> Running:
        """Start a gateway."""
        gateway = Running(workers, pace)
        self.addCleanup(gateway.close)
        gateway.serve()
        return gateway

    def test_a_worker_that_is_killed_is_replaced_and_holds_nothing(self) -> None:
        """Its requests end, others go on; its places are free, and another is started."""
        gateway = self.serve()
        begun = [gateway.begin(key_of("held"), "slow", stream=True) for _ in range(4)]
        self.assertEqual([response.status for response, _ in begun], [200] * 4)
        self.assertEqual(gateway.ask(key_of("held")), 429)
        pids, since = gateway.pids(), self.started(gateway)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        gateway.wait(lambda: len(gateway.pids()) == 2 and not {*gateway.pids()} & {*pids})
        for _, connection in begun:
            connection.close()
        statuses = gateway.many(4, lambda: gateway.begin(key_of("held"), "slow", stream=True))
        self.assertEqual([response.status for response, _ in statuses], [200] * 4)
        for _, connection in statuses:
            connection.close()
        self.assertEqual(gateway.call("GET", "/admin/workers")["deaths"], 2)
        self.assertEqual({*gateway.many(4, lambda: self.started(gateway))}, {since})
        self.assertIn("lmg_worker_deaths_total 2", gateway.call("GET", "/metrics"))

    def started(self, gateway: Running) -> int:
        """Give since when there are models, as a worker tells."""
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        headers = {"Authorization": f"Bearer {key_of('plain')}"}
        connection.request("GET", "/v1/models", headers=headers)
        created: int = json.loads(connection.getresponse().read())["data"][0]["created"]
        connection.close()
        return created

    def test_a_stop_drains_all_workers(self) -> None:
        """Asked to stop, streams at all workers come to their end, and the status is 0."""
        gateway = self.serve()
        pids = gateway.pids()
        begun = [gateway.begin(key_of("plain"), "slow", stream=True) for _ in range(6)]
        assert gateway.process is not None
        gateway.process.terminate()
        for response, connection in begun:
            self.assertTrue(rest_of(response).endswith(b"data: [DONE]\n\n"))
            connection.close()
        self.assertEqual(gateway.process.wait(60), 0)
        self.assertEqual([pid for pid in pids if is_alive(pid)], [])
        self.assertNotIn('"level":"error"', gateway.log())

    def test_workers_end_when_the_supervisor_is_killed(self) -> None:
        """They serve what was begun, and leave nobody behind."""
        gateway = self.serve()
        pids = gateway.pids()
        response, connection = gateway.begin(key_of("plain"), "slow", stream=True)
        assert gateway.process is not None
        gateway.process.kill()
        gateway.process.wait()
        self.assertTrue(rest_of(response).endswith(b"data: [DONE]\n\n"))
        connection.close()
        gateway.wait(lambda: not any(map(is_alive, pids)), ended=True)

    def test_a_port_that_is_taken_ends_the_start(self) -> None:
        """There is one message and a status that is not 0, and no process is left."""
        gateway = Running()
        self.addCleanup(gateway.close)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", gateway.port))
            taken.listen()
            gateway.start()
            assert gateway.process is not None
            self.assertNotEqual(gateway.process.wait(60), 0)
        self.assertIn(f"cannot listen on 127.0.0.1:{gateway.port}", gateway.log())
        self.assertNotIn("Traceback", gateway.log())

    def test_another_port_and_more_workers_take_others(self) -> None:
        """A reload that moves the port replaces the workers; what was begun is served."""
        gateway = self.serve()
        before, old = gateway.pids(), gateway.port
        response, connection = gateway.begin(key_of("plain"), "slow", stream=True)
        gateway.port = free_port()
        gateway.write()
        gateway.call("POST", "/admin/reload", {})
        self.assertEqual(gateway.ask(key_of("plain")), 200)
        self.assertTrue(rest_of(response).endswith(b"data: [DONE]\n\n"))
        connection.close()
        gateway.wait(lambda: not any(map(is_alive, before)))
        self.assertRaises(OSError, gateway.ask, key_of("plain"), "t", old)
        gateway.write(workers=3)
        gateway.call("POST", "/admin/reload", {})
        self.assertEqual(len(gateway.pids()), 3)
        self.assertEqual(Counter(gateway.many(9, lambda: gateway.ask(key_of("plain")))), {200: 9})

    def test_one_worker_that_is_asked_to_end_is_replaced(self) -> None:
        """Somebody ends one process: it serves what was begun, and another takes its place."""
        gateway = self.serve()
        pids = gateway.pids()
        begun = [gateway.begin(key_of("plain"), "slow", stream=True) for _ in range(4)]
        os.kill(pids[0], signal.SIGTERM)
        gateway.wait(lambda: len(gateway.pids()) == 2 and pids[0] not in gateway.pids())
        for response, connection in begun:
            self.assertTrue(rest_of(response).endswith(b"data: [DONE]\n\n"))
            connection.close()
        gateway.wait(lambda: not is_alive(pids[0]))
        self.assertEqual(gateway.call("GET", "/admin/workers")["deaths"], 0)

    def test_a_worker_that_starts_learns_what_changes_meanwhile(self) -> None:
        """A key that is made or deleted, and a reload, hold with it as with all others."""
        gateway = self.serve()

        def restart() -> None:
            before = gateway.pids()
            os.kill(before[0], signal.SIGKILL)
            gateway.wait(lambda: before[0] not in gateway.pids())

        def made() -> tuple[str, str]:
            key = gateway.call("POST", "/admin/keys", {"name": "made", "profile": "default"})
            return key["id"], key["key"]

        gateway.many(4, lambda: gateway.ask(key_of("plain")))
        identity, secret = made()
        restart()
        gateway.call("POST", f"/admin/keys/{identity}/block", {})
        gateway.wait(lambda: len(gateway.pids()) == 2)
        statuses = {*gateway.many(16, lambda: gateway.ask(secret))}
        self.assertLessEqual(statuses, {401, 429})
        restart()
        _, secret = made()
        gateway.wait(lambda: len(gateway.pids()) == 2)
        self.assertEqual(Counter(gateway.many(16, lambda: gateway.ask(secret))), {200: 16})
        restart()
        gateway.write(more='\n[[tiers]]\nname = "n"\nbackend = "mock"\nmodel = "n"\n')
        gateway.call("POST", "/admin/reload", {})
        gateway.wait(lambda: len(gateway.pids()) == 2)
        generations = {generation for _, generation in gateway.states()}
        self.assertEqual(len(generations), 1)
        self.assertGreater(min(generations), 1)

    def test_a_worker_that_drains_takes_no_more_connections(self) -> None:
        """While its last answers go on, others get the connections; or nobody, if all drain."""
        gateway = self.serve(workers=3, pace=5)
        begun = [gateway.begin(key_of("plain"), "slow", stream=True) for _ in range(8)]
        gateway.write(workers=2, pace=5)
        gateway.call("POST", "/admin/reload", {})
        self.assertEqual(Counter(gateway.many(20, lambda: gateway.ask(key_of("plain")))), {200: 20})
        assert gateway.process is not None
        gateway.process.terminate()
        gateway.wait(lambda: "draining" in gateway.log())

        def is_refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", gateway.port), timeout=60).close()
            except ConnectionRefusedError:
                return True
            return False

        gateway.wait(is_refused)
        self.assertIsNone(gateway.process.poll())
        gateway.process.terminate()
        for _, connection in begun:
            connection.close()

    def test_a_stop_of_all_processes_at_once_keeps_the_delay(self) -> None:
        """A service manager asks each process to end: they serve on as long as configured."""
        gateway = Running()
        self.addCleanup(gateway.close)
        text = gateway.config.read_text()
        gateway.config.write_text(text.replace("[gateway]", "[gateway]\ndrain_delay_ms = 60000", 1))
        gateway.serve()
        assert gateway.process is not None
        pids = gateway.pids()
        for pid in (gateway.process.pid, *pids):
            os.kill(pid, signal.SIGTERM)
        gateway.wait(lambda: "draining" in gateway.log())
        self.assertEqual(Counter(gateway.many(8, lambda: gateway.ask(key_of("plain")))), {200: 8})
        gateway.process.terminate()
        self.assertEqual(gateway.process.wait(60), 0)
        self.assertEqual([pid for pid in pids if is_alive(pid)], [])

    def test_workers_that_cannot_start_end_the_start(self) -> None:
        """There is one message and a status that is not 0, and none is started again."""
        gateway = Running()
        self.addCleanup(gateway.close)
        (gateway.folder / "sitecustomize.py").write_text(
            "import os, sys\nif 'lmgateway.service.working' in str(sys.orig_argv): os._exit(3)\n"
        )
        gateway.start(path=str(gateway.folder))
        assert gateway.process is not None
        self.assertEqual(gateway.process.wait(60), 1)
        self.assertIn("ended before it served (status 3)", gateway.log())
        self.assertNotIn("is started", gateway.log())


class SilenceTests(SynchronousTestCase):
    """Tests for workers that say nothing."""

    def setUp(self) -> None:
        """Have one worker that serves, and never says a word."""
        self.clock = MemoryReactorClock()
        self.killed: list[str] = []
        resources = Resources.of(cast("Any", self.clock), {})
        self.addCleanup(resources.wheel.stop)
        slate = Slate((Shape(4, 8),))
        self.addCleanup(slate.close)
        none: Any = self.fail  # since nobody is started
        crew = Crew(resources, slate, none, none, none)
        self.successResultOf(ensureDeferred(crew.start(0)))
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        line = Line(ours, self.clock, {}, {}, lambda: None)
        self.addCleanup(line.rest)
        hand = Hand(1, 1, 0.0, Desk(resources), line=line, transport=self, is_serving=True)
        crew._hands.append(hand)

    def signalProcess(self, name: str) -> None:  # noqa: N802 - Twisted's
        """Note what the process is told, as its transport."""
        self.killed.append(name)

    def test_one_that_hangs_is_killed(self) -> None:
        """It is waited for, and not for ever."""
        self.clock.pump([1.0] * 30)
        self.assertEqual(self.killed, [])
        self.clock.pump([1.0] * 10)
        self.assertIn("KILL", self.killed)

    def test_nobody_is_judged_by_one_who_slept(self) -> None:
        """Who was stopped for long itself has not heard what the others said meanwhile."""
        self.clock.advance(100)
        self.assertEqual(self.killed, [])


class AgainTests(SynchronousTestCase):
    """Tests for workers that are started anew."""

    def setUp(self) -> None:
        """Have a crew of nobody, on a machine that has no room for a process."""
        self.clock = MemoryReactorClock()
        self.tries = 0
        cast("Any", self.clock).spawnProcess = self.spawn
        resources = Resources.of(cast("Any", self.clock), {})
        self.addCleanup(resources.wheel.stop)
        slate = Slate((Shape(4, 8),))
        self.addCleanup(slate.close)
        listening = socket.socket()
        self.addCleanup(listening.close)
        nothing: Any = lambda hand: ({}, {})  # noqa: E731 - it hears of nobody
        none: Any = self.fail
        crew = self.crew = Crew(resources, slate, lambda number: listening, none, nothing)
        self.successResultOf(ensureDeferred(crew.start(0)))
        crew._wanted = 1
        self.resources = resources

    def spawn(self, *told: object, **more: object) -> None:
        """Be full."""
        self.tries += 1
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    def test_no_room_for_a_process(self) -> None:
        """It is tried again until there is room."""
        self.crew._later(1, 0.0, self.crew._again, 1)
        self.clock.advance(0)
        self.clock.advance(LONGEST_WAIT)
        self.assertEqual((self.tries, self.crew._hands), (2, []))

    def test_another_is_starting(self) -> None:
        """Nobody is started in the place of one whose successor is there."""
        self.crew._hands.append(Hand(1, 1, 0.0, Desk(self.resources)))
        self.crew._later(1, 0.0, self.crew._again, 1)
        self.clock.advance(0)
        self.assertEqual(self.tries, 0)
