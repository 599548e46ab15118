"""Tests for how the admin port's routes are declared, guarded, documented and audited."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, get_args

from attrs import frozen
from jsonschema import Draft202012Validator  # type: ignore[import-untyped,unused-ignore]
from msgspec import Meta, Struct, structs
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.admin.answers import Shape
from lmgateway.admin.declared import Call, Declared, Topic
from lmgateway.admin.door import AdminDoor
from lmgateway.admin.operator import ROLES
from lmgateway.admin.table import RouteTable
from lmgateway.service.admin_port import Reception
from tests.admin.judge import Judge
from tests.fakes import completion
from tests.harness import GatewayCase

TOKENS = """
    [[admin_tokens]]
    name = "vera"
    token_env = "VIEWER"

    [[admin_tokens]]
    name = "otto"
    token_env = "OPERATOR"
    role = "operator"

    [[admin_tokens]]
    name = "ada"
    token_env = "ADMIN"
    role = "admin"
"""

BODIES: dict[str, Any] = {
    "/admin/backends/<name>/breaker": {"state": "auto"},
    "/admin/log-level": {"level": "info"},
}
"""What is sent to routes that need a body; without an entry here, none is."""

PARTS: dict[str, str] = {"name": "mock", "tier": "local:fast"}
"""What is put for the variable parts of paths."""

STREAMS = "text/event-stream"


class RouteCase(GatewayCase):
    """A gateway with one token for each role."""

    def begin_with_tokens(self, **parts: str) -> None:
        """Serve with the tokens."""
        self.environ |= {"VIEWER": "the-viewer", "OPERATOR": "the-operator", "ADMIN": "the-admin"}
        self.start(**{**parts, "more": TOKENS + parts.get("more", "")})
        self.told: list[tuple[str, dict[str, Any]]] = []
        assert self.service is not None
        stop = self.service.resources.events.listen(
            lambda event: self.told.append((event.kind, event.facts))
        )
        self.addCleanup(stop)

    def door(self) -> AdminDoor:
        """Give the door of the admin port."""
        assert self.service is not None
        assert self.service.admin.factory is not None
        reception = self.service.admin.factory.door
        assert isinstance(reception, Reception)
        return reception.office.door

    def declared(self) -> list[Declared]:
        """Give every route."""
        return self.door().table.declared

    async def ask_as(self, role: str, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Ask with the token of a role."""
        more["Authorization"] = f"Bearer the-{role}"
        return await self.ask(method, path, body, admin=True, **more)


def sample(declared: Declared) -> str:
    """Give a path that the route answers."""
    path = declared.path
    for name, value in PARTS.items():
        path = path.replace(f"<{name}>", value)
    return path


def patterns(*types: Any) -> list[Meta]:
    """Give what says which texts are taken, for all members of some types."""
    found = []
    for each in types:
        if isinstance(each, Meta):
            found += [each] if each.pattern else []
        elif isinstance(each, type) and issubclass(each, Struct):
            found += patterns(*(member.type for member in structs.fields(each)))
        else:
            found += patterns(*get_args(each))
    return found


class GuardTests(RouteCase):
    """Tests for who may call what."""

    async def test_no_route_is_served_that_is_not_declared(self) -> None:
        """Walking all that is served finds a declaration with a role for each."""
        self.begin_with_tokens()
        assert self.service is not None
        assert self.service.admin.factory is not None
        self.assertIsInstance(self.service.admin.factory.resource, Reception)
        declared = {(one.method, one.path): one for one in self.declared()}
        served = set()
        for app in self.door().table.apps:
            for rule in app.url_map.iter_rules():
                served |= {(method, rule.rule) for method in rule.methods or ()} - {
                    ("HEAD", rule.rule)
                }
        self.assertEqual(served, set(declared))
        self.assertTrue(all(one.role in ROLES and one.summary for one in declared.values()))
        public = {path for (_, path), one in declared.items() if one.role == "public"}
        self.assertEqual(public, {"/healthz", "/login"})

    async def test_every_route_asks_for_its_role(self) -> None:
        """Nothing is answered without a token; with too small a role the needed one is named."""
        self.begin_with_tokens()
        for one in self.declared():
            if one.role == "public":
                continue
            path, body = sample(one), BODIES.get(one.path) if one.body else None
            got = await self.ask(one.method, path, body, admin=True)
            self.assertIn(got.code, (401, 303), one.path)
            for role in ROLES[1 : ROLES.index(one.role)]:
                got = await self.ask_as(role, one.method, path, body)
                self.assertEqual(got.code, 403, one.path)
                self.assertIn(repr(one.role), got.json["error"])

    async def test_what_is_not_there_is_not_told_to_strangers(self) -> None:
        """An unknown path needs a token too."""
        self.begin_with_tokens()
        self.assertEqual((await self.ask("GET", "/nothing", admin=True)).code, 401)
        self.assertEqual((await self.ask_as("viewer", "GET", "/nothing")).code, 404)

    async def test_M4_2_changes_are_audited(self) -> None:
        """Whatever is not a GET is told with who, from where, what and how it ended."""
        self.begin_with_tokens()
        await self.ask_as("viewer", "GET", "/admin/health")
        self.assertEqual(self.told, [])
        for role, status in (("viewer", 403), ("operator", 200)):
            self.told.clear()
            await self.ask_as(role, "POST", "/admin/reload", X_Request_ID="r1")
            (facts,) = [facts for kind, facts in self.told if kind == "audit"]
            self.assertEqual(
                (facts["route"], facts["status"], facts["role"], facts["ip"], facts["request_id"]),
                ("POST /admin/reload", status, role, "127.0.0.1", "r1"),
            )
            self.assertEqual(facts["actor"], {"viewer": "vera", "operator": "otto"}[role])

    async def test_M4_2_no_change_is_left_out(self) -> None:
        """Each route that may change something is told once, whatever came of it."""
        self.begin_with_tokens()
        for one in self.declared():
            if not one.changes or one.quiet or one.role == "public":
                continue
            self.told.clear()
            body = BODIES.get(one.path) if one.body else None
            await self.ask_as("admin", one.method, sample(one), body)
            rows = [facts["route"] for kind, facts in self.told if kind == "audit"]
            self.assertEqual(rows, [f"{one.method} {one.path}"])


class DocumentTests(RouteCase):
    """Tests for the OpenAPI document."""

    def test_the_page_names_every_route(self) -> None:
        """Whoever reads docs/admin.md finds each path."""
        self.begin_with_tokens()
        page = Path(__file__).parents[2].joinpath("docs", "admin.md").read_text()
        for one in self.declared():
            path = one.path.replace("<", "{").replace(">", "}")
            near = ("breaker", "drain", "undrain", "rotate", "unblock")  # named after others
            short = path if path.rpartition("/")[2] not in near else path.rpartition("/")[2]
            self.assertIn(short, page, f"{one.method} {one.path}")

    async def test_every_answer_is_as_documented(self) -> None:
        """Each route is called, well and badly, and each answer fits the document."""
        self.begin_with_tokens()
        self.backend.script = lambda request, asked: completion() if asked.raw else {"data": []}
        await self.chat()
        judge = Judge((await self.ask_as("admin", "GET", "/openapi.json")).json)
        for one in self.declared():
            if one.media == STREAMS:
                continue
            path, body = sample(one), BODIES.get(one.path) if one.body else None
            got = await self.ask_as("admin", one.method, path, body)
            judge.check(one.method, path, got)
            if one.role != "public":
                judge.check(one.method, path, await self.ask(one.method, path, body, admin=True))
            if one.query is not None:
                got = await self.ask_as("admin", one.method, path + "?no=such", body)
                self.assertEqual(got.code, 400)
                judge.check(one.method, path, got)
            if one.body is not None:
                got = await self.ask_as("admin", one.method, path, {"no": "such"})
                self.assertIn(got.code, (400, 415), path)
                judge.check(one.method, path, got)

    async def test_what_is_wrong_is_said_in_words(self) -> None:
        """Nobody who mistyped a parameter is shown a regular expression."""
        self.begin_with_tokens()
        asked: list[tuple[str, str, Any, str]] = [
            ("GET", "/admin/usage?from=yesterday", None, "a day as `2026-01-31` - at `from`"),
            ("GET", "/admin/traffic?status=-%20at%20%60x", None, "of them as `5xx` - at `status`"),
            ("PUT", "/admin/log-level", {"level": "loud"}, "lmgateway.wire=debug` - at `level`"),
        ]
        for method, path, body, wanted in asked:
            got = await self.ask_as("admin", method, path, body)
            self.assertEqual(got.code, 400)
            self.assertTrue(got.json["error"].endswith(f"{wanted}."), got.json["error"])
            self.assertNotIn("regex", got.json["error"])
        metas = [meta for one in self.declared() for meta in patterns(one.query, one.body)]
        self.assertGreater(len(metas), 3)
        self.assertTrue(all(meta.description for meta in metas), metas)

    async def test_it_is_openapi(self) -> None:
        """It has what OpenAPI 3.1 demands, its schemas are schemas, and roles are told."""
        self.begin_with_tokens()
        document = (await self.ask_as("viewer", "GET", "/openapi.json")).json
        self.assertTrue(document["openapi"].startswith("3.1."))
        for schema in document["components"]["schemas"].values():
            Draft202012Validator.check_schema(schema)
        operations = [one for path in document["paths"].values() for one in path.values()]
        self.assertEqual(len({one["operationId"] for one in operations}), len(operations))
        self.assertEqual(document["paths"]["/admin/reload"]["post"]["x-lmg-role"], "operator")


class TableTests(SynchronousTestCase):
    """Tests for the table of routes."""

    def test_a_route_without_a_declaration_stops_the_start(self) -> None:
        """Who goes past the declaration gets no gateway."""
        made = Topic("made")

        class Said(Shape, frozen=True):
            word: str

        @frozen(eq=False)
        class MadeRoutes:
            topic: ClassVar[Topic] = made

            @made.route("GET", "/said", role="viewer", answer=Said, summary="Say")
            def said(self, call: Call) -> Said:
                return Said(word="yes")

        self.assertEqual([one.path for one in RouteTable([MadeRoutes()]).declared], ["/said"])
        made.klein.route("/secret", methods=["GET"])(lambda self, request: None)
        self.assertRaises(ValueError, RouteTable, [MadeRoutes()])
