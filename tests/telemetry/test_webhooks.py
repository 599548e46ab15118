"""Events posted to receivers."""

from __future__ import annotations

import hmac
import json
import re
from base64 import b64decode, b64encode
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.webhook import KINDS
from lmgateway.telemetry.events import Events
from lmgateway.telemetry.webhooks import (
    MAX_QUEUE,
    MAX_TRIES,
    Hook,
    Pairs,
    Undelivered,
    Webhooks,
    key_bytes,
)
from tests.fakes import completion, hang, status, turns, until
from tests.governance.test_accounts import PRICED
from tests.harness import GatewayCase

PACKAGE = Path(__file__).parent.parent.parent / "lmgateway"


class Receiver:
    """Answers as it is told, and remembers what it was sent."""

    def __init__(self, *answers: int | Exception | None) -> None:
        self.answers = [*answers]
        self.got: list[tuple[dict[str, str], Any]] = []
        self.cancelled = 0

    async def __call__(self, body: bytes, headers: Pairs) -> int:
        """Take one try; the last answer is given for all further ones."""
        named = {name.decode(): value.decode() for name, value in headers}
        self.got.append((named, json.loads(body)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            silence: Deferred[int] = Deferred()
            try:
                return await silence
            finally:
                self.cancelled += 1
        return answer


class WebhooksTests(SynchronousTestCase):
    """Tests for deliveries, on a clock of their own."""

    def setUp(self) -> None:
        """Listen to events."""
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.hooks = Webhooks(self.clock, self.clock.seconds, Random(0))
        self.events = Events(self.clock.seconds)
        self.events.listen(self.hooks)

    def receive(self, *answers: int | Exception | None, key: bytes | None = b"k") -> Receiver:
        """Have one receiver of budget events."""
        receiver = Receiver(*answers)
        self.hooks.settle({"a": Hook(kinds=frozenset(["budget"]), key=key, send=receiver)})
        return receiver

    def counts(self) -> dict[str, int]:
        """Give what became of deliveries, but for what never happened."""
        (family,) = self.hooks.families()
        return {labels[1]: int(value) for labels, value in family.samples if value}

    def test_delivered(self) -> None:
        """What happened, when, and an id; not before whoever told of it went on."""
        receiver = self.receive(204)
        self.events.tell("budget", budget="b", threshold=0.8)
        self.assertEqual(receiver.got, [])
        self.clock.advance(0)
        ((headers, body),) = receiver.got
        self.assertEqual(
            body,
            {
                "type": "budget",
                "timestamp": "2023-11-14T22:13:20Z",
                "data": {"budget": "b", "threshold": 0.8},
            },
        )
        self.assertRegex(headers["webhook-id"], "^msg_[0-9a-f]{24}$")
        self.assertEqual(headers["webhook-timestamp"], "1700000000")
        self.assertEqual(self.counts(), {"delivered": 1})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_signed(self) -> None:
        """Over id, time and body, as the specification has it."""
        sent: list[tuple[bytes, dict[bytes, bytes]]] = []

        async def send(body: bytes, headers: Pairs) -> int:
            sent.append((body, dict(headers)))
            return 200

        key = key_bytes("whsec_" + b64encode(b"0123456789abcdef").decode())
        self.assertEqual(key, b"0123456789abcdef")
        self.hooks.settle({"a": Hook(kinds=frozenset(["budget"]), key=key, send=send)})
        self.events.tell("budget")
        self.clock.advance(0)
        ((body, headers),) = sent
        signed = b".".join((headers[b"webhook-id"], headers[b"webhook-timestamp"], body))
        version, _, code = headers[b"webhook-signature"].partition(b",")
        self.assertEqual(version, b"v1")
        self.assertEqual(b64decode(code), hmac.digest(key, signed, "sha256"))

    def test_keys(self) -> None:
        """Any other text is its own bytes."""
        self.assertEqual(key_bytes("a-plain-key"), b"a-plain-key")
        self.assertEqual(key_bytes("whsec_not base64"), b"whsec_not base64")

    def test_unsigned(self) -> None:
        """Without a key there is no signature."""
        receiver = self.receive(200, key=None)
        self.events.tell("budget")
        self.clock.advance(0)
        self.assertNotIn("webhook-signature", receiver.got[0][0])

    def test_other_events(self) -> None:
        """Only those asked for are sent."""
        receiver = self.receive(200)
        self.events.tell("reload")
        self.clock.advance(0)
        self.assertEqual(receiver.got, [])

    def test_L6_4_tried_again(self) -> None:
        """Later and later, with the same id and a new time, until it is taken."""
        receiver = self.receive(Undelivered("backend_timeout"), 503, 429, 408, 200)
        self.events.tell("budget")
        self.clock.advance(0)
        for tries, pause in ((2, 1), (3, 2), (4, 4), (5, 8)):
            self.assertEqual(len(receiver.got), tries - 1)
            self.clock.advance(pause)
            self.assertEqual(len(receiver.got), tries)
        self.assertEqual(len({headers["webhook-id"] for headers, _ in receiver.got}), 1)
        self.assertEqual(len({headers["webhook-timestamp"] for headers, _ in receiver.got}), 5)
        self.assertEqual(self.counts(), {"delivered": 1, "retried": 4})

    def test_given_up(self) -> None:
        """After the last try, or at once where another would be no use; the next one goes on."""
        receiver = self.receive(500)
        self.events.tell("budget")
        for _ in range(200):
            self.clock.advance(60)
        self.assertEqual(len(receiver.got), MAX_TRIES)
        self.assertEqual(self.counts(), {"failed": 1, "retried": MAX_TRIES - 1})
        for final in (301, 400, 410):
            receiver = self.receive(final, 200)
            self.events.tell("budget")
            self.events.tell("budget")
            self.clock.advance(0)
            self.assertEqual(len(receiver.got), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_order(self) -> None:
        """One at a time: what comes later waits for what came before."""
        receiver = self.receive(500, 200)
        for number in range(3):
            self.events.tell("budget", number=number)
        self.clock.advance(0)
        self.assertEqual(len(receiver.got), 1)
        self.clock.advance(1)
        told = [body["data"]["number"] for _, body in receiver.got]
        self.assertEqual(told, [0, 0, 1, 2])

    def test_bounded(self) -> None:
        """What does not fit the queue is dropped and counted."""
        self.receive(None)
        for _ in range(MAX_QUEUE + 5):
            self.events.tell("budget")
        self.assertEqual(self.counts(), {"dropped": 5})
        self.hooks.stop()

    def test_reload(self) -> None:
        """What waits goes to where the receiver is now; one that was removed gets nothing."""
        self.receive(500)
        self.events.tell("budget")
        self.clock.advance(0)
        moved = self.receive(200)
        self.clock.advance(1)
        self.assertEqual(len(moved.got), 1)
        silent = self.receive(None)
        self.events.tell("budget")
        self.events.tell("budget")
        self.clock.advance(0)
        self.hooks.settle({})
        self.assertEqual((silent.cancelled, len(silent.got)), (1, 1))
        self.events.tell("budget")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_kinds(self) -> None:
        """The config knows every kind that is told anywhere."""
        told: set[str] = set()
        for path in PACKAGE.rglob("*.py"):
            told.update(re.findall(r"\btell\(\s*\"(\w+)\"", path.read_text()))
        self.assertEqual(told - {*KINDS}, set())


HOOK = """
[[webhooks]]
name = "ops"
url = "{url}/hook?team=a"
key_env = "HOOK_KEY"
timeout_ms = 200
{more}
"""
BUDGET = '[[budgets]]\nname = "b"\nscope = "global"\nlimit_usd = 0.1\nthresholds = [0.5]\n'


class WebhookCases(GatewayCase):
    """Tests for webhooks of a whole gateway, over real sockets."""

    def hooked(self, script: Any, more: str = "") -> Any:
        """Start with one receiver, which answers so."""
        self.environ["HOOK_KEY"] = "a-key-of-the-operators"
        answer = completion()
        answer["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        self.backend.script = lambda request, asked: answer
        self.receiver, url = self.another(script)
        self.start(PRICED, more=HOOK.format(url=url, more=more) + BUDGET)
        return self.receiver

    async def test_L6_4_budget(self) -> None:
        """Crossing a threshold posts once, signed, whatever is answered later."""
        receiver = self.hooked(status(200))
        await self.chat("paid", max_tokens=500)
        await until(lambda: len(receiver.asked) == 1)
        await self.chat("dear", max_tokens=500)
        (asked,) = receiver.asked
        self.assertEqual(asked.method, "POST")
        self.assertEqual((asked.body["type"], asked.body["data"]["threshold"]), ("budget", 0.5))
        headers = asked.headers
        signed = ".".join((headers["webhook-id"], headers["webhook-timestamp"], "")).encode()
        code = hmac.digest(b"a-key-of-the-operators", signed + asked.raw, "sha256")
        self.assertEqual(headers["webhook-signature"], "v1," + b64encode(code).decode())
        self.assertNotIn("a-key", str(asked.headers))

    async def test_L6_4_nobody_waits_for_it(self) -> None:
        """A receiver that never answers holds up nobody; it is tried again."""
        receiver = self.hooked(turns(hang, status(200)))
        self.assertEqual((await self.chat("paid", max_tokens=500)).code, 200)
        await until(lambda: len(receiver.asked) == 1)
        self.assertEqual((await self.chat("dear", max_tokens=500)).code, 200)
        await until(lambda: len(receiver.asked) == 2, 5.0)
        self.assertEqual(receiver.asked[0].raw, receiver.asked[1].raw)
        await until(lambda: len(receiver.lost) == 1)

    async def test_redirects_are_not_followed(self) -> None:
        """Events go where the config says, and nowhere else."""
        other, elsewhere = self.another(status(200))
        receiver = self.hooked(status(302, location=elsewhere))
        await self.chat("paid", max_tokens=500)
        assert self.service is not None
        hooks = self.service.resources.webhooks

        def failed() -> bool:
            (family,) = hooks.families()
            return dict(family.samples)["ops", "failed"] == 1

        await until(failed)
        self.assertEqual((len(receiver.asked), other.asked), (1, []))

    async def test_other_kinds(self) -> None:
        """A reload, for instance; and its connections survive it."""
        receiver = self.hooked(status(200), more='events = ["reload", "breaker"]')
        assert self.service is not None
        self.service.reload()
        await until(lambda: len(receiver.asked) == 1)
        self.assertTrue(receiver.asked[0].body["data"]["ok"])
        text = (await self.ask("GET", "/metrics", admin=True)).body.decode()
        wanted = 'lmg_webhook_deliveries_total{webhook="ops",outcome="delivered"} 1'
        self.assertIn(wanted, text)
