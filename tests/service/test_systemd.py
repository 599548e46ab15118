"""What a service manager hands over is taken, once, by the process it is meant for."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import ConfigError
from lmgateway.service.systemd import Handed, taken
from tests.processes import listening

PID = 4711


class TakenTests(SynchronousTestCase):
    """See ``lmgateway.service.systemd.taken``."""

    def test_all_of_it_leaves_the_environment(self) -> None:
        """So that no child of ours speaks in our name."""
        environ = {
            "NOTIFY_SOCKET": "@x",
            "WATCHDOG_USEC": "15000000",
            "WATCHDOG_PID": str(PID),
            "LISTEN_FDS": "0",
            "LISTEN_PID": str(PID),
            "LISTEN_FDNAMES": "a",
            "HOME": "/",
        }
        handed = taken(environ, PID)
        self.assertEqual((handed.notify, handed.watchdog_seconds), ("@x", 15.0))
        self.assertEqual(environ, {"HOME": "/"})

    def test_the_watchdog_may_be_for_another_process(self) -> None:
        """It is ours if our number is given, or none."""
        self.assertEqual(taken({"WATCHDOG_USEC": "2000000"}, PID).watchdog_seconds, 2.0)
        other = {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(PID + 1)}
        self.assertEqual(taken(other, PID).watchdog_seconds, 0.0)
        for odd in ("", "-1", "1e3", "9" * 40):
            self.assertEqual(taken({"WATCHDOG_USEC": odd}, PID).watchdog_seconds, 0.0)

    def test_sockets_may_be_for_another_process(self) -> None:
        """They are ours only if our number is given."""
        environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(PID + 1)}
        self.assertEqual(taken(environ, PID).sockets, ())
        self.assertEqual(environ, {})

    def test_what_is_not_told_is_not_there(self) -> None:
        """Nothing, odd addresses, odd numbers: as without a service manager."""
        self.assertEqual(taken({}, PID), Handed())
        self.assertEqual(taken({"NOTIFY_SOCKET": "vsock:2:1"}, PID), Handed())
        self.assertEqual(taken({"LISTEN_FDS": "x", "LISTEN_PID": str(PID)}, PID), Handed())


class FindTests(SynchronousTestCase):
    """See ``lmgateway.service.systemd.Handed.find``."""

    def setUp(self) -> None:
        """Hand over two sockets that listen, and one that does not."""
        self.sockets = [listening(), listening(socket.AF_INET6, ("::1", 0)), socket.socket()]
        for one in self.sockets:
            self.addCleanup(one.close)
        numbers = tuple(one.fileno() for one in self.sockets)
        self.handed = Handed(sockets=numbers, names=("client", "admin", "idle"))

    def find(self, text: str) -> object:
        """Give the address of a socket."""
        with self.handed.find("client_listen", text) as found:
            self.assertFalse(os.get_inheritable(found.fileno()))
            return found.getsockname()

    def problem(self, text: str, handed: Handed | None = None) -> str:
        """Give what is wrong with a name."""
        with self.assertRaises(ConfigError) as caught:
            (handed or self.handed).find("client_listen", text)
        return str(caught.exception)

    def test_by_place_and_by_name(self) -> None:
        """Both ways lead to the same socket."""
        client, admin, _ = (one.getsockname() for one in self.sockets)
        self.assertEqual(self.find("systemd:domain=INET:index=0"), client)
        self.assertEqual(self.find("systemd:domain=INET:name=client"), client)
        self.assertEqual(self.find("systemd:domain=INET6:name=admin"), admin)

    def test_what_cannot_be_used_is_told(self) -> None:
        """No such socket, another sort of socket, one that does not listen, none at all."""
        for text in ("systemd:domain=INET:index=3", "systemd:domain=INET:name=x"):
            self.assertIn("there are 3 (client, admin, idle)", self.problem(text))
        for text in ("systemd:domain=INET:name=admin", "systemd:domain=INET:name=idle"):
            self.assertIn("is no INET socket that listens", self.problem(text))
        self.assertIn("there is none", self.problem("systemd:domain=INET:index=0", Handed()))
