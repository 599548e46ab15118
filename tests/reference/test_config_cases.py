"""R-C: configuration, as far as it shows over HTTP.  The rest is in tests/config."""

from __future__ import annotations

from twisted.internet.error import ConnectionRefusedError

from lmgateway.errors import ConfigError
from tests.fakes import completion
from tests.harness import GatewayCase, free_port


class ConfigCases(GatewayCase):
    """Tests for what a config file makes of the running gateway."""

    async def test_R_C01_reload_of_a_bad_file(self) -> None:
        """A file whose tier names no backend is refused at reload; the old routing goes on."""
        self.start()
        self.write(more='[[tiers]]\nname = "t"\nbackend = "nobody"\nmodel = "m"')
        got = await self.ask("POST", "/admin/reload", admin=True)
        self.assertEqual(got.code, 422)
        self.assertIn("nobody", got.json["error"])
        self.assertEqual((await self.chat()).code, 200)

    async def test_R_C11_overlay_changes_one_url(self) -> None:
        """An overlay that changes only a base URL moves the requests, and nothing else."""
        other, url = self.another()
        path = self.write()
        overlays = path.parent / "conf.d"
        overlays.mkdir()
        (overlays / "a.toml").write_text(f'[backends.mock]\nbase_url = "{url}"\n')
        self.start()
        got = await self.chat()
        self.assertEqual((got.code, got.headers["x-lmg-tier"]), (200, "local:fast"))
        self.assertEqual((len(other.asked), len(self.backend.asked)), (1, 0))

    async def test_R_C12_overlay_replaces_a_tier(self) -> None:
        """An overlay tier of a known name keeps its place and changes its model."""
        path = self.write()
        overlays = path.parent / "conf.d"
        overlays.mkdir()
        (overlays / "a.toml").write_text(
            '[[tiers]]\nname = "local:fast"\nbackend = "mock"\nmodel = "other-model"\n'
        )
        self.start()
        models = [m["id"] for m in (await self.ask("GET", "/v1/models")).json["data"]]
        self.assertEqual(models[:2], ["local:fast", "cloud:economy"])
        await self.chat()
        self.assertEqual(self.backend.models, ["other-model"])

    async def test_R_C13_overlay_appends_a_tier(self) -> None:
        """An overlay tier of a new name comes last."""
        path = self.write()
        overlays = path.parent / "conf.d"
        overlays.mkdir()
        (overlays / "a.toml").write_text(
            '[[tiers]]\nname = "cloud:max"\nbackend = "mock"\nmodel = "max-model"\n'
        )
        self.start()
        listed = (await self.ask("GET", "/v1/models")).json["data"]
        tiers = [m["id"] for m in listed if m["owned_by"] == "mock"]
        self.assertEqual(tiers, ["local:fast", "cloud:economy", "cloud:max"])

    async def test_R_C18_profile_file_beats_inline(self) -> None:
        """The system prompt of a profile file is the one that the backend receives."""
        path = self.write()
        profiles = path.parent / "profiles"
        profiles.mkdir()
        (profiles / "default.toml").write_text(
            'classifier = "local:fast"\nsystem_prompt = "From the folder."\n'
        )
        self.start()
        await self.chat()
        first = self.backend.asked[0].body["messages"][0]
        self.assertEqual(first, {"role": "system", "content": "From the folder."})

    async def test_R_C20_capacity_defaults_to_500(self) -> None:
        """A gateway table of only ports takes the defaults."""
        self.start()
        got = await self.ask("GET", "/admin/config", admin=True)
        self.assertEqual(got.json["gateway"]["traffic_log_capacity"], 500)

    async def test_R_C26_changed_file_is_noticed(self) -> None:
        """A new alias in the main file works a moment later, without a restart."""
        service = self.start()
        self.backend.script = lambda request, asked: completion()
        self.write(more="[aliases2]")
        with self.assertRaises(ConfigError):
            service.reload()
        text = (self.folder / "config.toml").read_text().replace("[aliases2]", "")
        text = text.replace('"hint:fast" =', '"hint:new" = "cloud:economy"\n    "hint:fast" =')
        (self.folder / "config.toml").write_text(text)
        service.reload()
        await self.chat("hint:new")
        self.assertEqual(self.backend.models, ["economy-model"])

    async def test_reload_moves_a_port(self) -> None:
        """A new client port is listened on at once, and the old one no longer."""
        service = self.start()
        old, self.client_port = self.client_port, free_port()
        self.write()
        service.reload()
        self.assertEqual((await self.chat()).code, 200)
        self.client_port, new = old, self.client_port
        with self.assertRaises(ConnectionRefusedError):
            await self.chat()
        self.client_port = new
