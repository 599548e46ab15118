"""Requests that are made once: ``Idempotency-Key`` and single flight (C10, row 21 of the peers)."""

from __future__ import annotations

import json
from typing import Any

from treq.content import collect

from lmgateway.surfaces import flights
from tests.fakes import DONE, LONG, STREAM, Asked, chunk, completion, hang, status, turns, until
from tests.harness import GatewayCase, Got, ensureDeferred

MESSAGES = [{"role": "user", "content": "hi"}]
SINGLE = "single_flight = true"


class SharedCase(GatewayCase):
    """Asks the same more than once."""

    async def keyed(self, key: str = "k-1", path: str = "/v1/chat/completions", **more: Any) -> Got:
        """Ask with a key; members that begin with an upper-case letter are headers."""
        headers = {name: more.pop(name) for name in list(more) if name[0].isupper()}
        body = {"model": "hint:fast", "messages": MESSAGES, **more}
        if key:
            headers["Idempotency_Key"] = key
        return await self.ask("POST", path, body, **headers)

    async def open(self, key: str = "k-1", **more: Any) -> tuple[Any, list[bytes], Any]:
        """Begin a streamed request; give the response, what comes of it, and its end."""
        headers: dict[str, Any] = {"Idempotency_Key": key} if key else {}
        body = {"model": "hint:fast", "messages": MESSAGES, "stream": True, **more}
        response = await self.begin("POST", "/v1/chat/completions", body, **headers)
        got: list[bytes] = []
        done = collect(response, got.append)
        done.addErrback(lambda failure: got.append(b"<cut>"))
        return response, got, done

    def clients(self, limits: str = "") -> None:
        """Serve two clients."""
        self.environ = {"KEY_A": "sk-a", "KEY_B": "sk-b"}
        self.start(more=CLIENTS.format(limits=limits))

    def numbered(self) -> None:
        """Let the backend give another answer each time."""
        self.backend.script = lambda request, asked: completion(f"{LONG} {len(self.backend.asked)}")

    async def recorded(self, count: int) -> list[dict[str, Any]]:
        """Give the traffic entries once there are so many, the oldest first."""
        assert self.service is not None
        traffic = self.service.resources.traffic
        await until(lambda: traffic.total >= count)
        entries = (await self.entries())[::-1]
        self.assertEqual(len(entries), count)
        return entries

    @property
    def kept(self) -> Any:
        """What the gateway keeps."""
        assert self.service is not None
        return self.service.resources.flights


class IdempotencyCases(SharedCase):
    """The header ``Idempotency-Key``."""

    async def test_C10_same_key_and_body_is_one_call(self) -> None:
        """Asking again gives the very bytes, and asks no backend."""
        self.start()
        self.numbered()
        first, second = await self.keyed(), await self.keyed()
        self.assertEqual((first.code, first.body), (second.code, second.body))
        self.assertEqual(len(self.backend.asked), 1)
        self.assertNotIn("idempotent-replayed", first.headers)
        self.assertEqual(second.headers["idempotent-replayed"], "true")
        self.assertEqual(second.headers["x-lmg-cache"], "idempotent")
        self.assertEqual(second.headers["x-lmg-tier"], first.headers["x-lmg-tier"])
        self.assertNotEqual(second.headers["x-request-id"], first.headers["x-request-id"])

    async def test_C10_it_is_recorded_and_not_paid_for(self) -> None:
        """Each request has one record; the one that was not made is marked, and costs nothing."""
        self.clients()
        for _ in range(2):
            await self.keyed(model="priced", Authorization="Bearer sk-a")
        first, second = await self.recorded(2)
        self.assertEqual((first["cache"], second["cache"]), (None, "idempotent"))
        self.assertEqual((first["outcome"], second["outcome"]), ("ok", "ok"))
        self.assertEqual((len(first["attempts"]), len(second["attempts"])), (1, 0))
        self.assertGreater(first["cost_usd"], 0)
        self.assertEqual(second["cost_usd"], 0)
        self.assertEqual(second["backend"], "mock")
        self.assertEqual(second["bytes_out"], first["bytes_out"])

    async def test_C10_it_counts_as_a_request(self) -> None:
        """A limit of requests counts those that were answered from what was kept, too."""
        self.clients("rate_limit_rpm = 2\n    burst = 2")
        codes = [(await self.keyed(Authorization="Bearer sk-a")).code for _ in range(3)]
        self.assertEqual(codes, [200, 200, 429])

    async def test_C10_another_body_is_refused(self) -> None:
        """One key is for one request: another body or path is a 422 in the caller's format."""
        self.start()
        await self.keyed()
        got = await self.keyed(temperature=1)
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (422, "idempotency_conflict"))
        self.assertEqual(got.json["error"]["param"], "Idempotency-Key")
        got = await self.keyed(path="/v1/messages", max_tokens=9)
        self.assertEqual((got.code, got.json["type"]), (422, "error"))
        got = await self.keyed(path="/api/chat")
        self.assertEqual(got.code, 422)
        self.assertIsInstance(got.json["error"], str)
        self.assertEqual(len(self.backend.asked), 1)
        self.assertEqual(len(await self.recorded(4)), 4)

    async def test_C10_keys_are_each_clients_own(self) -> None:
        """Two clients with the same key ask for themselves."""
        self.clients()
        self.numbered()
        got = [await self.keyed(Authorization=f"Bearer sk-{who}") for who in "aba"]
        self.assertEqual(len(self.backend.asked), 2)
        self.assertNotEqual(got[0].body, got[1].body)
        self.assertEqual(got[0].body, got[2].body)

    async def test_C10_bad_keys_are_refused(self) -> None:
        """A key is short and printable, or it is no key."""
        self.start()
        for key in ("x" * 256, "tab\tin it", "ü"):
            got = await self.keyed(key)
            self.assertEqual((got.code, got.json["error"]["param"]), (400, "Idempotency-Key"), key)
        self.assertEqual((await self.keyed("x" * 255)).code, 200)
        self.assertEqual(len(self.backend.asked), 1)

    async def test_C10_failures_are_not_kept(self) -> None:
        """What may go better the next time is asked again."""
        self.start(gateway="health_window = 0\nfailover = false")
        for failing in (status(429), status(503), status(500), status(400)):
            self.backend.script = turns(failing, lambda request, asked: completion())
            key = f"k-{len(self.backend.asked)}"
            self.assertGreaterEqual((await self.keyed(key)).code, 400)
            got = await self.keyed(key)
            self.assertEqual(got.code, 200)
            self.assertNotIn("idempotent-replayed", got.headers)
        self.assertEqual((await self.keyed("bad", messages=7)).code, 400)
        self.assertEqual((await self.keyed("bad")).code, 200)

    async def test_C10_friendly_failures_are_not_kept(self) -> None:
        """An apology with status 200 is a failure all the same."""
        self.start(gateway='error_style = "friendly"\nfailover = false')
        self.backend.script = turns(status(500), lambda request, asked: completion())
        self.assertIn("Sorry", (await self.keyed()).text)
        self.assertEqual((await self.keyed()).text, LONG)

    async def test_C10_streams_are_replayed(self) -> None:
        """A stream that has ended is given again, from its beginning."""
        self.start()
        self.backend.script = lambda request, asked: STREAM
        first, second = await self.keyed(stream=True), await self.keyed(stream=True)
        self.assertEqual(first.body, second.body)
        self.assertTrue(first.body.endswith(DONE))
        self.assertEqual(second.headers["content-type"], "text/event-stream")
        self.assertEqual(len(self.backend.asked), 1)

    async def test_C10_a_stream_under_way_is_joined(self) -> None:
        """Who asks while the stream lasts gets it from the start, and then as it comes."""
        self.start()
        self.backend.script = half
        _, first, first_done = await self.open()
        await until(lambda: b"Hello" in b"".join(first))
        response, second, second_done = await self.open()
        self.assertEqual(response.headers.getRawHeaders("idempotent-replayed"), ["true"])
        await until(lambda: b"Hello" in b"".join(second))
        self.finish(0)
        await first_done
        await second_done
        self.assertEqual(b"".join(first), b"".join(second))
        self.assertTrue(b"".join(first).endswith(DONE))
        self.assertEqual(len(self.backend.asked), 1)

    async def test_C10_a_whole_answer_under_way_is_waited_for(self) -> None:
        """Two at once are one call, and both are answered."""
        self.start()
        self.backend.script = hang
        asked = [self.ask("POST", "/v1/chat/completions", BODY, Idempotency_Key="k") for _ in "ab"]
        both = [ensure(coroutine) for coroutine in asked]
        await until(lambda: in_flight(self) == 2 and len(self.backend.asked) == 1)
        self.answer(0)
        first, second = [await one for one in both]
        self.assertEqual((first.code, first.body), (200, second.body))
        self.assertEqual(len(self.backend.asked), 1)

    async def test_C10_each_waits_as_long_as_it_will(self) -> None:
        """Who shortens the deadline is told in time, and the others are answered."""
        self.start()
        self.backend.script = hang
        first = ensure(self.keyed())
        await until(lambda: len(self.backend.asked) == 1)
        second = await self.keyed(X_LMG_Deadline="50")
        self.assertEqual((second.code, second.headers["x-lmg-error"]), (504, "backend_timeout"))
        self.answer(0)
        self.assertEqual((await first).code, 200)
        self.assertEqual(readers(self), 0)
        entries = await self.recorded(2)
        self.assertEqual([entry["outcome"] for entry in entries], ["backend_timeout", "ok"])

    async def test_C10_the_last_who_waits_is_told_at_its_deadline(self) -> None:
        """The first client has left: nobody is answered any more, and the backend is let go."""
        self.start()
        self.backend.script = hang
        first = ensure(self.keyed())
        await until(lambda: len(self.backend.asked) == 1)
        second = ensure(self.keyed(X_LMG_Deadline="500"))
        await until(lambda: readers(self) == 2)
        first.cancel()
        await until(lambda: readers(self) == 1)
        got = await second
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (504, "backend_timeout"))
        await until(lambda: self.backend.lost == [0])
        self.assertEqual((len(self.kept), self.kept.held), (0, 0))
        self.failureResultOf(first)

    async def test_C10_a_bad_deadline_is_refused_as_ever(self) -> None:
        """It is so for who is answered from what was kept, too."""
        self.start()
        await self.keyed()
        self.assertEqual((await self.keyed(X_LMG_Deadline="60000")).code, 200)
        got = await self.keyed(X_LMG_Deadline="soon")
        self.assertEqual((got.code, got.json["error"]["param"]), (400, "X-LMG-Deadline"))

    async def test_C10_the_work_goes_on_for_who_stays(self) -> None:
        """The first client leaves; the second has the answer all the same."""
        self.start()
        self.backend.script = half
        first, got, _ = await self.open()
        await until(lambda: bool(got))
        _, second, done = await self.open()
        await until(lambda: bool(second))
        first.original._transport.loseConnection()
        await until(lambda: in_flight(self) == 2 and readers(self) == 1)
        self.assertEqual(self.backend.lost, [])
        self.finish(0)
        await done
        self.assertTrue(b"".join(second).endswith(DONE))
        self.assertEqual([entry["outcome"] for entry in await self.recorded(2)], ["ok", "ok"])

    async def test_C10_the_last_who_leaves_ends_the_work(self) -> None:
        """Nobody is left: the backend is let go, and nothing is kept."""
        self.start()
        self.backend.script = half
        opened = [await self.open() for _ in range(2)]
        await until(lambda: all(got for _, got, _ in opened))
        for response, _, _ in opened:
            response.original._transport.loseConnection()
        await until(lambda: self.backend.lost == [0])
        entries = await self.recorded(2)
        self.assertEqual([entry["outcome"] for entry in entries], ["client_closed"] * 2)
        self.assertEqual((len(self.kept), self.kept.held), (0, 0))

    async def test_C10_a_broken_stream_is_told_to_all_and_not_kept(self) -> None:
        """Both see the failure, and asking again asks again."""
        self.start(gateway="failover = false")
        self.backend.script = half
        opened = [await self.open() for _ in range(2)]
        await until(lambda: all(got for _, got, _ in opened))
        self.backend.cut(0)
        for _, got, done in opened:
            await done
            self.assertIn(b"stream_interrupted", b"".join(got))
            self.assertEqual(got[-1], b"<cut>")
        outcomes = [entry["outcome"] for entry in await self.recorded(2)]
        self.assertEqual(outcomes, ["stream_interrupted"] * 2)
        self.backend.script = lambda request, asked: STREAM
        _, got, done = await self.open()
        await done
        self.assertTrue(b"".join(got).endswith(DONE))

    async def test_C10_a_shared_failure_is_told_to_all(self) -> None:
        """Who waited for what failed is told so in full."""
        self.start(gateway="failover = false")
        self.backend.script = hang
        both = [ensure(self.keyed()) for _ in range(2)]
        await until(lambda: in_flight(self) == 2 and len(self.backend.asked) == 1)
        self.backend.cut(0)
        for one in both:
            got = await one
            self.assertEqual((got.code, got.headers["x-lmg-error"]), (502, "backend_unavailable"))
        self.assertEqual(len(self.kept), 0)

    async def test_C10_an_operator_ends_it_for_all(self) -> None:
        """The exchange that works for several is ended for all of them."""
        self.start()
        self.backend.script = half
        opened = [await self.open() for _ in range(2)]
        await until(lambda: all(got for _, got, _ in opened))
        listed = (await self.ask("GET", "/admin/inflight", admin=True)).json["in_flight"]
        (worker,) = [one["id"] for one in listed if one["tier"]]
        await self.ask("POST", f"/admin/inflight/{worker}/cancel", admin=True)
        for _, got, done in opened:
            await done
            self.assertIn(b"cancelled_by_operator", b"".join(got))
        await until(lambda: self.backend.lost == [0])
        self.assertEqual({e["outcome"] for e in await self.recorded(2)}, {"cancelled_by_operator"})

    async def test_C10_it_is_counted(self) -> None:
        """The metrics say what is kept, and how often that was of use."""
        self.start()
        for _ in range(3):
            await self.keyed()
        text = (await self.ask("GET", "/metrics", admin=True)).body.decode()
        self.assertIn('lmg_replays_total{kind="idempotent"} 2', text)
        self.assertIn("lmg_kept_answers 1", text)
        self.assertIn(f"lmg_kept_bytes {self.kept.held}", text)

    async def test_C10_it_is_not_passed_on(self) -> None:
        """The key means nothing to a backend, and none is sent it."""
        self.start(gateway="idempotency_window_ms = 0")
        await self.keyed()
        self.assertNotIn("idempotency-key", self.backend.asked[0].headers)

    async def test_C10_a_crowd_is_turned_away(self) -> None:
        """Only so many may wait for one answer; a later one is told to come back."""
        self.start()
        self.patch(flights, "MAX_READERS", 2)
        self.backend.script = hang
        both = [ensure(self.keyed()) for _ in range(2)]
        await until(lambda: in_flight(self) == 2 and len(self.backend.asked) == 1)
        got = await self.keyed()
        self.assertEqual((got.code, got.headers["retry-after"]), (503, "1"))
        self.answer(0)
        for one in both:
            self.assertEqual((await one).code, 200)
        self.assertEqual((await self.keyed()).code, 200)

    async def test_C10_pages_of_other_origins(self) -> None:
        """A replay lets in whom this request lets in, not whom the first one did."""
        self.start(gateway='cors_origins = ["http://one.example", "http://two.example"]')
        await self.keyed(Origin="http://one.example")
        got = await self.keyed(Origin="http://two.example")
        self.assertEqual(got.headers["access-control-allow-origin"], "http://two.example")
        self.assertIn("idempotent-replayed", got.headers["access-control-expose-headers"])
        got = await self.keyed(Origin="http://evil.example")
        self.assertNotIn("access-control-allow-origin", got.headers)

    async def test_C10_it_can_be_switched_off(self) -> None:
        """A window of 0 ignores the header."""
        self.start(gateway="idempotency_window_ms = 0")
        self.numbered()
        self.assertNotEqual((await self.keyed()).body, (await self.keyed()).body)

    async def test_C10_it_outlives_a_reload(self) -> None:
        """What was kept under the old config is given under the new one."""
        service = self.start()
        self.numbered()
        first = await self.keyed()
        self.write(profile='reply_message = "unused"')
        service.reload()
        self.assertEqual((await self.keyed()).body, first.body)
        self.write(gateway="idempotency_max_bytes = 1")
        service.reload()
        self.assertEqual(self.kept.held, 0)
        self.assertNotEqual((await self.keyed()).body, first.body)

    async def test_C10_an_explanation_is_no_answer(self) -> None:
        """What would be done is looked up each time."""
        self.start()
        for _ in range(2):
            got = await self.keyed(path="/v1/route/explain")
            self.assertNotIn("idempotent-replayed", got.headers)

    async def test_C10_the_gateway_stops(self) -> None:
        """At the end of the drain everyone is told, as ever."""
        service = self.start(gateway="drain_timeout_ms = 50")
        self.backend.script = half
        opened = [await self.open() for _ in range(2)]
        await until(lambda: all(got for _, got, _ in opened))
        await service.drain()
        for _, got, done in opened:
            await done
            self.assertIn(b"draining", b"".join(got))
            self.assertEqual(got[-1], b"<cut>")

    def finish(self, number: int) -> None:
        """Have the backend end a stream."""
        request = self.backend.requests[number]
        request.write(chunk({}, "stop") + DONE)
        request.finish()

    def answer(self, number: int) -> None:
        """Have the backend answer what it was asked."""
        request = self.backend.requests[number]
        request.setHeader("content-type", "application/json")
        request.write(json.dumps(completion()).encode())
        request.finish()


class PaceCases(SharedCase):
    """Readers of one answer, each as fast as it likes."""

    MANY = 400

    def flood(self) -> None:
        """Let the backend stream more than sockets hold."""
        part = chunk({"content": "x" * 65536})
        self.whole = len(part) * self.MANY
        request = self.backend.requests[0]
        for _ in range(self.MANY):
            request.write(part)
        request.write(chunk({}, "stop") + DONE)
        request.finish()

    async def begun(self) -> Any:
        """Ask for the stream, and get its beginning; the rest is left unread."""
        self.backend.script = half
        body = {**BODY, "stream": True}
        path = "/v1/chat/completions"
        return await self.begin("POST", path, body, Idempotency_Key="k")

    @property
    def tape(self) -> Any:
        """The one answer."""
        (flight,) = self.kept._flights.values()
        return flight.tape

    async def test_C10_one_slow_reader_holds_the_backend_up(self) -> None:
        """Alone, it gets no more than it takes: the rest stays with the backend."""
        self.start()
        slow = await self.begun()
        self.flood()
        await until(lambda: bool(self.tape._paused), 10)
        self.assertLess(self.tape.size, self.whole)
        self.assertLessEqual(self.tape.held, 9 * 1024 * 1024)
        await self.hung_up(slow)

    async def test_C10_the_gateway_stops_while_one_reads_slowly(self) -> None:
        """Who has not read it all by the deadline never gets a short answer that looks whole."""
        service = self.start(gateway="drain_timeout_ms = 50\nidempotency_max_bytes = 1073741824")
        slow, fast = await self.begun(), await self.begun()
        self.flood()
        quickly = b"".join(await read(fast))
        draining, slowly = service.drain(), await read(slow)
        await draining
        if slowly[-1] != b"<cut>":
            self.assertEqual(b"".join(slowly), quickly)

    async def test_C10_a_slow_reader_holds_nobody_up(self) -> None:
        """The other one reads on; the slow one has it all from what is kept."""
        self.start(gateway="idempotency_max_bytes = 1073741824")
        slow, fast = await self.begun(), await self.begun()
        self.flood()
        quickly = b"".join(await read(fast))
        self.assertGreater(len(quickly), self.whole)
        self.assertEqual(b"".join(await read(slow)), quickly)
        self.assertEqual([entry["outcome"] for entry in await self.recorded(2)], ["ok", "ok"])

    async def test_C10_a_reader_too_slow_is_cut_off(self) -> None:
        """Where so much cannot be kept, who stays far behind loses the answer, and sees it."""
        self.start(gateway="idempotency_max_bytes = 1000000")
        slow, fast = await self.begun(), await self.begun()
        self.flood()
        tape, held = self.tape, list[int]()
        taken = await read(fast, lambda: held.append(tape.held))
        self.assertTrue(b"".join(taken).endswith(DONE))
        self.assertLess(max(held), 3 * 1024 * 1024)
        self.assertEqual((await read(slow))[-1], b"<cut>")
        self.assertEqual((len(self.kept), self.kept.held), (0, 0))

    async def hung_up(self, response: Any) -> None:
        """Leave, and wait until the gateway has noticed."""
        response.original._transport.loseConnection()
        await self.recorded(1)


class SingleFlightCases(SharedCase):
    """``single_flight = true``."""

    async def both(self, *bodies: dict[str, Any], calls: int) -> list[Got]:
        """Ask at the same time, and have the *calls* that are made for it answered."""
        self.backend.script = hang
        path = "/v1/chat/completions"
        asked = [ensure(self.ask("POST", path, body)) for body in bodies]
        await until(lambda: in_flight(self) == len(bodies) and len(self.backend.asked) == calls)
        for number, request in enumerate(self.backend.requests):
            request.setHeader("content-type", "application/json")
            request.write(json.dumps(completion(f"{LONG} {number}")).encode())
            request.finish()
        return [await one for one in asked]

    async def test_identical_requests_at_one_time_are_one(self) -> None:
        """The second waits for the first one's answer; a third, later, asks again."""
        self.start(profile=SINGLE)
        first, second = await self.both(BODY, BODY, calls=1)
        self.assertEqual(first.body, second.body)
        marks = {first.headers.get("x-lmg-cache"), second.headers.get("x-lmg-cache")}
        self.assertEqual(marks, {None, "single_flight"})
        self.assertNotIn("idempotent-replayed", second.headers)
        self.assertEqual({e["cache"] for e in await self.recorded(2)}, {None, "single_flight"})
        self.backend.script = lambda request, asked: completion()
        self.assertEqual((await self.keyed("")).text, LONG)
        self.assertEqual(len(self.backend.asked), 2)

    async def test_only_where_the_profile_says_so(self) -> None:
        """By default each request is its own."""
        self.start()
        await self.both(BODY, BODY, calls=2)

    async def test_other_requests_are_others(self) -> None:
        """Another body is another request."""
        self.start(profile=SINGLE)
        await self.both(BODY, {**BODY, "temperature": 1}, calls=2)

    async def test_malformed_requests_are_refused_as_ever(self) -> None:
        """What cannot be read is not looked for either."""
        self.start(profile=SINGLE)
        self.assertEqual((await self.chat(messages=7)).code, 400)
        self.assertEqual(len(await self.recorded(1)), 1)


BODY: dict[str, Any] = {"model": "hint:fast", "messages": MESSAGES}
CLIENTS = """
    [[tiers]]
    name = "priced"
    backend = "mock"
    model = "m"
    price = {{ input = 1000.0, output = 1000.0 }}
    [[clients]]
    name = "a"
    key_env = "KEY_A"
    profile = "default"
    allow_models = ["*"]
    {limits}
    [[clients]]
    name = "b"
    key_env = "KEY_B"
    profile = "default"
"""


def half(request: Any, asked: Asked) -> None:
    """Begin a stream, and leave it there."""
    request.setHeader("content-type", "text/event-stream")
    request.write(STREAM[0] + STREAM[1])


def in_flight(case: SharedCase) -> int:
    """Say how many requests are being served."""
    assert case.service is not None
    return case.service.resources.traffic.in_flight


def readers(case: SharedCase) -> int:
    """Say how many clients read the one answer under way."""
    (flight,) = case.kept._flights.values()
    return int(flight.tape.readers)


def ensure(coroutine: Any) -> Any:
    """Have a coroutine run at once."""
    return ensureDeferred(coroutine)


async def read(response: Any, each: Any = bool) -> list[bytes]:
    """Read a body to its end, however it ends."""
    got: list[bytes] = []

    def take(data: bytes) -> None:
        got.append(data)
        each()

    try:
        await collect(response, take)
    except Exception:
        got.append(b"<cut>")
    return got
