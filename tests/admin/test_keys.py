"""Keys made at run time, over HTTP: rows M and H of auth, MX2 and MX3."""

from __future__ import annotations

import json
from typing import Any

from tests.admin.test_routes import RouteCase
from tests.harness import Got

CLOSED = '[state]\nkeys = "memory"\n'
BOB = {"name": "bob", "profile": "default"}


class KeyCases(RouteCase):
    """Tests for what an operator does with keys."""

    async def admin(self, method: str, path: str, body: Any = None) -> Got:
        """Ask as an admin."""
        got: Got = await self.ask_as("admin", method, path, body)
        return got

    async def made(self, **members: Any) -> dict[str, Any]:
        """Make a key."""
        got = await self.admin("POST", "/admin/keys", BOB | members)
        self.assertEqual(got.code, 201, got.body)
        told: dict[str, Any] = got.json
        return told

    async def code(self, key: str, **more: Any) -> int:
        """Ask for an answer with a key; give the status."""
        return (await self.chat(Authorization=f"Bearer {key}", **more)).code

    async def test_MX2_made(self) -> None:
        """Good for the next request; the secret is told this once and never again."""
        self.begin_with_tokens(more=CLOSED)
        self.assertEqual((await self.chat()).code, 401)
        made = await self.made(allow_models=["local:*"], tags=["blue"])
        self.assertTrue(made["key"].startswith(made["prefix"]))
        self.assertEqual(await self.code(made["key"]), 200)
        shown = (await self.admin("GET", f"/admin/keys/{made['id']}")).json
        listed = (await self.admin("GET", "/admin/keys")).json
        del shown["usage"]
        self.assertEqual(listed, {"keys": [shown], "next": None})
        self.assertEqual(shown["may"], BOB | {"allow_models": ["local:*"], "tags": ["blue"]})
        self.assertIsNotNone(shown["last_used_at"])
        secret = made["key"].rpartition("_")[2]
        self.assertNotIn(secret, json.dumps([listed, self.told]))
        self.assertNotIn("digest", json.dumps(listed))

    async def test_MX3_rotated(self) -> None:
        """Both keys are good in the time of grace; without it only the new one."""
        self.begin_with_tokens(more=CLOSED)
        made = await self.made()
        path = f"/admin/keys/{made['id']}/rotate"
        newer = (await self.admin("POST", path)).json
        self.assertIsNotNone(newer["old_until"])
        newest = (await self.admin("POST", path, {"grace_seconds": 0})).json
        codes = [await self.code(each["key"]) for each in (made, newer, newest)]
        self.assertEqual(codes, [401, 401, 200])

    async def test_rotated_with_grace(self) -> None:
        """Nobody is locked out by a rotation."""
        self.begin_with_tokens(more=CLOSED)
        made = await self.made()
        newer = (await self.admin("POST", f"/admin/keys/{made['id']}/rotate")).json
        codes = [await self.code(each["key"]) for each in (made, newer)]
        self.assertEqual(codes, [200, 200])
        path = f"/admin/keys/{made['id']}/rotate"
        for grace in (-1, 10**9, "x"):
            self.assertEqual((await self.admin("POST", path, {"grace_seconds": grace})).code, 400)

    async def test_blocked(self) -> None:
        """From the next request on, until it is unblocked; an operator may do the first."""
        self.begin_with_tokens(more=CLOSED)
        made = await self.made()
        path = f"/admin/keys/{made['id']}"
        got = await self.ask_as("operator", "POST", f"{path}/block")
        self.assertEqual((got.code, got.json["blocked"]), (200, True))
        self.assertEqual(await self.code(made["key"]), 401)
        self.assertEqual((await self.ask_as("operator", "POST", f"{path}/unblock")).code, 403)
        self.assertEqual((await self.admin("POST", f"{path}/unblock")).code, 200)
        self.assertEqual(await self.code(made["key"]), 200)

    async def test_changed(self) -> None:
        """When it expires, or what it is for; ``null`` takes that away."""
        self.begin_with_tokens(more=CLOSED)
        made = await self.made()
        path = f"/admin/keys/{made['id']}"
        got = await self.admin("PATCH", path, {"expires": "2020-01-31T00:00:00Z"})
        self.assertEqual((got.code, got.json["may"]["expires"]), (200, "2020-01-31T00:00:00Z"))
        self.assertEqual(await self.code(made["key"]), 401)
        await self.admin("PATCH", path, {"expires": None, "allow_endpoints": ["/api/*"]})
        self.assertEqual(await self.code(made["key"]), 403)
        got = await self.admin("PATCH", path, {"allow_endpoints": None})
        self.assertEqual(got.json["may"], BOB)
        self.assertEqual(await self.code(made["key"]), 200)

    async def test_deleted(self) -> None:
        """It is as unknown as one that never was."""
        self.begin_with_tokens(more=CLOSED)
        made = await self.made()
        path = f"/admin/keys/{made['id']}"
        self.assertEqual((await self.admin("DELETE", path)).code, 200)
        self.assertEqual(await self.code(made["key"]), 401)
        self.assertEqual((await self.admin("GET", "/admin/keys")).json["keys"], [])
        for method, more in (("GET", ""), ("DELETE", ""), ("PATCH", ""), ("POST", "/rotate")):
            self.assertEqual((await self.admin(method, path + more)).code, 404)

    async def test_what_cannot_be(self) -> None:
        """All faults are told at once, and nothing is made or changed."""
        self.begin_with_tokens(more=CLOSED)
        bad = BOB | {"profile": "none", "group": "none", "budgets": ["none"]}
        got = await self.admin("POST", "/admin/keys", bad)
        self.assertEqual((got.code, len(got.json["problems"])), (422, 3))
        for body in ({"name": "x"}, BOB | {"key_env": "HOME"}, BOB | {"tags": "x"}):
            self.assertEqual((await self.admin("POST", "/admin/keys", body)).code, 400)
        made = await self.made()
        path = f"/admin/keys/{made['id']}"
        self.assertEqual((await self.admin("PATCH", path, {"profile": "none"})).code, 422)
        self.assertEqual((await self.admin("GET", path)).json["may"], BOB)

    async def test_open_gateways_need_no_keys(self) -> None:
        """A key would only look like a guard there."""
        self.begin_with_tokens()
        got = await self.admin("POST", "/admin/keys", BOB)
        self.assertEqual((got.code, got.json["kind"]), (409, "conflict"))

    async def test_pages(self) -> None:
        """Many keys are listed in parts."""
        self.begin_with_tokens(more=CLOSED)
        made = [(await self.made(name=f"n{number}"))["id"] for number in range(5)]
        seen, after = [], ""
        while True:
            page = (await self.admin("GET", f"/admin/keys?limit=2{after}")).json
            seen += [each["id"] for each in page["keys"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        self.assertEqual(seen, made)
        self.assertEqual((await self.admin("GET", "/admin/keys?limit=0")).code, 400)

    async def test_roles(self) -> None:
        """A viewer sees no keys, an operator makes none."""
        self.begin_with_tokens(more=CLOSED)
        self.assertEqual((await self.ask_as("viewer", "GET", "/admin/keys")).code, 403)
        self.assertEqual((await self.ask_as("operator", "GET", "/admin/keys")).code, 200)
        self.assertEqual((await self.ask_as("operator", "POST", "/admin/keys", BOB)).code, 403)

    async def test_told(self) -> None:
        """Each change is told twice: as what happened to a key, and as who did it."""
        self.begin_with_tokens(more=CLOSED)
        made = await self.made()
        await self.admin("POST", f"/admin/keys/{made['id']}/block")
        told = [facts for kind, facts in self.told if kind == "key"]
        self.assertEqual([each["action"] for each in told], ["create", "block"])
        audits = [facts for kind, facts in self.told if kind == "audit"]
        self.assertEqual(
            [(each["actor"], each["id"]) for each in audits], [("ada", made["id"])] * 2
        )
