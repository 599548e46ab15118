"""R-L: limits, over HTTP."""

from __future__ import annotations

import json
from time import monotonic as seconds
from typing import Any

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater
from twisted.protocols.basic import LineOnlyReceiver
from twisted.web.client import Agent

from tests.fakes import STREAM, completion, until
from tests.harness import BASE, GatewayCase, Got, ensureDeferred

ONE = '[[clients]]\nname = "one"\nkey_env = "KEY_ONE"\nprofile = "default"\n'
TWO = '[[clients]]\nname = "two"\nkey_env = "KEY_TWO"\nprofile = "default"\n'
KEY_ONE: dict[str, Any] = {"Authorization": "Bearer key-of-client-one"}
KEY_TWO: dict[str, Any] = {"Authorization": "Bearer key-of-client-two"}
MESSAGES = [{"role": "user", "content": "hi"}]
REFUSED = ("retry-after", "x-ratelimit-limit", "x-ratelimit-policy", "x-ratelimit-scope")


class LimitCases(GatewayCase):
    """Tests for how often one may ask."""

    def setUp(self) -> None:
        """Give two clients their keys."""
        super().setUp()
        self.environ |= {"KEY_ONE": "key-of-client-one", "KEY_TWO": "key-of-client-two"}

    async def codes(self, count: int, **members: Any) -> list[int]:
        """Ask so often; give the statuses."""
        return [(await self.chat(**members)).code for _ in range(count)]

    def refusal(self, got: Got) -> list[str | None]:
        """Give the status and headers of a refusal."""
        return [str(got.code), *(got.headers.get(name) for name in REFUSED)]

    async def test_R_L01_burst(self) -> None:
        """60 a minute are 30 at once; the 31st is refused."""
        self.start(gateway="rate_limit_rpm = 60")
        codes: list[int] = []
        before = seconds()
        while 429 not in codes and len(codes) < 99:
            codes += await self.codes(1)
        flowed = int(seconds() - before)  # one a second: a slow machine has more
        self.assertIn(len(codes), range(31, 32 + flowed))
        self.assertEqual(len(self.backend.asked), len(codes) - 1)

    async def test_R_L02_refusal(self) -> None:
        """It says when to come back, and what the limit is."""
        self.start(gateway="rate_limit_rpm = 1")
        await self.chat()
        got = await self.chat()
        self.assertEqual(self.refusal(got), ["429", "60", "1", "1;w=60", "ip"])
        self.assertEqual(got.headers["x-lmg-error"], "rate_limited")
        self.assertEqual(got.json["error"]["code"], "rate_limit_exceeded")
        self.assertEqual(got.headers["x-ratelimit-remaining-requests"], "0")
        (entry, _) = await self.entries()
        self.assertEqual((entry["status"], entry["outcome"]), (429, "rate_limited"))

    async def test_R_L03_addresses_are_apart(self) -> None:
        """Each has its own burst."""
        self.start(gateway="rate_limit_rpm = 2")
        self.assertEqual(await self.codes(2), [200, 429])
        self.http = HTTPClient(Agent(reactor, self.pool, bindAddress=("127.0.0.2", 0)))
        self.assertEqual(await self.codes(2), [200, 429])

    async def test_R_L04_refill(self) -> None:
        """What was used flows off, as fast as the rate says."""
        self.start(more=ONE + "rate_limit_rpm = 240\nburst = 1")
        self.assertEqual(await self.codes(2, **KEY_ONE), [200, 429])
        await deferLater(reactor, 0.26)
        self.assertEqual(await self.codes(2, **KEY_ONE), [200, 429])

    async def test_R_L05_profile(self) -> None:
        """A profile's limit is shared by all keys."""
        self.start(profile="rate_limit_rpm = 4", more=ONE + TWO)
        self.assertEqual(await self.codes(1, **KEY_ONE), [200])
        self.assertEqual(await self.codes(1, **KEY_TWO), [200])
        got = await self.chat(**KEY_ONE)
        self.assertEqual(self.refusal(got), ["429", "15", "4", "4;w=60", "profile"])

    async def test_a_profile_that_is_named_is_limited(self) -> None:
        """By ``model``, on every surface: nobody dodges its limit."""
        self.start(
            more='[profiles.rare]\nclassifier = "local:fast"\nrate_limit_rpm = 2\n',
        )
        self.assertEqual((await self.chat("rare")).code, 200)
        self.assertEqual((await self.chat("rare")).code, 429)
        body = {"model": "rare:latest", "messages": MESSAGES, "stream": False}
        got = await self.ask("POST", "/api/chat", body)
        self.assertEqual(self.refusal(got), ["429", "30", "2", "2;w=60", "profile"])
        self.assertIn("limit", got.json["error"])
        self.assertEqual((await self.chat("hint:fast")).code, 200)

    async def test_R_L06_off(self) -> None:
        """0 is no limit."""
        self.start(gateway="rate_limit_rpm = 0", profile="rate_limit_rpm = 0")
        self.assertEqual(await self.codes(40), [200] * 40)
        got = await self.chat()
        self.assertNotIn("x-ratelimit-limit-requests", got.headers)

    async def test_R_L07_forwarded(self) -> None:
        """``X-Forwarded-For`` counts from trusted proxies only."""
        self.start(gateway="rate_limit_rpm = 2")
        asked = [await self.chat(X_Forwarded_For=f"1.1.1.{n}") for n in range(2)]
        self.assertEqual([got.code for got in asked], [200, 429])

    async def test_R_L07_forwarded_by_a_trusted_proxy(self) -> None:
        """Then the address that it tells is limited, and recorded."""
        self.start(gateway='rate_limit_rpm = 2\ntrusted_proxies = ["127.0.0.0/8"]')
        asked = [await self.chat(X_Forwarded_For=f"9.9.9.9, 1.1.1.{n}") for n in (0, 1, 1)]
        self.assertEqual([got.code for got in asked], [200, 200, 429])

    async def test_L4_1_a_refused_request_consumes_nothing(self) -> None:
        """What a client's own limit refuses does not count for its address, and the reverse."""
        self.start(
            gateway="rate_limit_rpm = 8",
            profile="rate_limit_rpm = 8",
            more=ONE + "rate_limit_rpm = 2\n" + TWO,
        )
        self.assertEqual(await self.codes(10, **KEY_ONE), [200] + [429] * 9)
        self.assertEqual(await self.codes(4, **KEY_TWO), [200] * 3 + [429])

    async def test_a_refusal_of_the_profile_consumes_nothing(self) -> None:
        """Client and address keep what they have."""
        self.start(
            gateway="rate_limit_rpm = 6",
            profile="rate_limit_rpm = 2",
            more=ONE
            + 'rate_limit_rpm = 6\nallow_profiles = ["other"]\n'
            + '[profiles.other]\nclassifier = "local:fast"',
        )
        self.assertEqual(await self.codes(5, **KEY_ONE), [200] + [429] * 4)
        self.assertEqual(await self.codes(3, model="other", **KEY_ONE), [200, 200, 429])

    async def test_groups_are_shared(self) -> None:
        """The most restrictive of client and group holds."""
        self.start(
            more=ONE
            + 'group = "team"\nrate_limit_rpm = 60\n'
            + TWO
            + 'group = "team"\n[groups.team]\nrate_limit_rpm = 4'
        )
        self.assertEqual(await self.codes(1, **KEY_ONE), [200])
        self.assertEqual(await self.codes(1, **KEY_TWO), [200])
        got = await self.chat(**KEY_ONE)
        self.assertEqual(self.refusal(got), ["429", "15", "4", "4;w=60", "group"])

    async def test_health_is_not_limited(self) -> None:
        """Nor does it count."""
        self.start(gateway="rate_limit_rpm = 1")
        codes = [(await self.ask("GET", "/healthz")).code for _ in range(5)]
        self.assertEqual(codes + await self.codes(2), [200] * 6 + [429])

    async def test_wrong_keys_count_for_the_address(self) -> None:
        """Nobody tries keys without end."""
        self.start(gateway="rate_limit_rpm = 6", more=ONE)
        wrong = {"Authorization": "Bearer wrong"}
        self.assertEqual(await self.codes(4, **wrong), [401] * 3 + [429])

    async def test_friendly_errors_do_not_hide_limits(self) -> None:
        """As in the reference: 429, for a client must slow down."""
        self.start(gateway='error_style = "friendly"', profile="rate_limit_rpm = 1")
        self.assertEqual(await self.codes(2), [200, 429])

    async def test_limits_change_on_reload(self) -> None:
        """L6b.5: at once, and what was used still counts."""
        service = self.start(more=ONE + "rate_limit_rpm = 6")
        self.assertEqual(await self.codes(4, **KEY_ONE), [200] * 3 + [429])
        self.write(more=ONE + "rate_limit_rpm = 10")
        service.reload()
        self.assertEqual(await self.codes(3, **KEY_ONE), [200] * 2 + [429])


class HeaderCases(GatewayCase):
    """Tests for L4.4: what answers say of limits."""

    async def test_openai(self) -> None:
        """OpenAI's clients read these names."""
        self.start(gateway="rate_limit_rpm = 60")
        got = await self.chat()
        told = {k: v for k, v in got.headers.items() if k.startswith("x-ratelimit")}
        self.assertEqual(told.pop("x-ratelimit-limit-requests"), "60")
        self.assertEqual(told.pop("x-ratelimit-remaining-requests"), "29")
        self.assertRegex(told.pop("x-ratelimit-reset-requests"), r"^(1s|\d+ms)$")
        self.assertEqual(told, {})

    async def test_streams_tell_too(self) -> None:
        """Before their first event."""
        self.start(gateway="rate_limit_rpm = 60")
        self.backend.script = lambda request, asked: STREAM
        got = await self.chat(stream=True)
        self.assertEqual(got.headers["x-ratelimit-remaining-requests"], "29")

    async def test_anthropic(self) -> None:
        """Anthropic's read others, with times instead of durations."""
        self.start(gateway="rate_limit_rpm = 2")
        body = {"model": "hint:fast", "max_tokens": 9, "messages": MESSAGES}
        got = await self.ask("POST", "/v1/messages", body)
        self.assertEqual(got.code, 200)
        self.assertEqual(got.headers["anthropic-ratelimit-requests-limit"], "2")
        self.assertEqual(got.headers["anthropic-ratelimit-requests-remaining"], "0")
        when = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"
        self.assertRegex(got.headers["anthropic-ratelimit-requests-reset"], when)
        self.assertNotIn("x-ratelimit-limit-requests", got.headers)
        refused = await self.ask("POST", "/v1/messages", body)
        self.assertEqual((refused.code, refused.headers["retry-after"]), (429, "30"))
        self.assertEqual(refused.json["error"]["type"], "rate_limit_error")
        self.assertEqual(refused.headers["anthropic-ratelimit-requests-remaining"], "0")

    async def test_refusals_tell_of_the_limit_that_was_reached(self) -> None:
        """Not only of those that would have let the request in."""
        self.environ["KEY_ONE"] = "key-of-client-one"
        self.start(gateway="rate_limit_rpm = 60", more=ONE + "rate_limit_rpm = 2")
        await self.chat(**KEY_ONE)
        got = await self.chat(**KEY_ONE)
        self.assertEqual(got.headers["x-ratelimit-limit-requests"], "2")
        self.assertEqual(got.headers["x-ratelimit-remaining-requests"], "0")
        self.assertEqual(got.headers["x-ratelimit-scope"], "client")

    async def test_the_tightest_is_told(self) -> None:
        """Of several limits, the one of which least is left."""
        self.start(gateway="rate_limit_rpm = 60", profile="rate_limit_rpm = 10")
        got = await self.chat()
        self.assertEqual(got.headers["x-ratelimit-limit-requests"], "10")
        self.assertEqual(got.headers["x-ratelimit-remaining-requests"], "4")


class TokenCases(GatewayCase):
    """Tests for limits on tokens, and on requests at once."""

    def setUp(self) -> None:
        """Give the client its key."""
        super().setUp()
        self.environ["KEY_ONE"] = "key-of-client-one"

    async def test_tokens_are_held_and_then_counted(self) -> None:
        """D2: what was asked for is held; what was used is what counts."""
        self.start(more=ONE + "rate_limit_tpm = 100")
        got = await self.chat(max_tokens=90, **KEY_ONE)
        self.assertEqual(got.headers["x-ratelimit-remaining-tokens"], "8")
        self.assertEqual(got.headers["x-ratelimit-limit-tokens"], "100")
        got = await self.chat(max_tokens=50, **KEY_ONE)
        self.assertEqual(got.headers["x-ratelimit-remaining-tokens"], "40")

    async def test_tokens_in_use_are_not_to_be_had(self) -> None:
        """A second request waits until the first has told what it used."""
        self.start(more=ONE + "rate_limit_tpm = 100")
        self.backend.script = lambda request, asked: None
        first = self.chat(max_tokens=90, **KEY_ONE)
        waiting = ensureDeferred(first)
        await until(lambda: len(self.backend.asked) == 1)
        refused = await self.chat(max_tokens=50, **KEY_ONE)
        self.assertEqual(refused.code, 429)
        self.assertEqual(refused.headers["x-ratelimit-policy"], "100;w=60")
        self.assertEqual(refused.headers["x-ratelimit-scope"], "client")
        self.backend.requests[0].setHeader("content-type", "application/json")
        self.backend.requests[0].write(json.dumps(completion()).encode())
        self.backend.requests[0].finish()
        self.assertEqual((await waiting).code, 200)
        self.backend.script = lambda request, asked: completion()
        self.assertEqual((await self.chat(max_tokens=50, **KEY_ONE)).code, 200)

    async def test_overdrawn(self) -> None:
        """An answer longer than announced is paid off before the next request."""
        self.start(more=ONE + "rate_limit_tpm = 60")
        answer = completion()
        answer["usage"] = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        self.backend.script = lambda request, asked: answer
        self.assertEqual((await self.chat(**KEY_ONE)).code, 200)
        refused = await self.chat(**KEY_ONE)
        self.assertEqual((refused.code, refused.headers["retry-after"]), (429, "62"))

    async def test_a_prompt_that_never_fits(self) -> None:
        """Then no time is told after which it would."""
        self.start(more=ONE + "rate_limit_tpm = 10")
        got = await self.chat(messages=[{"role": "user", "content": "word " * 100}], **KEY_ONE)
        self.assertEqual(got.code, 429)
        self.assertNotIn("retry-after", got.headers)

    async def test_requests_at_once(self) -> None:
        """``max_concurrent`` counts until the last byte, or until the client leaves."""
        self.start(more=ONE + "max_concurrent = 1")
        self.backend.script = lambda request, asked: None
        waiting = ensureDeferred(self.chat(**KEY_ONE))
        await until(lambda: len(self.backend.asked) == 1)
        refused = await self.chat(**KEY_ONE)
        self.assertEqual((refused.code, refused.headers["retry-after"]), (429, "1"))
        self.assertEqual(refused.headers["x-lmg-error"], "too_many_concurrent")
        self.assertEqual(refused.headers["x-ratelimit-scope"], "client")
        waiting.addErrback(lambda failure: None)
        waiting.cancel()
        await until(lambda: len(self.backend.lost) == 1)
        self.backend.script = lambda request, asked: completion()
        self.assertEqual((await self.chat(**KEY_ONE)).code, 200)


class ScopeCases(GatewayCase):
    """Tests for limits of more than clients: L4.1, L4.6, D1 and D2."""

    def setUp(self) -> None:
        """Give two clients their keys."""
        super().setUp()
        self.environ |= {"KEY_ONE": "key-of-client-one", "KEY_TWO": "key-of-client-two"}
        self.told: list[dict[str, Any]] = []

    def listen(self) -> None:
        """Note what is told of limits."""
        assert self.service is not None
        self.service.resources.events.listen(
            lambda event: self.told.append(event.facts) if event.kind == "limit" else None
        )

    async def codes(self, count: int, **members: Any) -> list[int]:
        """Ask so often; give the statuses."""
        return [(await self.chat(**members)).code for _ in range(count)]

    async def test_L4_1_everyone_together(self) -> None:
        """Whoever asks, and from wherever."""
        self.start(more="[limits]\nrate_limit_rpm = 8\n" + ONE + TWO)
        self.assertEqual(await self.codes(3, **KEY_ONE), [200] * 3)
        self.assertEqual(await self.codes(2, **KEY_TWO), [200, 429])
        got = await self.chat(**KEY_ONE)
        self.assertEqual(got.headers["x-ratelimit-scope"], "global")

    async def test_L4_2_sliding_window(self) -> None:
        """The whole limit at once, and no more within the minute."""
        self.start(more='[limits]\nalgorithm = "sliding_window"\n' + ONE + "rate_limit_rpm = 4")
        self.assertEqual(await self.codes(5, **KEY_ONE), [200] * 4 + [429])
        got = await self.chat(**KEY_ONE)
        self.assertIn(int(got.headers["retry-after"]), range(55, 62))
        self.assertEqual(got.headers["x-ratelimit-policy"], "4;w=60")

    async def test_L4_6_overrides(self) -> None:
        """By path, model and profile; what an alias stands for is meant too."""
        override = '[[clients.limits]]\nmodel = "local:*"\nrate_limit_rpm = 2\n'
        self.start(more=ONE + "rate_limit_rpm = 8\n" + override)
        self.assertEqual(await self.codes(2, model="hint:fast", **KEY_ONE), [200, 429])
        self.assertEqual(await self.codes(1, model="local:fast", **KEY_ONE), [429])
        self.assertEqual(await self.codes(5, model="cloud:economy", **KEY_ONE), [200] * 4 + [429])

    async def test_L4_6_overrides_of_groups_and_of_everyone(self) -> None:
        """They are shared as the usual limits are."""
        self.start(
            more="[[limits.overrides]]\npath = '/api/*'\nrate_limit_rpm = 2\n"
            + '[groups.team]\n[[groups.team.limits]]\nprofile = "default"\nrate_limit_rpm = 6\n'
            + ONE + 'group = "team"\n' + TWO + 'group = "team"\n'
        )  # fmt: skip
        body = {"model": "hint:fast", "messages": MESSAGES, "stream": False}
        asked = [await self.ask("POST", "/api/chat", body, **key) for key in (KEY_ONE, KEY_TWO)]
        self.assertEqual([got.code for got in asked], [200, 429])
        self.assertEqual(await self.codes(1, **KEY_ONE), [200])
        self.assertEqual(await self.codes(2, **KEY_TWO), [200, 429])

    async def test_a_tier_is_limited_whoever_asks(self) -> None:
        """The next tier answers instead, as where a backend says that it has had enough."""
        text = 'name = "local:fast"\n'
        template = BASE.replace(text, text + "    rate_limit_rpm = 4\n")
        self.start(template)
        asked = [await self.chat("local:fast") for _ in range(3)]
        tiers = [got.headers["x-lmg-tier"] for got in asked]
        self.assertEqual(tiers, ["local:fast", "local:fast", "cloud:economy"])

    async def test_a_limited_tier_without_failover(self) -> None:
        """429, with a wait that is true; the client's own limit is given back."""
        text = 'name = "local:fast"\n'
        template = BASE.replace(text, text + "    rate_limit_rpm = 2\n")
        self.start(template, gateway="failover = false", more=ONE + "rate_limit_rpm = 8")
        codes = await self.codes(4, model="local:fast", **KEY_ONE)
        self.assertEqual(codes, [200, 429, 429, 429])
        got = await self.chat("local:fast", **KEY_ONE)
        self.assertEqual(got.headers["x-ratelimit-scope"], "tier")
        self.assertIn(int(got.headers["retry-after"]), (29, 30))
        self.assertEqual(await self.codes(3, model="cloud:economy", **KEY_ONE), [200] * 3)

    async def test_a_limited_tier_is_explained(self) -> None:
        """As a reason against it."""
        text = 'name = "local:fast"\n'
        self.start(BASE.replace(text, text + "    rate_limit_rpm = 1\n"))
        await self.chat("local:fast")
        body = {"model": "local:fast", "messages": MESSAGES}
        told = (await self.ask("POST", "/v1/route/explain", body)).json["candidates"]
        self.assertEqual([each["reasons"] for each in told], [["rate limited"], []])

    async def test_a_backend_is_limited_on_tokens(self) -> None:
        """What its answers took is counted for it."""
        self.start(backends="rate_limit_tpm = 20", gateway="failover = false")
        self.assertEqual(await self.codes(2), [200, 200])
        self.assertEqual(await self.codes(2, max_tokens=15), [429, 429])
        got = await self.chat(max_tokens=15)
        self.assertEqual(got.headers["x-ratelimit-scope"], "backend")

    async def test_cost_per_minute(self) -> None:
        """Once an answer cost more than the limit, the next waits until that is paid off."""
        priced = BASE.replace(
            'model = "fast-model"', 'model = "m"\n    price = {{ input = 1000, output = 0 }}'
        )
        answer = completion()
        answer["usage"] = {"prompt_tokens": 30, "completion_tokens": 0, "total_tokens": 30}
        self.backend.script = lambda request, asked: answer
        self.start(priced, more=ONE + "rate_limit_usd_per_minute = 0.02")
        self.assertEqual(await self.codes(1, model="local:fast", **KEY_ONE), [200])
        got = await self.chat("local:fast", **KEY_ONE)
        self.assertEqual((got.code, got.headers["retry-after"]), (429, "30"))
        self.assertEqual(got.headers["x-ratelimit-limit"], "0.02")
        self.assertEqual(got.headers["x-ratelimit-policy"], "0.02;w=60")
        me = (await self.ask("GET", "/v1/me", **KEY_ONE)).json["limits"]["cost"]
        self.assertEqual((me["limit"], me["remaining"]), (0.02, 0))

    async def test_addresses_may_be_limited_in_more_than_requests(self) -> None:
        """On tokens, say; a good answer tells what is left."""
        self.start(more="[limits.ip]\nrate_limit_tpm = 100")
        got = await self.chat(max_tokens=50)
        self.assertEqual(got.headers["x-ratelimit-limit-tokens"], "100")
        self.assertEqual(await self.codes(1, max_tokens=95), [429])

    async def test_shadow_mode(self) -> None:
        """Nobody is refused or told; the operator is, in the traffic log and by an event."""
        self.start(more=ONE + "rate_limit_rpm = 2\nenforce = false")
        self.listen()
        asked = [await self.chat(**KEY_ONE) for _ in range(3)]
        self.assertEqual([got.code for got in asked], [200] * 3)
        told = [name for got in asked for name in got.headers if "ratelimit" in name]
        self.assertEqual(told, [])
        marks = [entry.get("over_limits") for entry in await self.entries()]
        self.assertEqual(marks, [["client:requests"], ["client:requests"], None])
        self.assertEqual([each["enforced"] for each in self.told], [False, False])
        self.assertEqual({each["client"] for each in self.told}, {"one"})

    async def test_shadow_mode_for_all(self) -> None:
        """Even for addresses, at the door."""
        self.start(gateway="rate_limit_rpm = 1", more="[limits]\nenforce = false")
        self.listen()
        self.assertEqual(await self.codes(3), [200] * 3)
        self.assertEqual([each["scope"] for each in self.told], ["ip", "ip"])

    async def test_refusals_are_told_to_the_operator(self) -> None:
        """Whose limit it was, of what, and who ran into it."""
        self.start(more=ONE + "rate_limit_rpm = 1")
        self.listen()
        await self.codes(2, **KEY_ONE)
        (told,) = self.told
        self.assertEqual(
            (told["scope"], told["name"], told["limit"]), ("client", "one", "requests")
        )
        self.assertEqual((told["enforced"], told["client"]), (True, "one"))


class WrongKeyCases(GatewayCase):
    """Tests for row 44: many wrong keys."""

    def setUp(self) -> None:
        """Give the client its key."""
        super().setUp()
        self.environ["KEY_ONE"] = "key-of-client-one"

    def wrong(self, number: int) -> dict[str, Any]:
        """Show a wrong key."""
        return {"Authorization": f"Bearer guess-{number}"}

    async def test_row_44_many_wrong_keys(self) -> None:
        """429 from the sixth in a minute on; a good key works, from here and from elsewhere."""
        self.start(more=ONE)
        codes = [(await self.chat(**self.wrong(number))).code for number in range(8)]
        self.assertEqual(codes, [401] * 5 + [429] * 3)
        got = await self.chat(**self.wrong(9))
        self.assertIn(int(got.headers["retry-after"]), (11, 12))
        self.assertEqual((await self.chat(**KEY_ONE)).code, 200)
        self.http = HTTPClient(Agent(reactor, self.pool, bindAddress=("127.0.0.2", 0)))
        self.assertEqual((await self.chat(**KEY_ONE)).code, 200)
        self.assertEqual((await self.chat(**self.wrong(1))).code, 401)

    async def test_row_44_no_body_is_read(self) -> None:
        """A flood costs its senders more than the gateway."""
        self.start(more=ONE)
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer guess\r\n"
            "Content-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n"
        )
        for expected in [b"401"] * 5 + [b"429"]:
            answer = await self.raw(head.encode())
            self.assertEqual(answer.split()[1], expected)

    async def raw(self, head: bytes) -> bytes:
        """Send a head, and nothing of its body; give the answer's first line."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.client_port)
        lines: FirstLine = await connectProtocol(endpoint, FirstLine(head))
        line = await lines.line
        assert lines.transport is not None
        lines.transport.loseConnection()
        return line

    async def test_missing_keys_do_not_count(self) -> None:
        """Nobody guesses by showing none."""
        self.start(more=ONE)
        self.assertEqual([(await self.chat()).code for _ in range(8)], [401] * 8)

    async def test_another_number(self) -> None:
        """0 is any."""
        self.start(more="[limits]\nwrong_keys_per_minute = 0\n" + ONE)
        codes = [(await self.chat(**self.wrong(number))).code for number in range(8)]
        self.assertEqual(codes, [401] * 8)


class FirstLine(LineOnlyReceiver):
    """Sends something; keeps the first line of the answer, and leaves."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.line: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        """Send it."""
        assert self.transport is not None
        self.transport.write(self._data)

    def lineReceived(self, line: bytes) -> None:
        """Keep the first line."""
        if not self.line.called:
            self.line.callback(line)
