"""What must hold between the keys of limits."""

from __future__ import annotations

from tests.config.folder import BASE, FolderTestCase

CLIENT = f'[[clients]]\nname = "ann"\nkey_sha256 = "{"0" * 64}"\nprofile = "default"\n'


class LimitTests(FolderTestCase):
    """Tests for limits that cannot be meant."""

    def test_good_ones(self) -> None:
        """Every key at once."""
        config = self.load(
            BASE.replace("[gateway]", "[gateway]\nrate_limit_rpm = 60")
            + "[limits]\nrate_limit_rpm = 1\nrate_limit_tpm = 2\nrate_limit_usd_per_minute = 0.5\n"
            + "burst = 3\nmax_concurrent = 4\nenforce = false\nwrong_keys_per_minute = 9\n"
            + "[limits.ip]\nburst = 5\nrate_limit_tpm = 6\nenforce = false\n"
            + '[[limits.overrides]]\npath = "/v1/*"\nrate_limit_rpm = 0\n'
            + CLIENT
            + '[[clients.limits]]\nmodel = "gpt-*"\nprofile = "d*"\nmax_concurrent = 0\n'
        )
        self.assertEqual(config.limits.ip.burst, 5)
        self.assertEqual(config.clients[0].limits[0].model, "gpt-*")

    def test_bursts_are_for_token_buckets(self) -> None:
        """With sliding windows each of them is refused, wherever it stands."""
        text = BASE.replace(
            'backend = "mock"', 'backend = "mock"\nrate_limit_rpm = 9\nburst = 1', 1
        )
        found = self.problems(
            f'{text}[limits]\nalgorithm = "sliding_window"\n{CLIENT}rate_limit_rpm = 6\nburst = 2\n'
            '[[clients.limits]]\nmodel = "a"\nrate_limit_rpm = 2\nburst = 1\n'
        )
        text = 'means nothing with algorithm = "sliding_window" in [limits]'
        self.assertEqual(len(found), 3)
        for problem in found:
            self.assertIn(text, problem)

    def test_overrides_must_say_what_and_for_what(self) -> None:
        """All that is wrong is told at once."""
        found = "\n".join(
            self.problems(
                BASE + CLIENT + "[[clients.limits]]\nrate_limit_rpm = 5\n"
                '[groups.g]\n[[groups.g.limits]]\npath = "v1"\nprofile = "defualt"\n'
            )
        )
        for text in (
            "clients[0].limits[0]: must say for what it is: path, model or profile",
            'groups.g.limits[0].path: must begin with "/"',
            'there is no profile "defualt"; did you mean "default"?',
            "groups.g.limits[0]: must limit something: rate_limit_rpm",
        ):
            self.assertIn(text, found)

    def test_bursts_of_addresses(self) -> None:
        """They need a rate, which stands in another table."""
        (problem,) = self.problems(f"{BASE}[limits.ip]\nburst = 5")
        self.assertIn("without rate_limit_rpm in [gateway]", problem)
