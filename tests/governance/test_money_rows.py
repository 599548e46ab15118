"""Rows L6, L6b and L10 of what is asked of money, keys and requests, by their ids."""

from __future__ import annotations

import csv
import io
import json
import socket
from typing import Any

from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.protocol import Protocol

from tests.admin.test_routes import RouteCase
from tests.fakes import STREAM, Asked, chunk, completion, until
from tests.governance.test_accounts import ANN, KEY, PRICED
from tests.harness import GatewayCase, Got
from tests.wire.sockets import in_thread, read_all

CY = ANN.replace("ann", "cy").replace("ANN", "CY")
STREAMED = {"model": "paid", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
EMPTY = {"type": "text", "text": ""}
CLOSED = '[state]\nkeys = "memory"\n'
BOB = {"name": "bob", "profile": "default"}
CY_KEY: dict[str, Any] = {"Authorization": "Bearer key-of-cy"}


def used(request: Any, asked: Asked) -> dict[str, Any]:
    """Answer with 1000 and 500 tokens."""
    answer = completion()
    answer["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    return answer


class Leaving(Protocol):
    """A reader that leaves as soon as it has seen the text."""

    def __init__(self) -> None:
        self.seen = b""

    def dataReceived(self, data: bytes) -> None:
        """Look for it."""
        self.seen += data
        if b"xxxx" in self.seen:
            transport: Any = self.transport
            transport.abortConnection()


class MoneyRows(GatewayCase):
    """Tests for L6: what is paid, and by whom."""

    def setUp(self) -> None:
        """Give two clients their keys."""
        super().setUp()
        self.environ |= {"ANN": "key-of-ann", "CY": "key-of-cy"}
        self.backend.script = used

    async def test_L6_1_all_kinds_of_token(self) -> None:
        """Cached and reasoning tokens have prices of their own; traffic, ledger, metric agree."""
        answer = completion()
        answer["usage"] = {
            "prompt_tokens": 1000,
            "completion_tokens": 500,
            "total_tokens": 1500,
            "prompt_tokens_details": {"cached_tokens": 400},
            "completion_tokens_details": {"reasoning_tokens": 200},
        }
        self.backend.script = lambda request, asked: answer
        whole = "input = 30, output = 60"
        parts = whole + ", cached_read = 3, reasoning = 90"
        service = self.start(PRICED.replace(whole, parts))
        got = await self.chat("paid")
        cost = (600 * 30 + 400 * 3 + 300 * 60 + 200 * 90) / 10**6
        self.assertEqual(got.headers["x-lmg-cost"], str(cost))
        (entry,) = await self.entries()
        (record,) = service.resources.ledger.newest
        self.assertEqual((entry["cost_usd"], record.cost), (cost, 55_200_000))
        text = (await self.ask("GET", "/metrics", admin=True)).body.decode()
        (line,) = [line for line in text.splitlines() if line.startswith("lmg_cost_usd_total{")]
        self.assertEqual(float(line.rpartition(" ")[2]), cost)

    async def test_L6_1_unpriced(self) -> None:
        """Null, and counted."""
        self.start(PRICED, backends="local = false")
        await self.chat("unpriced")
        (entry,) = await self.entries()
        self.assertIsNone(entry["cost_usd"])
        text = (await self.ask("GET", "/metrics", admin=True)).body.decode()
        (line,) = [x for x in text.splitlines() if x.startswith("lmg_unpriced_requests_total{")]
        self.assertEqual(line.rpartition(" ")[2], "1")

    async def test_L6_2_two_keys(self) -> None:
        """What they spent adds up to all there is."""
        service = self.start(PRICED, more=ANN + CY)
        await self.chat("paid", **KEY)
        await self.chat("dear", **CY_KEY)
        self.backend.script = lambda request, asked: STREAM
        await self.chat("paid", stream=True, **CY_KEY)
        told = [(await self.ask("GET", "/v1/me", **key)).json["spend_usd"] for key in (KEY, CY_KEY)]
        self.assertEqual(told, [0.06, 0.01084])
        recorded = sum(record.cost or 0 for record in service.resources.ledger.newest)
        self.assertEqual(round(sum(told) * 10**9), recorded)

    async def test_L6_2_aborted_streams(self) -> None:
        """Charged for what was produced, whoever broke off; nothing stays reserved."""
        budget = '[[budgets]]\nname = "b"\nscope = "global"\nlimit_usd = 10\n'
        service = self.start(PRICED, more=budget)

        def begin(request: Any, asked: Asked) -> None:
            request.setHeader("content-type", "text/event-stream")
            request.write(chunk({"role": "assistant", "content": ""}))
            request.write(chunk({"content": "x" * 400}))

        self.backend.script = begin
        response = await self.begin("POST", "/v1/chat/completions", STREAMED)
        response.deliverBody(Leaving())
        await until(lambda: len(service.resources.ledger.newest) == 1)
        (record,) = service.resources.ledger.newest
        self.assertTrue(record.estimated)
        self.assertGreaterEqual(record.output_tokens, 100)
        self.assertLess(record.output_tokens, 300)
        self.assertEqual(record.cost, record.input_tokens * 30_000 + record.output_tokens * 60_000)
        (told,) = (await self.ask("GET", "/v1/me")).json["budgets"]
        self.assertEqual(told["reserved_usd"], 0)
        self.assertEqual(round(told["spent_usd"] * 10**9), record.cost)

    async def test_L6_2_first_guesses(self) -> None:
        """What a backend tells at the beginning is not what a stream that broke off took."""
        start = {"type": "message", "role": "assistant", "content": [], "model": "m", "id": "msg_1"}
        events = (
            {
                "type": "message_start",
                "message": start | {"usage": {"input_tokens": 20, "output_tokens": 1}},
            },
            {"type": "content_block_start", "index": 0, "content_block": EMPTY},
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "x" * 400},
            },
        )

        def begin(request: Any, asked: Asked) -> None:
            request.setHeader("content-type", "text/event-stream")
            for event in events:
                kind = str(event["type"]).encode()
                request.write(b"event: %b\ndata: %b\n\n" % (kind, json.dumps(event).encode()))

        self.backend.script = begin
        service = self.start(PRICED, backends='provider = "anthropic"')
        response = await self.begin("POST", "/v1/chat/completions", STREAMED)
        response.deliverBody(Leaving())
        await until(lambda: len(service.resources.ledger.newest) == 1)
        (record,) = service.resources.ledger.newest
        self.assertEqual((record.input_tokens, record.output_tokens), (20, 100))
        self.assertTrue(record.estimated)

    async def test_L6_2_answers_given_again(self) -> None:
        """What is told a second time from memory costs nothing."""
        service = self.start(PRICED, more=ANN)
        again = {"Idempotency_Key": "one", **KEY}
        first = await self.chat("paid", **again)
        second = await self.chat("paid", **again)
        self.assertEqual((first.code, second.body), (200, first.body))
        self.assertEqual(len(self.backend.asked), 1)
        self.assertEqual((await self.ask("GET", "/v1/me", **KEY)).json["spend_usd"], 0.06)
        self.assertEqual([r.cost for r in service.resources.ledger.newest], [60_000_000])

    async def test_L6_3_concurrent_burst(self) -> None:
        """Of many at once no more are let in than can be paid for."""
        budget = '[[budgets]]\nname = "b"\nscope = "global"\nlimit_usd = 0.2\n'
        answer = completion()
        answer["usage"] = {"prompt_tokens": 5, "completion_tokens": 500, "total_tokens": 505}
        self.backend.script = lambda request, asked: answer
        self.start(PRICED, more=budget)
        asked = [self.chat("paid", max_tokens=500) for _ in range(20)]
        codes = sorted([got.code for got in await self.together(asked)])
        (told,) = (await self.ask("GET", "/v1/me")).json["budgets"]
        self.assertLessEqual(told["spent_usd"], 0.2)
        self.assertEqual(codes.count(200) * 30_150_000, round(told["spent_usd"] * 10**9))
        self.assertEqual({*codes}, {200, 402})

    async def test_L6_6_export(self) -> None:
        """As CSV with stable columns, page by page without gaps or doubles."""
        self.start(PRICED, more=ANN + CY)
        for model in ("paid", "dear", "unpriced"):
            await self.chat(model, **KEY)
            await self.chat(model, **CY_KEY)
        path = "/admin/usage?by=client,tier&limit=4"
        whole = (await self.ask("GET", "/admin/usage?by=client,tier", admin=True)).json["rows"]
        first = (await self.ask("GET", path, admin=True)).json
        cursor = first["next_cursor"]
        rest = (await self.ask("GET", f"{path}&cursor={cursor}", admin=True)).json
        self.assertEqual([*first["rows"], *rest["rows"]], whole)
        self.assertIsNone(rest["next_cursor"])
        text = (await self.ask("GET", "/admin/usage?by=client,tier&format=csv", admin=True)).body
        rows = [*csv.DictReader(io.StringIO(text.decode()))]
        self.assertEqual([row["tier"] for row in rows], [row["tier"] for row in whole])
        costs = sum(float(row["cost_usd"]) for row in rows)
        self.assertAlmostEqual(costs, 2 * 0.07045)

    async def together(self, waiting: list[Any]) -> list[Any]:
        """Await several at once."""
        return [*await gatherResults([ensureDeferred(each) for each in waiting])]

    async def test_L6b_1_keys_apart(self) -> None:
        """No backend is shown a client's key, no client or log the backend's."""
        self.environ["UP"] = "key-of-the-backend"
        self.start(PRICED, backends='api_key_env = "UP"', more=ANN)
        got = await self.chat("paid", **KEY)
        shown = json.dumps([self.backend.asked[0].headers, self.backend.asked[0].body])
        self.assertNotIn("key-of-ann", shown)
        self.assertIn("key-of-the-backend", shown)
        assert self.service is not None
        self.service.resources.access.flush()
        admin = await self.ask("GET", "/admin/traffic", admin=True)
        config = await self.ask("GET", "/admin/config", admin=True)
        out = b"".join((got.body, str(got.headers).encode(), *self.lines, admin.body, config.body))
        self.assertNotIn(b"key-of-the-backend", out)
        self.assertNotIn(b"key-of-ann", out)

    async def test_L6b_2_models(self) -> None:
        """What a key may not ask for is unknown to it: 404, and in no list."""
        self.start(PRICED, more=ANN + 'allow_models = ["dear"]\n')
        self.assertEqual((await self.chat("dear", **KEY)).code, 200)
        got = await self.chat("paid", **KEY)
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (404, "unknown_model"))
        listed = (await self.ask("GET", "/v1/models", **KEY)).json["data"]
        names = {each["id"] for each in listed}
        self.assertIn("dear", names)
        self.assertNotIn("paid", names)


class KeyRows(RouteCase):
    """Tests for L6b: keys made at run time."""

    async def admin(self, method: str, path: str, body: Any = None) -> Got:
        """Ask as an admin."""
        got: Got = await self.ask_as("admin", method, path, body)
        return got

    async def made(self, **members: Any) -> dict[str, Any]:
        """Make a key."""
        told: dict[str, Any] = (await self.admin("POST", "/admin/keys", BOB | members)).json
        return told

    async def code(self, key: str) -> int:
        """Ask for an answer with a key; give the status."""
        return (await self.chat(Authorization=f"Bearer {key}")).code

    async def test_L6b_3_rotation(self) -> None:
        """The new secret is told once, and kept nowhere as it is."""
        self.begin_with_tokens(more=CLOSED)
        made = await self.made()
        path = f"/admin/keys/{made['id']}"
        newer = (await self.admin("POST", f"{path}/rotate", {"grace_seconds": 0})).json
        self.assertEqual([await self.code(k["key"]) for k in (made, newer)], [401, 200])
        shown = (await self.admin("GET", path)).body.decode()
        for each in (made, newer):
            self.assertNotIn(each["key"].rpartition("_")[2], shown)

    async def test_L6b_4_usage(self) -> None:
        """Requests, tokens and cost of a key, by its name; and when it was used last."""
        self.begin_with_tokens(more=CLOSED)
        made = await self.made()
        self.assertEqual(await self.code(made["key"]), 200)
        got = (await self.admin("GET", f"/admin/usage?by=client&client={BOB['name']}")).json
        (row,) = got["rows"]
        told = (row["requests"], row["input_tokens"], row["output_tokens"], row["cost_usd"])
        self.assertEqual(told, (1, 3, 5, 0))
        shown = (await self.admin("GET", f"/admin/keys/{made['id']}")).json
        self.assertIsNotNone(shown["last_used_at"])
        used = {"requests": 1, "input_tokens": 3, "output_tokens": 5, "cost_usd": 0.0}
        self.assertEqual(shown["usage"], used)

    async def test_L6b_5_rate_limit(self) -> None:
        """A key's own, changed while it is in use."""
        self.begin_with_tokens(more=CLOSED)
        made = await self.made(rate_limit_rpm=2, burst=1)
        codes = [await self.code(made["key"]) for _ in range(2)]
        self.assertEqual(codes, [200, 429])
        await self.admin("PATCH", f"/admin/keys/{made['id']}", {"rate_limit_rpm": None})
        await self.admin("PATCH", f"/admin/keys/{made['id']}", {"burst": None})
        self.assertEqual([await self.code(made["key"]) for _ in range(3)], [200] * 3)

    async def test_L6b_6_audited(self) -> None:
        """Making and deleting are told with who did it; a list shows prefixes only."""
        self.begin_with_tokens(more=CLOSED)
        made = await self.made()
        listed = (await self.admin("GET", "/admin/keys")).json["keys"]
        self.assertEqual([each["prefix"] for each in listed], [made["prefix"]])
        self.assertEqual((await self.admin("DELETE", f"/admin/keys/{made['id']}")).code, 200)
        audited = [facts for kind, facts in self.told if kind == "audit"]
        self.assertEqual(
            [facts["route"] for facts in audited],
            ["POST /admin/keys", "DELETE /admin/keys/<identity>"],
        )


class SizeRows(GatewayCase):
    """Tests for L10.3: how large a body may be."""

    async def test_L10_3_declared(self) -> None:
        """A body that says it is too large is refused before it is read."""
        self.start(gateway="max_body_bytes = 1000")
        got = await self.chat(text="x" * 2000)
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (413, "request_too_large"))
        self.assertEqual(self.backend.asked, [])

    async def test_L10_3_chunked(self) -> None:
        """One that does not say so is, as soon as it is."""
        self.start(gateway="max_body_bytes = 1000")
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n"
        head += b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        piece = b"100\r\n" + b"x" * 256 + b"\r\n"
        got = await in_thread(self.send, head + piece * 5)
        self.assertTrue(got.startswith(b"HTTP/1.1 413 "), got[:80])
        self.assertEqual(self.backend.asked, [])

    def send(self, data: bytes) -> bytes:
        """Send bytes as they are, in a thread; give what comes back."""
        with socket.create_connection(("127.0.0.1", self.client_port), timeout=10) as client:
            client.sendall(data)
            return read_all(client)


class RuleRows(GatewayCase):
    """Tests for L10.5: rules by path, model and client."""

    async def test_L10_5_the_most_specific_holds(self) -> None:
        """The one that names more; what it limits is counted by itself."""
        self.environ["ANN"] = "key-of-ann"
        rules = (
            "rate_limit_rpm = 6\n"
            '[[clients.limits]]\npath = "/v1/*"\nrate_limit_rpm = 2\n'
            '[[clients.limits]]\npath = "/v1/*"\nmodel = "local:*"\nrate_limit_rpm = 4\n'
        )
        self.start(more=ANN + rules)

        async def codes(path: str, model: str) -> list[int]:
            body = {"model": model, "stream": False, "messages": [{"role": "user", "content": "h"}]}
            return [(await self.ask("POST", path, body, **KEY)).code for _ in range(4)]

        chat = "/v1/chat/completions"
        self.assertEqual(await codes(chat, "local:fast"), [200, 200, 429, 429])
        self.assertEqual(await codes(chat, "cloud:economy"), [200, 429, 429, 429])
        self.assertEqual(await codes("/api/chat", "local:fast"), [200, 200, 200, 429])

    async def test_L10_5_endpoints_and_models(self) -> None:
        """What a key may ask at all is looked at first: path, then model."""
        self.environ["ANN"] = "key-of-ann"
        rules = 'allow_endpoints = ["/v1/*"]\nallow_models = ["local:*"]\n'
        self.start(more=ANN + rules)
        self.assertEqual((await self.ask("POST", "/api/chat", {}, **KEY)).code, 403)
        self.assertEqual((await self.chat("cloud:economy", **KEY)).code, 404)
        self.assertEqual((await self.chat("local:fast", **KEY)).code, 200)


class GovernanceRows(GatewayCase):
    """Tests for M2.2, MB4 and MX14: accounting that nobody talks round."""

    def setUp(self) -> None:
        """Answers take 1000 and 500 tokens."""
        super().setUp()
        self.backend.script = used

    async def test_M2_2_a_request_id_is_no_discount(self) -> None:
        """Two requests of one id are two charges: records have ids of our own."""
        service = self.start(PRICED)
        for _ in range(2):
            self.assertEqual((await self.chat("paid", X_Request_ID="same")).code, 200)
        (one, other) = service.resources.ledger.newest
        self.assertEqual((one.cost, other.cost), (60_000_000, 60_000_000))
        self.assertEqual((one.request_id, other.request_id), ("same", "same"))
        self.assertNotEqual(one.id, other.id)

    async def test_MX14_unpriced(self) -> None:
        """A model without price is served, but where a budget denies it."""
        budget = '[[budgets]]\nname = "b"\nscope = "global"\nlimit_usd = 5\n'
        parts = {"backends": "local = false", "profile": "failover = false"}
        service = self.start(PRICED, more=budget, **parts)
        self.assertEqual((await self.chat("unpriced")).code, 200)
        self.write(PRICED, more=budget + 'unpriced = "deny"\n', **parts)
        service.reload()
        got = await self.chat("unpriced")
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (402, "budget_exhausted"))
        self.assertEqual((await self.chat("dear", max_tokens=500)).code, 200)
