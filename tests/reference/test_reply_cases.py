"""R-Y: reply mode, over HTTP."""

from __future__ import annotations

from tests.harness import GatewayCase


class ReplyCases(GatewayCase):
    """Tests for answers that the operator wrote."""

    def serve(self, message: str = 'reply_message = "Closed today."') -> None:
        """Serve a profile ``closed`` that replies."""
        self.start(more=f'[profiles.closed]\nmode = "reply"\n{message}')

    async def test_R_Y01_reply(self) -> None:
        """The message is the answer, and no backend is asked."""
        self.serve()
        got = await self.chat("closed")
        self.assertEqual((got.code, got.text), (200, "Closed today."))
        self.assertEqual((got.json["id"], got.json["model"]), ("reply", "reply"))
        self.assertEqual(got.json["usage"]["total_tokens"], 0)
        self.assertEqual(got.headers["x-lmg-tier"], "reply")
        self.assertNotIn("x-lmg-model", got.headers)
        self.assertEqual(self.backend.asked, [])
        (entry,) = await self.entries()
        self.assertEqual(
            (entry["routing_mode"], entry["tier"], entry["backend"], entry["success"]),
            ("reply", "reply", "none", True),
        )

    async def test_R_Y02_default_text(self) -> None:
        """There is a text where none is configured."""
        self.serve("")
        self.assertGreater(len((await self.chat("closed")).text), 10)

    async def test_R_Y03_streamed(self) -> None:
        """Streamed, it is one chunk and the end."""
        self.serve()
        got = await self.chat("closed", stream=True)
        self.assertEqual(got.headers["content-type"], "text/event-stream")
        first, end, rest = got.body.split(b"\n\n")
        self.assertIn(b'"content":"Closed today."', first)
        self.assertEqual((end, rest), (b"data: [DONE]", b""))

    async def test_R_Y04_ollama(self) -> None:
        """An Ollama client gets it in its own grammar."""
        self.serve()
        body = {
            "model": "closed:latest",
            "stream": False,
            "messages": [{"role": "user", "content": "hi"}],
        }
        got = await self.ask("POST", "/api/chat", body)
        self.assertEqual(got.json["message"]["content"], "Closed today.")
        self.assertEqual((got.json["model"], got.json["done"]), ("closed:latest", True))
