"""Files to a config: what the reference reads, and what is refused."""

from __future__ import annotations

from itertools import pairwise

from lmgateway.config.load import load
from lmgateway.config.providers import PROVIDERS
from lmgateway.errors import ConfigError
from tests.config.folder import BASE, FolderTestCase, based

PROFILE = 'mode = "dispatch"\nclassifier = "local:fast"\n'


class ReferenceTests(FolderTestCase):
    """Acceptance rows R-C of the reference, as far as loading goes."""

    def test_R_C01_a_tier_of_an_unknown_backend_is_refused(self) -> None:
        """The report names the tier, the backend, and the one that was probably meant."""
        self.assertEqual(
            self.problem(BASE.replace('backend = "mock"', 'backend = "mokc"', 1)),
            'config.toml:7: tiers[0].backend: tier "local:fast": there is no backend "mokc";'
            ' did you mean "mock"?',
        )

    def test_R_C02_an_alias_of_an_unknown_tier_is_refused(self) -> None:
        """The report names both."""
        self.assertEqual(
            self.problem(BASE.replace('= "local:fast"\n[prof', '= "local:fasst"\n[prof')),
            'config.toml:14: aliases."hint:fast": alias "hint:fast": there is no tier'
            ' "local:fasst"; did you mean "local:fast"?',
        )

    def test_R_C03_an_unknown_classifier_is_refused(self) -> None:
        """An alias is not a tier, so it is no classifier either."""
        for name in ("nope", "hint:fast", ""):
            text = BASE.replace('classifier = "local:fast"', f'classifier = "{name}"')
            problem = self.problem(text)
            self.assertIn('profiles.default.classifier: profile "default"', problem)

    def test_R_C04_a_reply_profile_needs_no_classifier(self) -> None:
        """It asks no model at all."""
        config = self.load(BASE + '[profiles.shut]\nmode = "reply"\n')
        self.assertEqual(config.profiles["shut"].mode, "reply")

    def test_R_C05_a_client_of_an_unknown_profile_is_refused(self) -> None:
        """The report names the variable that holds its key."""
        text = BASE + '[[clients]]\nkey_env = "ALICE_KEY"\nprofile = "defautl"\n'
        problem = self.problem(text, ALICE_KEY="a-key-of-some-length")
        self.assertIn("ALICE_KEY", problem)
        self.assertIn('did you mean "default"?', problem)
        named = text.replace("[[clients]]", '[[clients]]\nname = "alice"')
        self.assertIn("ALICE_KEY", self.problem(named, ALICE_KEY="a-key-of-some-length"))

    def cascade(self, *names: str) -> str:
        """Give profiles that each route to the next one."""
        tables = [
            f'[profiles.{name}]\n{PROFILE}rules = [{{ route_to = "{target}" }}]\n'
            for name, target in pairwise(names)
        ]
        return BASE + "".join(tables)

    def test_R_C06_a_profile_that_routes_to_itself_is_refused(self) -> None:
        """The report says that it is circular."""
        problem = self.problem(self.cascade("loop", "loop"))
        self.assertIn("circular profile cascade: loop -> loop", problem)

    def test_R_C07_a_circle_of_two_is_refused(self) -> None:
        """The report has the whole way, the first one again at its end."""
        problem = self.problem(self.cascade("a", "b", "a"))
        self.assertIn("circular profile cascade: a -> b -> a", problem)

    def test_R_C08_a_circle_of_three_is_refused(self) -> None:
        """All names are in the report, however one gets into the circle."""
        problem = self.problem(self.cascade("in", "a", "b", "c", "a"))
        self.assertIn("circular profile cascade: a -> b -> c -> a", problem)

    def test_R_C09_a_chain_is_no_circle(self) -> None:
        """Nor are two ways to the same profile."""
        text = self.cascade("a", "b", "default").replace(
            '[profiles.a]\nmode = "dispatch"',
            '[profiles.x]\nclassifier = "local:fast"\n'
            'rules = [{ route_to = "a" }, { route_to = "b" }]\n'
            '[profiles.a]\nmode = "dispatch"',
        )
        self.assertEqual(self.load(text).profiles["a"].rules[0].route_to, "b")

    def test_R_C10_a_rule_to_a_tier_is_no_circle(self) -> None:
        """Nor is one to an alias."""
        self.load(self.cascade("a", "local:fast"))
        self.load(self.cascade("a", "hint:fast"))

    def test_R_C11_an_overlay_changes_one_key(self) -> None:
        """All else stays as it was."""
        before = self.load(BASE)
        self.write("conf.d/x.toml", '[backends.mock]\nbase_url = "http://127.0.0.1:9001"\n')
        after = self.load()
        self.assertEqual(after.backends["mock"].base_url, "http://127.0.0.1:9001")
        self.assertEqual(
            (after.tiers, after.aliases, after.profiles, after.gateway),
            (before.tiers, before.aliases, before.profiles, before.gateway),
        )

    def test_R_C12_an_overlay_tier_takes_the_place_of_its_namesake(self) -> None:
        """Count and order stay."""
        self.write(
            "conf.d/x.toml",
            '[[tiers]]\nname = "local:fast"\nbackend = "mock"\nmodel = "other"\n',
        )
        config = self.load(BASE)
        self.assertEqual([tier.model for tier in config.tiers], ["other", "economy-model"])

    def test_R_C13_a_new_overlay_tier_comes_last(self) -> None:
        """It is appended."""
        self.write("conf.d/x.toml", '[[tiers]]\nname = "new"\nbackend = "mock"\nmodel = "m"\n')
        config = self.load(BASE)
        self.assertEqual(
            [tier.name for tier in config.tiers], ["local:fast", "cloud:economy", "new"]
        )

    def test_R_C14_the_later_overlay_wins(self) -> None:
        """Overlays are read in the order of their names."""
        self.write("conf.d/20.toml", "[gateway]\nmax_retries = 2\n")
        self.write("conf.d/10.toml", "[gateway]\nmax_retries = 1\nretry_delay_ms = 5\n")
        config = self.load(BASE)
        self.assertEqual((config.gateway.max_retries, config.gateway.retry_delay_ms), (2, 5))

    def test_R_C15_neither_folder_is_needed(self) -> None:
        """The main file is enough."""
        self.assertEqual(self.load(BASE).files, (self.source,))

    def test_R_C16_a_profile_may_come_from_its_folder_alone(self) -> None:
        """Its name is the file's."""
        self.write("profiles/default.toml", PROFILE)
        config = self.load(BASE[: BASE.index("[profiles")])
        self.assertEqual([*config.profiles], ["default"])

    def test_R_C17_a_profile_file_may_give_another_name(self) -> None:
        """Then the file's name does not count."""
        self.write("profiles/ha-auto_fast.toml", 'name = "ha-auto:fast"\n' + PROFILE)
        self.assertEqual({*self.load(BASE).profiles}, {"default", "ha-auto:fast"})

    def test_R_C18_a_profile_file_replaces_the_inline_profile(self) -> None:
        """As a whole, which is worth a warning."""
        self.write("profiles/default.toml", PROFILE + 'system_prompt = "from the folder"\n')
        config = self.load(BASE)
        self.assertEqual(config.profiles["default"].system_prompt, "from the folder")
        self.assertEqual(config.profiles["default"].max_auto_tier, "")
        (warning,) = config.warnings
        self.assertIn(f"replaces the one in {self.source}:15", warning)

    def test_R_C19_a_relative_profile_folder_is_beside_the_main_file(self) -> None:
        """Whatever the current folder is; an absolute one is taken as it is."""
        self.write("other/extra.toml", PROFILE)
        for configured in ("other", str(self.folder / "other")):
            config = self.load(based(f'profile_dir = "{configured}"'))
            self.assertIn("extra", config.profiles)

    def test_R_C20_the_gateway_has_defaults(self) -> None:
        """With nothing but the ports given."""
        gateway = self.load(based("client_port = 1\nadmin_port = 2")).gateway
        self.assertEqual((gateway.client_port, gateway.admin_port), (1, 2))
        self.assertEqual(gateway.traffic_log_capacity, 500)
        self.assertEqual((gateway.max_retries, gateway.retry_delay_ms), (0, 200))
        self.assertEqual((gateway.health_window, gateway.health_error_threshold), (10, 0.7))
        self.assertEqual(gateway.request_timeout_ms, 120000)

    def test_R_C21_model_options_are_passed_on_as_written(self) -> None:
        """Whatever their names and types."""
        options = '{ num_ctx = 16384, stop = ["a"], temperature = 0.5, nested = { x = true } }'
        text = BASE.replace(
            "[backends.mock]", f'[backends.mock]\nprovider = "ollama"\ndefault_options = {options}'
        )
        self.assertEqual(
            self.load(text).backends["mock"].default_options,
            {"num_ctx": 16384, "stop": ["a"], "temperature": 0.5, "nested": {"x": True}},
        )

    def test_R_C22_the_four_providers_are_accepted(self) -> None:
        """Others of ours too; anything else is refused with the nearest one."""
        for provider in ("openai", "openrouter", "ollama", "anthropic", *PROVIDERS):
            text = BASE.replace("[backends.mock]", f'[backends.mock]\nprovider = "{provider}"')
            self.assertEqual(self.load(text).backends["mock"].provider, provider)
        for wrong, meant in (("open_router", "openrouter"), ("OpenAI", "openai")):
            text = BASE.replace("[backends.mock]", f'[backends.mock]\nprovider = "{wrong}"')
            self.assertEqual(
                self.problem(text),
                f'config.toml:4: backends.mock.provider: must not be "{wrong}";'
                f' did you mean "{meant}"?',
            )

    def test_R_C23_the_gateway_table_must_be_there(self) -> None:
        """It may be empty."""
        self.assertEqual(
            self.problem(BASE.replace("[gateway]", "")), "config.toml: gateway: must be given"
        )

    def test_every_key_of_the_reference_is_accepted(self) -> None:
        """A config that uses them all is served as it is."""
        self.write("secret", "a-file-key\n")
        self.load(REFERENCE, ADMIN="a-token-of-some-length", KEY="a-key-of-some-length")


class LoadTests(FolderTestCase):
    """What else there is to reading a config."""

    def test_all_problems_are_told_at_once(self) -> None:
        """Of every kind and from every file, in the order of the files."""
        self.write("conf.d/a.toml", '[backends.mock]\nbas_url = "x"\n')
        self.write("profiles/p.toml", 'classifier = "nope"\nmode = "dispach"\n')
        text = based("client_port = 8081\nmax_retries = -1") + "[profiles.q]\nrules = [{}]\n"
        self.assertEqual(
            [problem.split(": ")[:2] for problem in self.problems(text)],
            [
                ["config.toml:2", "gateway.admin_port"],
                ["config.toml:4", "gateway.max_retries"],
                ["config.toml:21", "profiles.q.classifier"],
                ["config.toml:22", "profiles.q.rules[0].route_to"],
                ["conf.d/a.toml:2", "backends.mock.bas_url"],
                ["profiles/p.toml:1", "profiles.p.classifier"],
                ["profiles/p.toml:2", "profiles.p.mode"],
            ],
        )

    def test_a_file_that_is_not_toml_is_named_with_its_line(self) -> None:
        """All such files are."""
        self.write("conf.d/a.toml", "x = 1\ny =\n")
        self.write("profiles/b.toml", "[[[")
        problems = self.problems(BASE + "\n]\n")
        self.assertEqual(len(problems), 3)
        self.assertTrue(problems[0].startswith("config.toml:20: is not TOML: "), problems[0])
        self.assertTrue(problems[1].startswith("conf.d/a.toml:2: is not TOML: "), problems[1])
        self.assertTrue(problems[2].startswith("profiles/b.toml:1: is not TOML: "), problems[2])

    def test_a_file_that_cannot_be_read_is_named(self) -> None:
        """The main one as well as an overlay."""
        self.assertEqual(
            self.problems(), ["config.toml: cannot be read: No such file or directory"]
        )
        (self.folder / "conf.d" / "x.toml").mkdir(parents=True)
        self.assertEqual(self.problem(BASE), "conf.d/x.toml: cannot be read: Is a directory")

    def test_a_file_that_is_not_utf_8_is_named(self) -> None:
        """It is no TOML."""
        self.source.write_bytes(b"[gateway]\n# \xff\n")
        self.assertEqual(self.problems(), ["config.toml: is not UTF-8"])

    def test_a_byte_order_mark_is_passed_over(self) -> None:
        """Some editors write one."""
        self.source.write_bytes(b"\xef\xbb\xbf" + BASE.encode())
        self.load()

    def test_a_file_that_is_nested_too_deeply_is_refused(self) -> None:
        """It is no reason to crash."""
        self.assertEqual(
            self.problem("x = " + "[" * 5000 + "]" * 5000),
            "config.toml: is nested too deeply",
        )

    def test_what_editors_leave_behind_is_not_read(self) -> None:
        """Dot files and copies are no overlays."""
        for name in (".#x.toml", ".x.toml", "x.toml~", "x.toml.bak"):
            self.write(f"conf.d/{name}", "not toml")
        self.load(BASE)

    def test_a_profile_name_must_be_text(self) -> None:
        """In its file as elsewhere."""
        self.write("profiles/x.toml", "name = 5\n")
        self.assertEqual(self.problem(BASE), "profiles/x.toml: name: must be text")

    def test_the_environment_wins_over_the_files(self) -> None:
        """Hosts, ports and the log level, for containers."""
        gateway = self.load(
            based("client_port = 1\nadmin_port = 2"),
            LMG_CLIENT_HOST="::1",
            LMG_CLIENT_PORT="18080",
            LMG_ADMIN_HOST="localhost",
            LMG_ADMIN_PORT="18081",
            LMG_LOG_LEVEL="debug",
        ).gateway
        self.assertEqual((gateway.client_host, gateway.client_port), ("::1", 18080))
        self.assertEqual((gateway.admin_host, gateway.admin_port), ("localhost", 18081))
        self.assertEqual(gateway.log_level, "debug")

    def test_a_bad_variable_is_named(self) -> None:
        """Not the file, which is innocent; an empty one is as good as none."""
        self.assertEqual(
            self.problem(BASE, LMG_CLIENT_PORT="http"),
            "$LMG_CLIENT_PORT: gateway.client_port: must be a whole number, not text",
        )
        self.assertEqual(
            self.problem(BASE, LMG_CLIENT_PORT="70000"),
            "$LMG_CLIENT_PORT: gateway.client_port: must be from 0 to 65535",
        )
        self.assertEqual(self.load(BASE, LMG_CLIENT_PORT="").gateway.client_port, 8080)

    def test_rules_are_ordered_by_priority(self) -> None:
        """The highest first, equal ones as written."""
        rules = ", ".join(
            f'{{ when = {{ n = "{n}" }}, route_to = "local:fast", priority = {p} }}'
            for n, p in (("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1))
        )
        config = self.load(BASE + f"rules = [{rules}]\n")
        order = [rule.when["n"] for rule in config.profiles["default"].rules]
        self.assertEqual(order, ["b", "d", "a", "c", "e"])

    def test_presets_know_their_address(self) -> None:
        """And a backend may give another one."""
        text = BASE.replace('base_url = "http://127.0.0.1:9000"', 'provider = "groq"')
        self.assertEqual(
            self.load(text).backends["mock"].base_url, "https://api.groq.com/openai/v1"
        )
        both = text.replace("[backends.mock]", '[backends.mock]\nbase_url = "http://x/y/"')
        self.assertEqual(self.load(both).backends["mock"].base_url, "http://x/y")

    def test_a_forgotten_address_is_not_that_of_openai(self) -> None:
        """No prompt goes to a well-known service by mistake."""
        text = BASE.replace('base_url = "http://127.0.0.1:9000"', "")
        self.assertIn("backends.mock.base_url: must be given", self.problem(text))

    def test_the_mock_needs_nothing(self) -> None:
        """It has no address and its own defaults."""
        text = BASE.replace('base_url = "http://127.0.0.1:9000"', 'provider = "mock"')
        mock = self.load(text).backends["mock"].mock
        assert mock is not None
        self.assertIs(mock.fault, None)

    def test_clients_have_names(self) -> None:
        """Made of what the key is known by, where none is given."""
        text = BASE + (
            '[[clients]]\nkey_env = "A"\nprofile = "default"\n'
            f'[[clients]]\nkey_sha256 = "{"0" * 64}"\nprofile = "default"\n'
            f'[[clients]]\nname = "c"\nkey_sha256 = "{"1" * 64}"\nprofile = "default"\n'
        )
        names = [client.name for client in self.load(text, A="x" * 20).clients]
        self.assertEqual(names, ["A", "client2", "c"])

    def test_files_are_found_from_the_folder_of_the_config(self) -> None:
        """Not from the current one."""
        self.write("mock.json", "{}")
        text = BASE.replace(
            'base_url = "http://127.0.0.1:9000"',
            'provider = "mock"\nmock = { style = "scripted", fixtures = "mock.json" }',
        )
        mock = self.load(text).backends["mock"].mock
        assert mock is not None
        self.assertEqual(mock.fixtures, str(self.folder / "mock.json"))

    def test_the_checksum_tells_contents_apart(self) -> None:
        """It depends on every file, and on nothing else."""
        first = self.load(BASE).checksum
        self.assertEqual(self.load(BASE).checksum, first)
        self.write("conf.d/a.toml", "")
        second = self.load().checksum
        self.assertNotEqual(second, first)
        (self.folder / "conf.d/a.toml").rename(self.folder / "conf.d/b.toml")
        self.assertNotEqual(self.load().checksum, second)

    def test_origins_tell_where_a_setting_was_written(self) -> None:
        """Through overlays and profile files."""
        overlay = self.write("conf.d/a.toml", "[gateway]\nmax_retries = 1\n")
        profile = self.write("profiles/p.toml", PROFILE)
        origins = self.load(BASE, LMG_LOG_LEVEL="warn").origins
        for path, file in (
            (("gateway", "max_retries"), str(overlay)),
            (("gateway", "log_level"), "$LMG_LOG_LEVEL"),
            (("profiles", "p", "classifier"), str(profile)),
            (("tiers", 1), str(self.source)),
        ):
            place = origins.place(path)
            assert place is not None
            self.assertEqual(place.file, file)

    def test_a_config_does_not_change(self) -> None:
        """It is frozen through and through."""
        config = self.load(BASE)
        with self.assertRaises(AttributeError):
            config.gateway.client_port = 1  # type: ignore[misc]
        with self.assertRaises(TypeError):
            config.backends["x"] = config.backends["mock"]  # type: ignore[index]
        with self.assertRaises(TypeError):
            config.profiles["x"] = config.profiles["default"]  # type: ignore[index]

    def test_no_secret_is_in_a_report_or_in_the_config(self) -> None:
        """Whatever is wrong with the place where it was written."""
        canary = "sk-canary0123456789abcdef"
        texts = [
            BASE.replace("[backends.mock]", f'[backends.mock]\napi_key = "{canary}"'),
            BASE.replace("[backends.mock]", f'[backends.mock]\napi_key_env = "{canary}"'),
            BASE.replace("[backends.mock]", f'[backends.mock]\nprovider = "{canary}"'),
            BASE.replace('"mock"', f'"{canary}"'),
            BASE + f'[[clients]]\nkey_env = "{canary}"\nprofile = "default"\n',
            BASE + f'[[clients]]\nkey_env = "sk_{"x1" * 20}canary"\nprofile = "nope"\n',
            BASE + f'[[clients]]\nkey_sha256 = "{canary}"\nprofile = "{canary}"\n',
            BASE + f'["{canary}"]\n',
            BASE + f'x = "{canary}',
        ]
        for text in texts:
            self.write("config.toml", text)
            error = self.assertRaises(ConfigError, load, self.source, {})
            self.assertNotIn("canary", str(error))
        good = BASE.replace("[backends.mock]", '[backends.mock]\napi_key_env = "K"').replace(
            "http://", f"http://user:{canary}@"
        )
        self.assertNotIn("canary", repr(self.load(good, K=canary)))


REFERENCE = """
[gateway]
client_port = 8080
admin_port = 8081
traffic_log_capacity = 500
log_level = "info"
rate_limit_rpm = 60
admin_token_env = "ADMIN"
public_profile = "public"
max_retries = 2
retry_delay_ms = 200
health_window = 10
health_error_threshold = 0.7
request_timeout_ms = 120000
traffic_log_debug = false
profile_dir = "profiles"

[backends.a]
base_url = "http://192.168.1.2:11434/"
provider = "ollama"
timeout_ms = 30000
default_options = { num_ctx = 16384 }
[backends.b]
base_url = "https://api.openai.com"
provider = "openai"
api_key_env = "NOT_SET"
[backends.c]
base_url = "https://api.anthropic.com"
provider = "anthropic"
api_key_secret = { source = "file", path = "secret" }
[backends.d]
base_url = "https://openrouter.ai/api"
provider = "openrouter"
api_key_secret = { source = "env", var = "KEY" }

[[tiers]]
name = "local:fast"
backend = "a"
model = "m"
think = false
max_context_tokens = 8192
[[tiers]]
name = "cloud"
backend = "b"
model = "m"

[aliases]
"hint:fast" = "local:fast"

[profiles.default]
mode = "classify"
classifier = "local:fast"
max_auto_tier = "cloud"
expert_requires_flag = true
rate_limit_rpm = 0
classifier_prompt = "..."
classifier_think = false
classifier_timeout_ms = 10000
classifier_context = 0
system_prompt = "..."
[[profiles.default.rules]]
when = { class = "greeting", intent = "x" }
route_to = "public"
priority = 100
[[profiles.default.rules]]
when = {}
route_to = "hint:fast"
[profiles.default.class_prompts]
greeting = "..."
[profiles.default.thinking_messages]
"cloud" = ["Let me see."]
[profiles.public]
mode = "reply"
reply_message = "No."
[profiles.climb]
mode = "escalate"
classifier = "local:fast"

[[clients]]
key_env = "KEY"
profile = "default"
"""
