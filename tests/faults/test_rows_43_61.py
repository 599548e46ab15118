"""Rows 43 to 61 of the fault matrix that a gateway in this process can show."""

from __future__ import annotations

import json
import socket

from twisted.internet.task import deferLater

from lmgateway.errors import ConfigError
from tests.fakes import STREAM
from tests.faults.caller import Caller, request
from tests.faults.law import FaultCase, reactor
from tests.faults.proxy import FaultProxy, Harm
from tests.faults.scripted import EVENTS, Connection, chunked
from tests.faults.test_rows_01_15 import well

_CLIENT = """
    [[clients]]
    name = "x"
    key_env = "KEY"
    profile = "default"
"""


class GuessRows(FaultCase):
    """Those who guess."""

    async def test_row_43_guesses_at_the_admin_port(self) -> None:
        """After five wrong tokens in a minute an address is told to wait, whatever it shows."""
        self.environ["TOKEN"] = "a-token-of-good-length"
        await self.serve(self.faulty(well), gateway='admin_token_env = "TOKEN"', judge=False)
        codes = []
        for number in range(9):
            got = await self.ask(
                "GET", "/admin/health", admin=True, Authorization=f"Bearer {number}"
            )
            codes.append(got.code)
        self.assertEqual(codes, [401] * 5 + [429] * 4)

    async def test_row_44_guesses_at_the_client_port(self) -> None:
        """Wrong keys are refused on the headers, soon with 429, and no backend hears of them."""
        self.environ["KEY"] = "sk-x"
        await self.serve(self.faulty(well), more=_CLIENT)
        codes = []
        for number in range(20):
            got = await self.put(Authorization=f"Bearer sk-{number}")
            codes.append(got.code)
        self.assertEqual(codes[:5], [401] * 5)
        self.assertEqual(codes[-1], 429)
        self.assertEqual(self.scripted[0].connections, [])


class ConfigRows(FaultCase):
    """Configs that are wrong."""

    async def test_row_45_bad_reloads(self) -> None:
        """Whatever is wrong with a new file, the old one serves on, and it is told why."""
        await self.serve(self.faulty(well))
        path = self.folder / "config.toml"
        good = path.read_text()
        for bad in (
            good + "\n[broken",
            good + "\n[gateway2]\nx = 1\n",
            good.replace("[backends.a]", "[backends.a]\nbase_urll = 1"),
            good.replace("http://127", "ftp://127"),
            good.replace(f"client_port = {self.client_port}", f"client_port = {self.taken()}"),
        ):
            path.write_text(bad)
            assert self.service is not None
            with self.assertRaises(ConfigError):
                self.service.reload()
            got = await self.ask("POST", "/admin/reload", {}, admin=True)
            self.assertEqual(got.code, 422)
            self.assertTrue(got.json["problems"])
            self.assertEqual((await self.put()).code, 200)

    def taken(self) -> int:
        """Give a port that somebody listens on."""
        holder = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(holder.close)
        self.held_besides += 1
        return int(holder.getsockname()[1])

    async def test_row_46_secret_that_went(self) -> None:
        """A secret that cannot be read at a reload keeps the old one serving."""
        await self.serve(self.faulty(well))
        del self.environ["CANARY"]
        assert self.service is not None
        self.service.reload()
        got = await self.put()
        self.assertIn(got.code, (200, 502))

    async def test_row_56_half_a_file(self) -> None:
        """A file that is cut at any place is refused, or is a whole config; it never does harm."""
        await self.serve(self.faulty(well))
        path = self.folder / "config.toml"
        good = path.read_bytes()
        for end in range(0, len(good), 61):
            path.write_bytes(good[:end])
            assert self.service is not None
            try:
                self.service.reload()
            except ConfigError:
                continue
        path.write_bytes(good)
        assert self.service is not None
        self.service.reload()
        self.assertEqual((await self.put()).code, 200)


class CrowdRows(FaultCase):
    """Many at once."""

    async def test_row_59_idle_clients(self) -> None:
        """Idle connections cost little, and one above the bound is told 503."""
        await self.serve(self.faulty(well), gateway="max_connections = 200")
        callers = [await Caller.dial(self.client_port) for _ in range(200)]
        late = await Caller.dial(self.client_port)
        late.send(request())
        self.expected += 1
        self.assertIn(b" 503 ", await late.end())
        for caller in callers:
            await caller.leave()
        await deferLater(reactor, 0.1)
        self.assertEqual((await self.put()).code, 200)

    async def test_row_60_segments_of_one_byte(self) -> None:
        """A backend that writes byte by byte is relayed like any other."""

        async def script(connection: Connection) -> None:
            await connection.request()
            connection.send(EVENTS + chunked(*STREAM, end=True))
            await connection.hold()

        proxy = FaultProxy(self.faulty(script), Harm(size=1))
        port = proxy.listen()
        self.held_besides += 1
        try:
            await self.serve(port)
            text = await self.rest_of(await self.begin_stream())
        finally:
            assert self.service is not None
            self.service.resources.keep_only(set())
            await proxy.stop()
            self.held_besides -= 1
        said = [json.loads(line[6:]) for line in text.splitlines() if line[:7] == b"data: {"]
        deltas = [each["choices"][0]["delta"].get("content", "") for each in said]
        self.assertEqual("".join(deltas), "Hello, world")
        self.assertIn(b"[DONE]", text)
