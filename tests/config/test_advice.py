"""Warnings: what is allowed, but probably not meant."""

from __future__ import annotations

from tests.config.folder import BASE, FolderTestCase, based

CLIENT = '[[clients]]\nkey_env = "K"\nprofile = "default"\n'
KEY = "a-key-of-some-length"


class AdviceTests(FolderTestCase):
    """One warning each."""

    def warned(self, text: str, **environ: str) -> str:
        """Give the one warning about *text*."""
        (warning,) = self.warnings(text, **environ)
        return warning

    def test_a_good_config_has_none(self) -> None:
        """The acceptance set-up is one."""
        self.assertEqual(self.warnings(BASE), [])
        self.assertEqual(self.warnings(BASE + CLIENT, K=KEY), [])

    def test_without_a_default_profile_nobody_is_served(self) -> None:
        """Unless everyone has a key, which names a profile."""
        text = BASE.replace("profiles.default", "profiles.other")
        self.assertIn('profiles: no profile is called "default"', self.warned(text))
        client = CLIENT.replace('"default"', '"other"')
        self.assertEqual(self.warnings(text + client, K=KEY), [])

    def test_a_public_profile_needs_clients(self) -> None:
        """Without them everyone has the default profile."""
        self.assertIn("has no effect", self.warned(based('public_profile = "default"')))

    def test_bodies_kept_for_the_operator(self) -> None:
        """That prompts are kept in memory is warned of."""
        self.assertIn("prompts are kept", self.warned(based("traffic_log_debug = true")))

    def test_the_whole_takes_longer_than_its_beginning(self) -> None:
        """Otherwise the shorter time is the only one; 0 is none."""
        text = based("request_timeout_ms = 700000")
        self.assertIn("total_timeout_ms: is less than request_timeout_ms", self.warned(text))
        self.assertEqual(self.warnings(text.replace("[b", "total_timeout_ms = 0\n[b", 1)), [])

    def test_keys_in_a_file_are_pointed_at(self) -> None:
        """In values and comments, in every file; and they are not repeated."""
        key = "sk-" + "canary1" * 4
        self.write("profiles/p.toml", f'classifier = "local:fast"\nsystem_prompt = "{key}"\n')
        warnings = self.warnings(BASE + f"# {key}\n")
        self.assertEqual(
            [warning.partition(" looks")[0] for warning in warnings],
            ["config.toml:19:", "profiles/p.toml:2:"],
        )
        self.assertNotIn("canary", "".join(warnings))

    def test_a_backend_that_is_not_used_is_told(self) -> None:
        """Perhaps a tier was forgotten."""
        text = BASE + '[backends.spare]\nprovider = "mock"\n'
        self.assertIn("backends.spare: no tier uses this backend", self.warned(text))

    def test_a_key_is_not_sent_in_the_clear(self) -> None:
        """Without a word; near addresses are fine."""
        text = BASE.replace("127.0.0.1", "example.org").replace(
            "[backends.mock]", '[backends.mock]\napi_key_env = "K"'
        )
        self.assertIn("is sent unencrypted", self.warned(text, K=KEY))
        self.assertEqual(self.warnings(text.replace("http://", "https://"), K=KEY), [])
        self.assertEqual(self.warnings(text.replace("example.org", "10.1.2.3"), K=KEY), [])

    def test_a_password_in_an_address_is_told(self) -> None:
        """Without repeating it."""
        warning = self.warned(BASE.replace("http://", "http://user:canary@"))
        self.assertIn("base_url: holds a password", warning)
        self.assertNotIn("canary", warning)

    def test_keys_without_effect_are_told(self) -> None:
        """Those of another provider, and of a queue without a limit."""
        text = BASE.replace(
            "[backends.mock]",
            '[backends.mock]\ndefault_options = { a = 1 }\nx_title = "t"\nqueue_depth = 1',
        )
        self.assertEqual(
            [warning.split(": ")[1] for warning in self.warnings(text)],
            [
                "backends.mock.default_options",
                "backends.mock.x_title",
                "backends.mock.queue_depth",
            ],
        )

    def test_hidden_names_are_told(self) -> None:
        """An alias before a tier, a profile before both."""
        alias = BASE.replace('"hint:fast" =', '"cloud:economy" =')
        self.assertIn("hides the tier", self.warned(alias))
        profile = BASE + '[profiles."local:fast"]\nmode = "reply"\n'
        self.assertIn("hides the tier or alias", self.warned(profile))

    def test_what_never_matches_is_told(self) -> None:
        """Opening words of no tier; capitals in labels and tags do no harm."""
        text = BASE + (
            'rules = [{ when = { Intent = "x" }, route_to = "local:fast" }]\n'
            '[profiles.default.class_prompts]\nGreeting = "..."\n'
            '[profiles.default.thinking_messages]\n"hint:fast" = ["..."]\n"fast" = ["..."]\n'
        )
        self.assertEqual(
            [warning.split(": ", 1)[1] for warning in self.warnings(text)],
            ["profiles.default.thinking_messages.fast: is not the name of a tier or alias"],
        )

    def test_rules_that_are_never_reached_are_told(self) -> None:
        """Behind one that matches at least as much, in order of priority."""
        text = (
            BASE
            + """
rules = [
  { when = { a = "1", b = "2" }, route_to = "local:fast" },
  { when = { a = "1" }, route_to = "local:fast", priority = 5 },
  { when = { a = "2" }, route_to = "local:fast" },
  { when = {}, route_to = "local:fast", priority = -1 },
  { when = { c = "1" }, route_to = "local:fast", priority = -2 },
]
"""
        )
        self.assertEqual(
            [warning.split(": ", 1)[1] for warning in self.warnings(text)],
            [
                "profiles.default.rules[0]: is never reached: rules[1] comes first and matches "
                "all that this one does",
                "profiles.default.rules[4]: is never reached: rules[3] comes first and matches "
                "all that this one does",
            ],
        )

    def test_secret_files_that_all_may_read_are_told(self) -> None:
        """Those of backends as well as of clients."""
        path = self.write("key", KEY)
        text = BASE + CLIENT.replace(
            'key_env = "K"', 'name = "a"\nkey_secret = { source = "file", path = "key" }'
        )
        path.chmod(0o600)
        self.assertEqual(self.warnings(text), [])
        path.chmod(0o644)
        self.assertIn("clients[0]: every user may read the secret file", self.warned(text))

    def test_short_keys_of_ours_are_told(self) -> None:
        """They can be guessed; what a provider issues is its own affair."""
        self.assertIn("is short", self.warned(BASE + CLIENT, K="short"))
        self.assertIn("is short", self.warned(based('admin_token_env = "K"'), K="short"))
        text = BASE.replace("[backends.mock]", '[backends.mock]\napi_key_env = "K"')
        self.assertEqual(self.warnings(text, K="short"), [])

    def test_limits_without_effect_are_told(self) -> None:
        """A burst of nothing; a group of nobody."""
        text = BASE + "[groups.team]\nburst = 5\n"
        told = "\n".join(self.warnings(text))
        self.assertIn("groups.team.burst: has no effect without rate_limit_rpm", told)
        self.assertIn("groups.team: no client is in this group", told)
