"""Keys made at run time, in a whole gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmgateway.errors import ConfigError
from lmgateway.governance.issued import IssuedKeys, Made
from lmgateway.service.life import GatewayService
from tests.harness import GatewayCase, free_port

CLIENT = '[[clients]]\nname = "ann"\nkey_env = "ANN"\nprofile = "default"\n'
MEMORY = '[state]\nkeys = "memory"\n'
FILE = '[state]\nkeys = "sqlite:keys.sqlite"\n'


def shown(secret: str) -> dict[str, Any]:
    """Show a key."""
    return {"Authorization": f"Bearer {secret}"}


class IssuedCases(GatewayCase):
    """Tests for who is let in."""

    def setUp(self) -> None:
        """Give the configured client its key."""
        super().setUp()
        self.environ["ANN"] = "key-of-ann"

    @property
    def keys(self) -> IssuedKeys:
        """The keys made at run time."""
        assert self.service is not None
        return self.service.resources.issued

    async def made(self, **members: Any) -> Made:
        """Make a key."""
        return await self.keys.create({"name": "bob", "profile": "default", **members})

    async def code(self, secret: str) -> int:
        """Ask with a key; give the status."""
        return (await self.chat(**shown(secret))).code

    async def restart(self, service: GatewayService) -> None:
        """Stop it, and start another one with the same file, on other ports."""
        await service.drain()
        service.resources.keep_only(set())
        self.addCleanup(service.resources.wheel.stop)
        self.client_port, self.admin_port = free_port(), free_port()
        self.start(more=FILE)

    async def test_beside_configured_clients(self) -> None:
        """A key is good at once, and a wrong one is 401 still."""
        self.start(more=CLIENT)
        made = await self.made()
        codes = [await self.code(key) for key in (made.secret, "key-of-ann", "lmg_a_b")]
        self.assertEqual(codes, [200, 200, 401])
        entries = await self.entries()
        self.assertEqual([entry["client"] for entry in entries], [None, "ann", "bob"])

    async def test_a_place_for_keys_closes_the_gateway(self) -> None:
        """Without configured clients too: nobody is let in by mistake."""
        self.start(more=MEMORY)
        self.assertEqual((await self.chat()).code, 401)
        self.assertEqual(await self.code((await self.made()).secret), 200)

    async def test_what_a_key_may_do(self) -> None:
        """Its models, paths and tags are as a configured client's."""
        self.start(more=MEMORY)
        made = await self.made(allow_models=["local:*"], allow_endpoints=["/v1/*"], tags=["blue"])
        key = shown(made.secret)
        self.assertEqual((await self.chat("cloud:economy", **key)).code, 404)
        self.assertEqual((await self.ask("GET", "/api/tags", **key)).code, 403)
        self.assertEqual((await self.chat("local:fast", **key)).code, 200)
        (entry, *_) = await self.entries()
        self.assertEqual((entry["client"], entry["tags"]), ("bob", ["blue"]))
        listed = (await self.ask("GET", "/v1/models", **key)).json["data"]
        self.assertNotIn("cloud:economy", [each["id"] for each in listed])

    async def test_members_are_checked_as_in_the_file(self) -> None:
        """All faults are told, each by its name; and nothing is read from where one says."""
        self.start(more=CLIENT)
        bad = {"profile": "none", "rate_limit_rpm": "5", "nmae": "x", "burst": 0}
        with self.assertRaises(ConfigError) as caught:
            await self.made(**bad)
        text = "\n".join(sorted(caught.exception.problems))
        for found in ("burst: must be", "nmae: unknown key", "rate_limit_rpm: must be a whole"):
            self.assertIn(found, text)
        for members in (
            {"key_env": "HOME"},
            {"key_sha256": "00" * 32},
            {"name": "ann"},
            {"name": ""},
            {"group": "none"},
            {"budgets": ["none"]},
        ):
            with self.assertRaises(ConfigError):
                await self.made(**members)
        self.assertEqual(self.keys.every(), [])

    async def test_reload(self) -> None:
        """Keys outlive it, and hold by the new config."""
        service = self.start(more=MEMORY)
        made = await self.made(profile="default")
        other = await self.made(name="eve")
        self.write(more=MEMORY + '[[clients]]\nname = "eve"\nkey_env = "ANN"\nprofile = "default"')
        service.reload()
        self.assertEqual(await self.code(made.secret), 200)
        self.assertEqual(await self.code(other.secret), 401)
        self.assertIn("client's of the config file", str(self.keys.every()[1].problem))

    async def test_restart(self) -> None:
        """Keys in a file outlive the process."""
        service = self.start(more=FILE)
        made = await self.made()
        await self.restart(service)
        self.assertTrue((self.folder / "keys.sqlite").exists())
        self.assertEqual(await self.code(made.secret), 200)

    async def test_a_file_that_is_none(self) -> None:
        """It stops the start by its name; on reload the old place goes on."""
        service = self.start(more=MEMORY)
        made = await self.made()
        (self.folder / "keys.sqlite").write_text("no database " * 100)
        self.write(more=FILE)
        with self.assertRaisesRegex(ConfigError, r"keys\.sqlite"):
            service.reload()
        self.assertEqual(await self.code(made.secret), 200)

    async def test_moved_by_a_reload(self) -> None:
        """Keys in memory are written to the file that a new config names."""
        service = self.start(more=MEMORY)
        made = await self.made()
        self.write(more=FILE)
        service.reload()
        self.assertEqual(await self.code(made.secret), 200)
        await self.restart(service)
        self.assertEqual(await self.code(made.secret), 200)

    async def test_no_file_by_default(self) -> None:
        """Nothing is written that was not asked for."""
        self.start(more=CLIENT)
        await self.made()
        self.assertEqual([path.name for path in Path(self.folder).iterdir()], ["config.toml"])
