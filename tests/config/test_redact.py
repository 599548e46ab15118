"""What the admin port shows of a config."""

from __future__ import annotations

import json

from lmgateway.config.redact import masked_url, redacted
from tests.config.folder import BASE, FolderTestCase

TEXT = (
    BASE
    + """
[backends.env]
base_url = "https://user:canary@example.org/v1"
provider = "openai"
api_key_env = "SET"
[backends.unset]
base_url = "https://example.org"
api_key_env = "UNSET"
headers = { X-Secret = "canary" }
[backends.file]
provider = "anthropic"
api_key_secret = { source = "file", path = "key" }
[[tiers]]
name = "think"
backend = "file"
model = "m"
think = true
max_context_tokens = 100
[[clients]]
key_env = "SET"
profile = "default"
"""
)


class RedactedTests(FolderTestCase):
    """R-N05 of the reference, and its weak spot 32."""

    def setUp(self) -> None:
        super().setUp()
        self.write("key", "canary")
        self.environ = {"SET": "canary-canary-canary"}
        self.view = redacted(self.load(TEXT, **self.environ), self.environ)

    def test_no_secret_is_shown(self) -> None:
        """No key, no password of an address, no fixed header; and it is JSON."""
        self.assertNotIn("canary", json.dumps(self.view))

    def test_the_gateway_is_shown_as_the_reference_does(self) -> None:
        """Three numbers."""
        self.assertEqual(
            self.view["gateway"],
            {"client_port": 8080, "admin_port": 8081, "traffic_log_capacity": 500},
        )

    def test_R_N05_backends_tell_where_their_key_is(self) -> None:
        """The variable's name, and whether there is a key; never the key."""
        keys = {
            backend["name"]: (
                backend["has_api_key"],
                backend["api_key_source"],
                backend["api_key_env"],
            )
            for backend in self.view["backends"]
        }
        self.assertEqual(
            keys,
            {
                "mock": (False, None, None),
                "env": (True, "env", "SET"),
                "unset": (False, "env", "UNSET"),
                "file": (True, "file", None),
            },
        )
        self.assertEqual(self.view["backends"][1]["base_url"], "https://***@example.org/v1")

    def test_tiers_are_shown_in_order(self) -> None:
        """Optional keys only where they are given."""
        first, _, last = self.view["tiers"]
        self.assertEqual(
            first,
            {
                "name": "local:fast",
                "backend": "mock",
                "model": "fast-model",
                "origin": str(self.source),
            },
        )
        self.assertEqual((last["think"], last["max_context_tokens"]), (True, 100))

    def test_R_N05_profiles_tell_their_mode_in_lower_case(self) -> None:
        """With what the reference shows of them."""
        self.assertEqual(
            self.view["profiles"]["default"],
            {
                "mode": "dispatch",
                "classifier": "local:fast",
                "max_auto_tier": "cloud:economy",
                "expert_requires_flag": False,
                "rate_limit_rpm": None,
                "origin": str(self.source),
            },
        )
        self.assertEqual(self.view["aliases"], {"hint:fast": "local:fast"})

    def test_an_address_without_credentials_is_shown_whole(self) -> None:
        """An at sign in its path is none."""
        for url in ("http://x/a@b", "http://[::1]:80/v1", ""):
            self.assertEqual(masked_url(url), url)
        self.assertEqual(masked_url("http://a@b@c/d"), "http://***@c/d")
