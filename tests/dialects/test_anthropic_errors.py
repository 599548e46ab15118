"""Tests of Anthropic's error envelope, both ways."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmgateway import backend_errors, errors
from lmgateway.backend_errors import (
    BackendError,
    BackendFailed,
    BackendLimited,
    BackendOverloaded,
    BackendTimeout,
    ContextExceeded,
    CredentialRefused,
    Rejected,
)
from lmgateway.chat import Document
from lmgateway.dialects.anthropic import ANTHROPIC
from lmgateway.dialects.document import encode
from lmgateway.errors import GatewayError
from lmgateway.exchange import Attempt

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
LATER = b"Sun, 06 Nov 1994 08:50:07 GMT"


def written(error: GatewayError) -> Document:
    """Give the envelope of an error."""
    envelope: Document = json.loads(ANTHROPIC.write_error(error, "req_1"))
    return envelope


def read(status: int, kind: str = "", message: Any = "Told.", **headers: bytes) -> BackendError:
    """Read a refusal."""
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    body = encode({"type": "error", "error": {"type": kind, "message": message}})
    return ANTHROPIC.read_error(status, named, body)


class WriteTests(SynchronousTestCase):
    """What a client is told."""

    def test_types(self) -> None:
        """Each status has the type that Anthropic gives it."""
        for error, kind in (
            (errors.MalformedRequest(), "invalid_request_error"),
            (errors.Unauthenticated(), "authentication_error"),
            (errors.BudgetExhausted(), "billing_error"),
            (errors.Forbidden(), "permission_error"),
            (errors.UnknownModel(), "not_found_error"),
            (errors.MethodNotAllowed(), "invalid_request_error"),
            (errors.RequestTooLarge(), "request_too_large"),
            (errors.Unsupported(), "invalid_request_error"),
            (errors.RateLimited(), "rate_limit_error"),
            (backend_errors.BackendLimited(), "rate_limit_error"),
            (errors.GatewayError(), "api_error"),
            (backend_errors.BackendFailed(), "api_error"),
            (errors.LadderExhausted(), "overloaded_error"),
            (errors.Overloaded(), "overloaded_error"),
            (backend_errors.BackendTimeout(), "timeout_error"),
            (backend_errors.Rejected(status=409), "invalid_request_error"),
        ):
            with self.subTest(type(error).__name__):
                self.assertEqual(written(error)["error"]["type"], kind)

    def test_envelope(self) -> None:
        """The envelope says what, where, who is to blame, and what was tried."""
        error = errors.MalformedRequest("Wrong.", param="messages[0].role")
        self.assertEqual(
            written(error),
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "Wrong.",
                    "origin": "client",
                    "attempts": [],
                    "param": "messages[0].role",
                },
                "request_id": "req_1",
            },
        )

    def test_attempts(self) -> None:
        """What was tried is listed, without times or money."""
        error = errors.LadderExhausted()
        error.attempts = [
            Attempt(tier="t", backend="b", model="m", started=1.0, outcome="x", status=500)
        ]
        told = written(error)["error"]
        self.assertEqual(
            told["attempts"],
            [{"tier": "t", "backend": "b", "model": "m", "outcome": "x", "status": 500}],
        )
        self.assertNotIn("param", told)


class ReadTests(SynchronousTestCase):
    """What a backend's refusal means."""

    def test_statuses(self) -> None:
        """Each status has its error."""
        for status, kind in (
            (400, Rejected),
            (401, CredentialRefused),
            (402, BackendFailed),
            (403, CredentialRefused),
            (404, Rejected),
            (405, Rejected),
            (408, BackendTimeout),
            (409, BackendFailed),
            (413, Rejected),
            (422, Rejected),
            (425, BackendFailed),
            (429, BackendLimited),
            (500, BackendFailed),
            (502, BackendFailed),
            (503, BackendOverloaded),
            (504, BackendTimeout),
            (529, BackendOverloaded),
        ):
            with self.subTest(status):
                self.assertIs(type(read(status)), kind)

    def test_message_is_relayed(self) -> None:
        """The client sees what it can act on, and so much of it only."""
        for status in (400, 404, 413, 422):
            error = read(status)
            self.assertEqual((str(error), error.status), ("Told.", status))
        self.assertEqual(len(str(read(400, message="x" * 10_000))), 2000)

    def test_message_is_not_relayed(self) -> None:
        """Nobody but the operator is told of our credentials, our bill, or the backend's woes."""
        for status in (401, 402, 403, 405, 408, 409, 429, 500, 503, 529):
            self.assertNotIn("Told.", str(read(status)))
        error = read(400, message="Your credit balance is too low to access the Anthropic API.")
        self.assertIs(type(error), BackendFailed)
        self.assertNotIn("credit", str(error))

    def test_prompt_too_long(self) -> None:
        """A prompt that is too long may fit elsewhere."""
        for status, message in (
            (400, "prompt is too long: 210000 tokens > 200000 maximum"),
            (400, "input length and `max_tokens` exceed context limit: 199759 + 8192 > 200000"),
            (413, "Prompt is too long"),
        ):
            error = read(status, "invalid_request_error", message)
            self.assertIsInstance(error, ContextExceeded)
            self.assertEqual(str(error), message)
            self.assertEqual(error.status, 400)

    def test_retry_after(self) -> None:
        """Seconds, or a date by the backend's own clock."""
        for status in (429, 503, 529):
            self.assertEqual(read(status, retry_after=b"2.5").retry_after, 2.5)
            self.assertEqual(read(status, retry_after=LATER, date=DATE).retry_after, 30.0)
            self.assertEqual(read(status, retry_after=DATE, date=LATER).retry_after, 0.0)
            self.assertEqual(read(status, retry_after=DATE).retry_after, 0.0)
            self.assertIsNone(read(status).retry_after)

    def test_strange_retry_after(self) -> None:
        """What makes no sense is not waited for."""
        for told in (b"-1", b"nan", b"inf", b"soon", b"", b"\xff"):
            self.assertIsNone(read(429, retry_after=told).retry_after)

    def test_never_raises(self) -> None:
        """Whatever the body, the status has its meaning."""
        for body in (
            b"",
            b"<html>",
            b"[]",
            b"null",
            b'{"error":null}',
            b'{"error":"x"}',
            b'{"error":{"message":5}}',
            b'{"error":{"message":"\xff"}}',
            b"[" * 100_000,
        ):
            error = ANTHROPIC.read_error(400, {}, body)
            self.assertIs(type(error), Rejected)
            self.assertEqual(str(error), "The model backend refused the request with status 400.")
