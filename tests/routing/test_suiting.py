"""Which tiers suit: the same as looking at each, however often it is asked."""

from __future__ import annotations

from random import Random

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.routing.suiting import MOST, Suiting

WORDS = ("vision", "tools", "audio", "json_schema")


@frozen
class Able:
    """What is known of a tier."""

    capabilities: frozenset[str] | None = None
    max_context_tokens: int | None = None


class SuitingTests(SynchronousTestCase):
    def test_same_as_looking_at_each(self) -> None:
        """Needs and windows are compared as one tier alone would be, at every edge."""
        random = Random(5)
        sets = [None, *(frozenset(random.sample(WORDS, n)) for n in (0, 1, 2, 3, 4))]
        windows = [None, 100, 200, 300]
        tiers = [Able(random.choice(sets), random.choice(windows)) for _ in range(40)]
        suiting = Suiting(tiers)
        for _ in range(500):
            needs = frozenset(random.sample(WORDS, random.randrange(3)))
            tokens = random.choice([0, 99, 100, 101, 200, 201, 300, 301])
            found = tuple(
                place
                for place, tier in enumerate(tiers)
                if not needs - (needs if tier.capabilities is None else tier.capabilities)
                and tokens <= (tokens if (w := tier.max_context_tokens) is None else w)
            )
            self.assertEqual(suiting(needs, tokens), found)

    def test_what_is_remembered_is_bounded(self) -> None:
        """However many sizes there are, no more than so many answers are kept."""
        suiting = Suiting([Able(None, size) for size in range(2 * MOST)])
        for size in range(2 * MOST):
            self.assertEqual(len(suiting(frozenset(), size)), 2 * MOST - size)
        self.assertEqual(len(suiting._known), MOST)
