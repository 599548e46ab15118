"""Targets, queues and overflow, as far as keys depend on each other."""

from __future__ import annotations

from tests.config.folder import BASE, FolderTestCase


def tier(keys: str, more: str = "") -> str:
    """Give ``BASE`` with keys in its first tier, and tables at its end."""
    return BASE.replace('model = "fast-model"\n', f'model = "fast-model"\n{keys}\n') + more


def targets(keys: str = "", first: str = "mock") -> str:
    """Give ``BASE`` with two targets in its first tier."""
    listed = f'[{{ backend = "{first}", model = "a" }}, {{ backend = "mock", model = "b" }}]'
    old = 'backend = "mock"\nmodel = "fast-model"\n'
    return BASE.replace(old, f"targets = {listed}\n{keys}\n")


class TierTests(FolderTestCase):
    """Tests for what is refused, and what is only told."""

    def test_targets(self) -> None:
        """Several targets stand in place of one backend and model."""
        tiers = self.load(targets('strategy = "latency"\nsticky = true')).tiers
        self.assertEqual([t.model for t in tiers[0].all_targets], ["a", "b"])
        self.assertEqual([t.model for t in tiers[1].all_targets], ["economy-model"])

    def test_either_way_but_one(self) -> None:
        """Both ways at once are refused, and so is neither."""
        both = self.problems(targets('backend = "mock"\nmodel = "m"'))
        self.assertEqual([p.partition(": ")[2] for p in both], [
            'tiers[0].backend: tier "local:fast": give either backend or targets',
            'tiers[0].model: tier "local:fast": give either model or targets',
        ])  # fmt: skip
        neither = BASE.replace('model = "fast-model"\n', "")
        self.assertIn('tiers[0].model: tier "local:fast": must be given', self.problem(neither))
        nothing = BASE.replace('backend = "mock"\nmodel = "fast-model"\n', "")
        self.assertEqual(len(self.problems(nothing)), 2)

    def test_a_targets_backend_must_be_there(self) -> None:
        """It is named with its place in the list."""
        problem = self.problem(targets(first="mok"))
        self.assertIn('tiers[0].targets[0].backend: tier "local:fast": there is no backend "mok"',
                      problem)  # fmt: skip

    def test_sticky(self) -> None:
        """It is not for strategies that always begin with the same target."""
        self.assertIn('is not for strategy = "cost"',
                      self.problem(targets('strategy = "cost"\nsticky = true')))  # fmt: skip
        (warning,) = self.warnings(tier("sticky = true"))
        self.assertIn("has no effect without several targets", warning)

    def test_overflow(self) -> None:
        """It leads to another tier that is there."""
        self.load(tier('overflow_tier = "cloud:economy"\noverflow_depth = 3'))
        self.assertIn('there is no tier or alias "cloud:econ"',
                      self.problem(tier('overflow_tier = "cloud:econ"')))  # fmt: skip
        self.assertIn("is this very tier", self.problem(tier('overflow_tier = "hint:fast"')))
        (warning,) = self.warnings(tier("overflow_depth = 3"))
        self.assertIn("overflow_depth: has no effect without overflow_tier", warning)

    def test_tiers_without_a_queue(self) -> None:
        """They take no limits."""
        self.load(tier('queue_id = ""'))
        self.assertIn('is not for a tier with queue_id = ""',
                      self.problem(tier('queue_id = ""\nmax_concurrent = 1')))  # fmt: skip

    def test_tiers_that_share_a_queue_agree(self) -> None:
        """Where they say anything of it."""
        other = '[[tiers]]\nname = "x"\nbackend = "mock"\nmodel = "x"\nqueue_id = "local:fast"\n'
        self.load(tier("max_concurrent = 1", other))
        self.load(tier("max_concurrent = 1", other + "max_concurrent = 1\nqueue_depth = 3"))
        problem = self.problem(tier("max_concurrent = 1", other + "max_concurrent = 2"))
        self.assertIn("tiers[2].max_concurrent: is not what", problem)
        self.assertIn('config.toml:9 says of the same queue "local:fast"', problem)

    def test_queue_keys_without_a_limit(self) -> None:
        """They have no effect, which is told."""
        (warning,) = self.warnings(tier("queue_timeout_ms = 5"))
        self.assertIn("tiers[0].queue_timeout_ms: has no effect without max_concurrent", warning)

    def test_priorities_of_clients(self) -> None:
        """The default is at most the ceiling, which is the default if not given."""
        client = '[[clients]]\nkey_env = "K"\nprofile = "default"\ndefault_priority = 5\n'
        (loaded,) = self.load(BASE + client, K="k" * 20).clients
        self.assertEqual(loaded.most_priority, 5)
        problem = self.problem(BASE + client + "priority_ceiling = 4", K="k" * 20)
        self.assertIn("is above priority_ceiling", problem)
