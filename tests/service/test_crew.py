"""How workers are started, replaced and ended: real processes, on loopback ports."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

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
        pids = gateway.pids()
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
        self.assertIn("lmg_worker_deaths_total 2", gateway.call("GET", "/metrics"))

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
