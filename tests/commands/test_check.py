"""The summary of a good config."""

from __future__ import annotations

from lmgateway.commands.check import summary
from tests.config.folder import BASE, FolderTestCase, based

MORE = """
[backends.cloud]
provider = "anthropic"
base_url = "https://user:canary@example.org"
[[tiers]]
name = "cloud"
backend = "cloud"
model = "big"
[profiles.shut]
mode = "reply"
[[clients]]
key_env = "K"
profile = "default"
"""


class SummaryTests(FolderTestCase):
    """What is said, in the order of what matters."""

    def test_all_that_is_served_is_in_it(self) -> None:
        """Listeners, tiers, aliases, profiles, clients, warnings."""
        self.write("conf.d/x.toml", "")
        text = based('client_host = "::"\nadmin_port = 9\npublic_profile = "shut"', MORE)
        self.assertEqual(
            summary(self.load(text, K="short")).replace(str(self.folder), "."),
            """\
./config.toml: good (2 files)

listeners
  client  http://[::]:8080
  admin   http://127.0.0.1:9

tiers, cheapest first
  local:fast     mock   fast-model     openai, http://127.0.0.1:9000, local
  cloud:economy  mock   economy-model  openai, http://127.0.0.1:9000, local
  cloud          cloud  big            anthropic, https://***@example.org, remote

prices, USD per million tokens
  cloud  cloud  big  not known  no price of its own, and in no list

aliases
  hint:fast -> local:fast

profiles
  default: dispatch, up to cloud:economy, unknown models to local:fast
  shut: reply

clients
  1 with a key each
  K -> default
  without a key -> shut

warnings
  ./config.toml:25: backends.cloud.base_url: holds a password: use api_key_env or api_key_secret
  ./config.toml:32: clients[0]: the environment variable "K" is short: use 16 characters or more
""",
        )

    def test_prices(self) -> None:
        """What is not free is listed, and where its price was found."""
        self.write("list.json", '{"big": {"input_cost_per_token": 3e-06}}')
        more = MORE.partition("[profiles")[0].replace("user:canary@", "")
        own = '[[tiers]]\nname = "own"\nbackend = "cloud"\nmodel = "m"\n'
        own += "price = { input = 0.15, output = 0.6, request = 0.01 }\n"
        text = summary(self.load(BASE + more + own + '[prices]\nfile = "list.json"\n'))
        self.assertIn(
            "  cloud  cloud  big  3 in, 0 out                       from the file\n", text
        )
        self.assertIn(
            "  own    cloud  m    0.15 in, 0.6 out, 0.01 a request  from the config\n", text
        )

    def test_an_open_gateway_says_so(self) -> None:
        """And sections with nothing in them are left out."""
        text = summary(self.load(BASE))
        self.assertIn("clients\n  none: no key is needed\n", text)
        self.assertNotIn("warnings", text)
        self.assertIn("good (1 file)", text)

    def test_unknown_models_may_be_refused(self) -> None:
        """Then they go nowhere."""
        text = summary(self.load(based('unknown_model = "reject"')))
        self.assertIn("default: dispatch, up to cloud:economy, unknown models are refused", text)
