"""How a config names a socket that is handed over."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.listen import SocketName, socket_name
from tests.config.folder import FolderTestCase, based


class SocketNameTests(SynchronousTestCase):
    """See ``lmgateway.config.listen``."""

    def test_by_place_or_by_name(self) -> None:
        """As Twisted spells it."""
        self.assertEqual(socket_name("systemd:domain=INET:index=0"), SocketName("INET", index=0))
        self.assertEqual(
            socket_name("systemd:name=client:domain=UNIX"), SocketName("UNIX", name="client")
        )

    def test_anything_else_is_refused(self) -> None:
        """Other endpoints, other domains, both or neither of place and name."""
        for text in (
            "tcp:8080",
            "systemd",
            "systemd:domain=INET",
            "systemd:index=0",
            "systemd:domain=INET:index=0:name=a",
            "systemd:domain=NETLINK:index=0",
            "systemd:domain=INET:index=-1",
            "systemd:domain=INET:name=",
            "systemd:domain=INET:index",
        ):
            with self.assertRaises(ValueError):
                socket_name(text)


class ListenTests(FolderTestCase):
    """The keys ``client_listen`` and ``admin_listen``."""

    def test_hosts_do_not_count(self) -> None:
        """Who can reach a socket that is handed over is known only when it is there."""
        text = 'client_listen = "systemd:domain=INET:index=0"\nclient_host = "0.0.0.0"'
        self.assertEqual(
            self.load(based(text)).gateway.client_listen, "systemd:domain=INET:index=0"
        )

    def test_both_ports_need_a_socket_each(self) -> None:
        """One socket cannot be both."""
        text = "\n".join(f'{k}_listen = "systemd:domain=INET:index=0"' for k in ("client", "admin"))
        self.assertIn("must not be the client port's socket as well", self.problem(based(text)))

    def test_the_spelling_is_checked(self) -> None:
        """With an example of how it should be."""
        problem = self.problem(based('client_listen = "tcp:80"'))
        self.assertIn('must be "systemd:domain=INET:index=0"', problem)
