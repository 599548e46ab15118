"""Traces go through the gateway, whatever is answered."""

from __future__ import annotations

from tests.fakes import completion, status, turns
from tests.harness import GatewayCase

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class TracingTests(GatewayCase):
    """See ``lmgateway.wire.trace``."""

    async def test_L9_2_context_goes_to_the_backend_and_the_records(self) -> None:
        """The backend is told the client's trace under a span of each attempt's own."""
        self.backend.script = turns(status(503), lambda request, asked: completion())
        self.start(gateway="max_retries = 1\nretry_delay_ms = 1")
        await self.chat(Traceparent=PARENT, Tracestate="a=1")
        first, second = (asked.headers for asked in self.backend.asked)
        self.assertEqual(first["tracestate"], "a=1")
        told = [headers["traceparent"].split("-") for headers in (first, second)]
        self.assertEqual([parts[1] for parts in told], [TRACE, TRACE])
        (entry,) = await self.entries()
        self.assertEqual(entry["trace_id"], TRACE)
        spans = {entry["span_id"], *(parts[2] for parts in told), "b7ad6b7169203331"}
        self.assertEqual(len(spans), 4)

    async def test_a_trace_begins_here(self) -> None:
        """Without a context of the client's the backend and the records get one of ours."""
        self.start()
        await self.chat()
        _, trace, _, flags = self.backend.asked[0].headers["traceparent"].split("-")
        (entry,) = await self.entries()
        self.assertEqual((entry["trace_id"], flags), (trace, "00"))
        self.assertNotIn("tracestate", self.backend.asked[0].headers)

    async def test_L9_5_refusals_are_in_the_trace(self) -> None:
        """A request that is refused at the door is recorded with its trace."""
        self.environ["KEY"] = "k"
        self.start(more='[[clients]]\nkey_env = "KEY"\nprofile = "default"')
        got = await self.chat(Traceparent=PARENT)
        self.assertEqual(got.code, 401)
        (entry,) = await self.entries()
        self.assertEqual(entry["trace_id"], TRACE)
