"""What must hold between the keys of a config."""

from __future__ import annotations

from tests.config.folder import BASE, FolderTestCase, based

CLIENT = '[[clients]]\nprofile = "default"\n'


class ReferenceTests(FolderTestCase):
    """Whatever is named must be there."""

    def test_a_ladder_needs_a_tier(self) -> None:
        """Without one nothing can be served."""
        text = '[gateway]\n[backends.mock]\nprovider = "mock"\n'
        self.assertEqual(
            self.problem(text),
            "config.toml: tiers: there is no tier: at least one [[tiers]] is needed",
        )

    def test_tiers_of_one_name_are_refused(self) -> None:
        """With the lines of both."""
        text = BASE.replace('name = "cloud:economy"', 'name = "local:fast"').replace(
            'tier = "cloud:economy"', 'tier = "local:fast"'
        )
        self.assertEqual(
            self.problem(text),
            'config.toml:10: tiers[1].name: there is a tier "local:fast" already, at config.toml:6',
        )

    def test_rules_must_lead_somewhere(self) -> None:
        """To a profile, a tier or an alias."""
        text = BASE + 'rules = [{ route_to = "hint:fst" }]\n'
        self.assertEqual(
            self.problem(text),
            'config.toml:19: profiles.default.rules[0].route_to: profile "default": there is no '
            'profile, tier or alias "hint:fst"; did you mean "hint:fast"?',
        )

    def test_every_tier_that_a_profile_names_must_be_there(self) -> None:
        """Its ceiling, its fallbacks, its second classifier."""
        text = BASE.replace('max_auto_tier = "cloud:economy"\n', "") + (
            'max_auto_tier = "clod:economy"\nfallback = ["local:fast", "x"]\n'
            'classifier_fallback = "hint:fast"\n'
        )
        self.assertEqual(
            [problem.partition(": there")[0] for problem in self.problems(text)],
            [
                f'config.toml:{line}: profiles.default.{key}: profile "default"'
                for line, key in (
                    (18, "max_auto_tier"),
                    (19, "fallback[1]"),
                    (20, "classifier_fallback"),
                )
            ],
        )

    def test_the_public_profile_must_be_there(self) -> None:
        """It was ignored by the reference."""
        self.assertEqual(
            self.problem(based('public_profile = "defalt"')),
            'config.toml:3: gateway.public_profile: there is no profile "defalt"; '
            'did you mean "default"?',
        )

    def test_a_rule_matches_tags_and_facts(self) -> None:
        """What is neither is refused, instead of never matching; so is what could take long."""
        for when, fault in (
            ('"@modle" = "x"', 'is no fact; did you mean "@model"?'),
            ('"" = "x"', "is not the name of a tag"),
            ('"@header.Authorization" = "x"', "is a header that carries a credential"),
            ('"@tokens" = "many"', "must be a comparison with a number, as in '>8000'"),
            ('"@needs" = "visoin"', "names 'visoin'; did you mean \"vision\"?"),
            ('"@text" = "~(a+)+b"', "could take too long"),
            ('"@text" = "~("', "is not a regular expression"),
        ):
            problem = self.problem(
                BASE + f'rules = [{{ when = {{ {when} }}, route_to = "local:fast" }}]'
            )
            self.assertIn(fault, problem)

    def test_a_rule_leads_somewhere(self) -> None:
        """Every place of a split must be there, and there must be one."""
        for to, fault in (
            ('[{ to = "local:fst" }]', 'did you mean "local:fast"?'),
            ("[]", "must name at least one"),
        ):
            problem = self.problem(BASE + f'rules = [{{ when = {{ a = "b" }}, route_to = {to} }}]')
            self.assertIn(fault, problem)

    def test_all_a_client_may_name_must_be_there(self) -> None:
        """Profiles, tiers, aliases; a profile is no model."""
        text = (
            BASE
            + CLIENT
            + (
                'key_env = "K"\nallow_profiles = ["nope"]\n'
                'allow_models = ["hint:fast", "default"]\n'
            )
        )
        problems = self.problems(text, K="k" * 20)
        self.assertIn('clients[0].allow_profiles[0]: client "K": there is no profile', problems[0])
        self.assertIn("clients[0].allow_models[1]", problems[1])
        self.assertEqual(len(problems), 2)


class ClientTests(FolderTestCase):
    """Keys of clients."""

    def test_a_client_has_exactly_one_key(self) -> None:
        """None, or two, is a mistake."""
        self.assertIn("give one of key_env", self.problem(BASE + CLIENT))
        two = BASE + CLIENT + f'key_env = "K"\nkey_sha256 = "{"0" * 64}"\n'
        self.assertIn("give one of key_env", self.problem(two, K="k" * 20))

    def test_clients_of_one_name_are_refused(self) -> None:
        """Records could not tell them apart."""
        text = BASE + "".join(
            f'{CLIENT}name = "a"\nkey_sha256 = "{digit * 64}"\n' for digit in "01"
        )
        self.assertIn('clients[1].name: there is a client "a" already', self.problem(text))

    def test_a_secret_source_is_whole(self) -> None:
        """A variable needs a name, a file a path, and neither the other's."""
        for source, fault in (
            ('{ source = "env" }', "key_secret.var: must be given"),
            ('{ source = "file", var = "X" }', "key_secret.path: must be given"),
            ('{ source = "file", path = "x", var = "X" }', "key_secret.var: is not for"),
        ):
            problems = self.problems(BASE + CLIENT + f"key_secret = {source}\n")
            self.assertTrue(any(fault in problem for problem in problems), problems)


class BackendTests(FolderTestCase):
    """Addresses and headers of backends."""

    def backend(self, text: str) -> str:
        """Give ``BASE`` with other lines in its backend."""
        return BASE.replace('base_url = "http://127.0.0.1:9000"', text)

    def test_an_address_is_a_web_address(self) -> None:
        """With a host, and nothing behind the path."""
        for url in (
            "127.0.0.1:9000",
            "ftp://x",
            "http://",
            "http://x?y",
            "http://x#y",
            "http://a b",
        ):
            self.assertIn("must be http://", self.problem(self.backend(f'base_url = "{url}"')))
        for url in ("http://x:99999", "http://[::1"):
            self.assertIn("must be http://", self.problem(self.backend(f'base_url = "{url}"')))
        for url in ("http://[::1]:9000", "https://x/prefix/v1/", "http://user:pw@x"):
            self.load(self.backend(f'base_url = "{url}"'))

    def test_a_gateway_is_not_its_own_backend(self) -> None:
        """It would ask itself for ever."""
        for url in ("http://127.0.0.1:8080/v1", "http://localhost:8081", "http://[::1]:8080"):
            problem = self.problem(self.backend(f'base_url = "{url}"'))
            self.assertIn("base_url: is the address of this gateway itself", problem)
        self.load(self.backend('base_url = "http://10.0.0.1:8080"'))

    def test_a_proxy_is_a_plain_address(self) -> None:
        """TLS to the proxy and paths are not spoken."""
        for proxy in ("https://p:3128", "http://p:3128/x", "p:3128"):
            text = self.backend(f'base_url = "http://x"\nproxy = "{proxy}"')
            self.assertIn("backends.mock.proxy: must be http://host:port", self.problem(text))
        self.load(self.backend('base_url = "http://x"\nproxy = "http://p:3128"'))

    def test_headers_that_frame_a_request_are_ours(self) -> None:
        """Any other fixed header may be sent."""
        text = self.backend('base_url = "http://x"\nheaders = { Host = "y", X-Team = "a" }')
        self.assertEqual(
            self.problem(text),
            "config.toml:5: backends.mock.headers.Host: is a header that the gateway itself sets",
        )

    def test_a_header_cannot_smuggle_another(self) -> None:
        """Line ends and the like are refused."""
        text = self.backend(
            'base_url = "http://x"\nheaders = { X-A = "a\\r\\nX-B: b", "X C" = "c" }'
        )
        self.assertEqual(
            [problem.partition(": ")[2] for problem in self.problems(text)],
            [
                'backends.mock.headers."X C": must be a header name',
                "backends.mock.headers.X-A: must be printable ASCII on one line",
            ],
        )

    def test_the_mock_is_for_the_mock(self) -> None:
        """And scripted answers need a script."""
        text = self.backend('base_url = "http://x"\nmock = {}')
        self.assertIn('mock: is only for provider = "mock"', self.problem(text))
        text = self.backend('provider = "mock"\nmock = { style = "scripted" }')
        self.assertIn("mock.fixtures: must be given", self.problem(text))

    def test_groups_must_be_there(self) -> None:
        """A client in no group would have none of its limits."""
        text = (
            BASE + CLIENT + f'name = "a"\nkey_sha256 = "{"0" * 64}"\ngroup = "tam"\n[groups.team]\n'
        )
        self.assertIn('clients[0].group: client "a": there is no group "tam"', self.problem(text))

    def test_endpoints_are_paths(self) -> None:
        """What is none could never match."""
        text = BASE + CLIENT + f'key_sha256 = "{"0" * 64}"\nallow_endpoints = ["v1/*"]\n'
        self.assertIn('allow_endpoints[0]: must begin with "/"', self.problem(text))

    def test_budgets_must_be_there(self) -> None:
        """For clients as for groups; once each; and of the right scope."""
        budget = '[[budgets]]\nname = "month"\nlimit_usd = 5\n'
        client = CLIENT + f'key_sha256 = "{"0" * 64}"\nbudgets = ["mnth"]\n'
        self.assertIn(
            'there is no budget "mnth"; did you mean', self.problem(BASE + client + budget)
        )
        group = '[groups.team]\nbudgets = ["week"]\n'
        self.assertIn('group "team": there is no budget', self.problem(BASE + group + budget))
        self.assertIn("already", self.problem(BASE + budget + budget))
        shared = client.replace("mnth", "month") + budget + 'scope = "group"\n'
        self.assertIn('budget "month" is for groups', self.problem(BASE + shared))
        of_tier = client.replace("mnth", "month") + budget + 'scope = "tier"\n'
        self.assertIn("nobody lists it", self.problem(BASE + of_tier))

    def test_budgets(self) -> None:
        """Whose a budget is, its time, its zone and its other tier are all checked."""
        budget = '[[budgets]]\nname = "month"\nlimit_usd = 5\n'
        for keys, wanted in (
            ('scope = "tier"\nnames = ["lcal:*"]', "there is no tier"),
            ('names = ["default"]', "clients and groups list their budgets"),
            ('period = "hour"', '"rolling:24h"'),
            ('period = "rolling:0h"', '"rolling:24h"'),
            ('zone = "Europe/Berlim"', "install tzdata"),
            ('zone = "Europe"', "install tzdata"),
            ('zone = "../../etc/passwd"', "install tzdata"),
            ('on_exceeded = "downgrade"', "must be given"),
            ('on_exceeded = "downgrade"\ndowngrade_to = "lcal"', "there is no tier or alias"),
            ('downgrade_to = "local"', "is only for"),
        ):
            self.assertIn(wanted, self.problem(BASE + budget + keys))


class WebhookTests(FolderTestCase):
    """Who is told must be found, and told of what there is."""

    HOOK = '[[webhooks]]\nname = "ops"\nurl = "{url}"\n'

    def test_webhooks(self) -> None:
        """URL, kinds of event, key and name are all checked."""
        hook = self.HOOK.format(url="https://example.org/hook?a=b")
        for text, wanted in (
            (self.HOOK.format(url="ftp://example.org"), "must be http:// or https://"),
            (self.HOOK.format(url="https://user:pw@example.org"), "without password"),
            (hook + 'events = ["budgets"]', 'did you mean "budget"?'),
            (hook + 'key_env = "A"\nkey_secret = { source = "env", var = "B" }', "give one of"),
            (hook + hook, "already"),
        ):
            self.assertIn(wanted, self.problem(BASE + text, B="a-secret-of-some-length"))

    def test_warnings(self) -> None:
        """Events that go out unsigned or unencrypted are pointed at."""
        (unsigned,) = self.load(BASE + self.HOOK.format(url="https://example.org")).warnings
        self.assertIn("is not signed", unsigned)
        text = BASE + self.HOOK.format(url="http://example.org") + 'key_env = "K"\n'
        (plain,) = self.load(text, K="a-long-enough-key").warnings
        self.assertIn("unencrypted", plain)
