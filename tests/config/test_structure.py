"""Parsed TOML to values: strictly, and with every fault told."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.merge import Place
from lmgateway.config.report import Report
from lmgateway.config.schema import Settings
from lmgateway.config.structure import structure


def structured(text: str) -> tuple[Settings, tuple[str, ...]]:
    """Structure TOML; give what came of it, and the problems."""
    report = Report(texts={"f": text})
    report.origins.claim((), Place("f", ()))
    return structure(tomllib.loads(text), report), report.problems


NAME = "must be printable ASCII and not longer than 255 characters, since it is sent in headers"


class StrictTests(SynchronousTestCase):
    """No value is bent to fit."""

    def assert_problems(self, text: str, *problems: str) -> None:
        """Check the problems of *text*."""
        self.assertEqual(structured(text)[1], problems)

    def test_scalars_are_not_converted(self) -> None:
        """A text is no number, a number no text, and 1 is not true."""
        self.assert_problems(
            '[gateway]\nclient_port = "80"\nadmin_port = true\nhealth_window = 1.0\n'
            "strict = 1\nlog_level = 5\nhealth_error_threshold = 1\nprofile_dir = 1979-05-27\n",
            "f:2: gateway.client_port: must be a whole number, not text",
            "f:3: gateway.admin_port: must be a whole number, not true or false",
            "f:4: gateway.health_window: must be a whole number, not a number",
            "f:5: gateway.strict: must be true or false, not a number",
            "f:6: gateway.log_level: must be text, not a number",
            "f:8: gateway.profile_dir: must be text, not a date or time",
        )

    def test_a_text_is_no_list_of_letters(self) -> None:
        """Nor is a table a list, or a list a table."""
        self.assert_problems(
            '[gateway]\ncors_origins = "*"\nclient_tls = []\n'
            '[[tiers]]\nname = "a"\nbackend = "b"\nmodel = "m"\ncapabilities = { tools = true }\n',
            "f:2: gateway.cors_origins: must be a list, not text",
            "f:3: gateway.client_tls: must be a table, not a list",
            "f:8: tiers[0].capabilities: must be a list, not a table",
        )

    def test_ranges_are_kept(self) -> None:
        """Numbers that are none are out of every range."""
        self.assert_problems(
            "[gateway]\nclient_port = 65536\nmax_retries = -1\nhealth_error_threshold = 1.1\n"
            "header_timeout_ms = 0\n"
            '[[tiers]]\nname = "a"\nbackend = "b"\nmodel = "m"\n'
            "price = { input = nan, output = inf }\n",
            "f:2: gateway.client_port: must be from 0 to 65535",
            "f:3: gateway.max_retries: must be from 0 to 9007199254740992",
            "f:4: gateway.health_error_threshold: must be from 0 to 1",
            "f:5: gateway.header_timeout_ms: must be from 1 to 2147483647",
            "f:10: tiers[0].price.input: must be from 0 to 1000000",
            "f:10: tiers[0].price.output: must be from 0 to 1000000",
        )

    def test_unknown_keys_are_named_with_what_was_meant(self) -> None:
        """Or with what there is, if nothing is near."""
        self.assert_problems(
            "backend = 1\n[gateway]\nclient_prot = 1\n"
            '[profiles.p]\nrules = [{ route_to = "a", wen = {} }]\nzzz = 1\n'
            '[[clients]]\nprofile = "p"\nkey = "x"\n',
            'f:1: backend: unknown key; did you mean "backends"?',
            'f:3: gateway.client_prot: unknown key; did you mean "client_port"?',
            'f:5: profiles.p.rules[0].wen: unknown key; did you mean "when"?',
            'f:6: profiles.p.zzz: unknown key; allowed here: "mode", "classifier", '
            '"max_auto_tier", "expert_requires_flag", "rate_limit_rpm", "rate_limit_tpm", '
            '"rate_limit_usd_per_minute", "burst", "max_concurrent", "enforce", '
            '"classifier_prompt", "classifier_think", ...',
            'f:9: clients[0].key: unknown key; did you mean "key_env"?',
        )

    def test_names_must_fit_in_headers(self) -> None:
        """Those of tiers, profiles, backends and aliases are all sent."""
        long = "x" * 256
        self.assert_problems(
            f'[gateway]\n[[tiers]]\nname = "{long}"\nbackend = "{long[1:]}"\nmodel = "m"\n',
            f"f:3: tiers[0].name: {NAME}",
        )
        self.assert_problems(
            '[gateway]\n[backends."b\\n"]\n[profiles."é"]\n'
            '[[tiers]]\nname = " a"\nbackend = "x"\nmodel = "m"\n[aliases]\n"" = "a"\n',
            f'f:2: backends."b\\n": {NAME}',
            f'f:3: profiles."\\u00e9": {NAME}',
            f"f:5: tiers[0].name: {NAME}",
            f'f:9: aliases."": {NAME}',
        )

    def test_missing_keys_are_named(self) -> None:
        """Also those of tables within tables, whose presence is optional."""
        self.assert_problems(
            "[gateway]\nadmin_tls = {}\nadmin_token_secret = { var = 'X' }\n[[tiers]]\n"
            'price = {}\n[backends.b]\nmock = { fault = { kind = "nope" } }\n',
            "f:2: gateway.admin_tls.cert: must be given",
            "f:2: gateway.admin_tls.key: must be given",
            "f:3: gateway.admin_token_secret.source: must be given",
            "f:4: tiers[0].name: must be given",
            "f:5: tiers[0].price.input: must be given",
            "f:5: tiers[0].price.output: must be given",
            'f:7: backends.b.mock.fault.kind: must not be "nope"; '
            'allowed: "status", "stall", "cut", "malformed"',
        )

    def test_what_is_sound_is_kept(self) -> None:
        """So that the checks that follow can look at it."""
        found, problems = structured(
            "[gateway]\nclient_port = 'x'\nadmin_port = 1\ntiers = 5\n[backends.b]\nmock = 7\n"
            "[profiles]\np = 1\n[profiles.q]\nrules = [5, { route_to = 'x' }]\n"
        )
        self.assertEqual(len(problems), 5)
        self.assertEqual((found.gateway.client_port, found.gateway.admin_port), (8080, 1))
        self.assertEqual([*found.backends], ["b"])
        self.assertEqual([*found.profiles], ["p", "q"])
        self.assertEqual(found.profiles["q"].rules[1].route_to, "x")

    def test_a_faulty_part_is_reported_once(self) -> None:
        """What follows from a fault is not a second one."""
        self.assert_problems("gateway = 5\n", "f:1: gateway: must be a table, not a number")
        self.assert_problems("[gateway]\n[[tiers]]\n[[clients]]\n", *[
            "f:2: tiers[0].name: must be given",
            "f:3: clients[0].profile: must be given",
        ])  # fmt: skip

    def test_a_table_that_cannot_be_repaired(self) -> None:
        """It goes, with its list, and each fault of the list is told once."""
        self.assert_problems(
            '[gateway]\n[[budgets]]\nname = "a"\n[[webhooks]]\nname = "b"\n[[webhooks]]\n',
            "f:2: budgets[0].limit_usd: must be given",
            "f:4: webhooks[0].url: must be given",
            "f:6: webhooks[1].name: must be given",
            "f:6: webhooks[1].url: must be given",
        )


TABLES = ["gateway", "backends", "tiers", "aliases", "profiles", "clients", "rules", "when"]
LISTS = ["budgets", "webhooks", "limit_usd", "url", "events", "thresholds", "period"]
INNER = ["name", "price", "api_key_secret", "mock", "fault", "client_tls", "headers", "fallback"]
KEYS = st.sampled_from([*TABLES, *LISTS, *INNER, "mode", "x"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.integers(-1, 1) | st.sampled_from(["", "?", "a", "dispatch"]) | st.booleans() | st.floats(),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=25,
)


class RepairTests(SynchronousTestCase):
    """However broken a tree is, settings come of it."""

    @given(st.dictionaries(KEYS, VALUES, max_size=6))
    @settings(deadline=None, max_examples=300)
    def test_no_tree_is_beyond_repair(self, tree: dict[str, Any]) -> None:
        """Each fault is reported, and none raises."""
        report = Report()
        self.assertIsInstance(structure(tree, report), Settings)
