"""
The tables under ``[[profiles.<name>.rules]]``.

Other code takes these from ``lmgateway.config.schema``.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field

from lmgateway.classes import frozen
from lmgateway.config.values import PositiveCount


@frozen(kw_only=True)
class SplitSection:
    """
    One of several places that a rule leads to.

    Attributes:
        to: A profile, a tier or an alias.
        weight: How many conversations go there, against the weights of the others.
    """

    to: str
    weight: PositiveCount = 1


@frozen(kw_only=True)
class RuleSection:
    """
    Where a request goes by what is known of it.

    Attributes:
        when: What must all hold: tags of the classifier by their keys, and facts: ``@model``,
            ``@client``, ``@profile``, ``@header.NAME``, ``@text``, ``@tokens``, ``@needs``.  Texts
            may be globs or, after ``~``, regular expressions.  Empty matches all that was
            classified.
        route_to: A profile, a tier or an alias; or several, as a list of ``{ to, weight }``,
            between which conversations are split.
        priority: Higher ones are looked at first; equal ones in the order written.
    """

    when: Mapping[str, str] = field(factory=dict)
    route_to: str | tuple[SplitSection, ...]
    priority: int = 0

    @property
    def destinations(self) -> tuple[SplitSection, ...]:
        """Where it leads, however that is written."""
        if isinstance(self.route_to, str):
            return (SplitSection(to=self.route_to),)
        return self.route_to
