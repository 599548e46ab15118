"""What happens, as it happens: ``/admin/events``."""

from __future__ import annotations

from typing import ClassVar

from lmgateway.admin.answers import Query
from lmgateway.admin.declared import Call, Topic
from lmgateway.admin.feed import MEDIA, Feed
from lmgateway.classes import frozen
from lmgateway.config.webhook import KINDS
from lmgateway.errors import MalformedRequest

topic = Topic("events")

_NOT_FOR_VIEWERS = ("audit", "denied")
"""Kinds that are told to those who may read the audit log, and not to viewers."""


_KNOWN = ("exchange", *KINDS)
_LIST = ", ".join(f"`{kind}`" for kind in _KNOWN)


class Kinds(Query, frozen=True):
    """
    Which events.

    Attributes:
        kinds: Their kinds, with commas between: ``exchange,breaker,reload``; all if not given.
    """

    kinds: str = ""


@frozen(eq=False)
class EventRoutes:
    """The route."""

    feed: Feed
    topic: ClassVar[Topic] = topic

    @topic.route(
        "GET", "/admin/events", role="viewer", query=Kinds, answer=None, media=MEDIA,
        errors=(429, 503), summary="Events as they happen",
    )  # fmt: skip
    async def events(self, call: Call, query: Kinds) -> None:
        """
        Tell what happens as server-sent events.

        An ``exchange`` carries its traffic entry; any other kind ``{"at": seconds, "facts": {}}``.
        """
        kinds = _known(query.kinds)
        hidden = _NOT_FOR_VIEWERS if call.operator.role == "viewer" else ()
        await self.feed.serve(call.request, kinds, hidden, call.id)


def _known(text: str) -> list[str]:
    kinds = [kind for part in text.split(",") if (kind := part.strip())]
    for kind in kinds:
        if kind not in _KNOWN:
            raise MalformedRequest(f"There is no kind {kind[:40]!r}: `kinds` are of {_LIST}.")
    return kinds
