"""``lmgateway explain``: where a request would go, found out by the code that would send it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import evolve
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lmgateway.chat import ChatRequest, Document
from lmgateway.classes import frozen
from lmgateway.config.load import load
from lmgateway.config.schema import Config
from lmgateway.dialects.document import encode
from lmgateway.dialects.openai import OPENAI
from lmgateway.errors import Unauthenticated
from lmgateway.exchange import Exchange
from lmgateway.principal import Principal
from lmgateway.routing.cascade import Hint
from lmgateway.routing.classify import read_label
from lmgateway.routing.policy import DEFAULT
from lmgateway.service.clients import principal_of
from lmgateway.service.graph import Graph, assemble
from lmgateway.service.resources import Resources
from lmgateway.stores.courier import surroundings

_SHORT: Document = {"messages": [{"role": "user", "content": "Hello"}]}


@frozen(kw_only=True)
class Asking:
    """
    What is supposed to be asked.

    Attributes:
        model: The model name; that of the body if ``None``.
        body: A chat request as JSON.
        client: The name of a configured client.
        label: What the classifier says.
    """

    model: str | None = None
    body: bytes | None = None
    client: str | None = None
    label: str | None = None


def explained(source: Path, environ: Mapping[str, str], asking: Asking) -> Document:
    """
    Explain a request under a config.

    Raises:
        ConfigError: If the config cannot be used.
        GatewayError: If the request would be refused before it is routed.
    """
    from twisted.internet import reactor  # only for its clock: nothing is run

    environ = surroundings(environ)
    config = load(source, environ)
    resources = Resources.of(reactor, environ, write=lambda block: None)  # type: ignore[arg-type]
    return explained_under(config, resources, asking)


def explained_under(config: Config, resources: Resources, asking: Asking) -> Document:
    """
    Explain a request under a config that is read already.

    Raises:
        ConfigError: If the config cannot be used.
        GatewayError: If the request would be refused before it is routed.
    """
    graph = assemble(config, resources)
    exchange = Exchange(
        id="explain",
        surface=OPENAI.name,
        path="/v1/chat/completions",
        peer="",
        started=resources.wheel.now(),
        wall=resources.wall(),
        principal=_principal(config, asking.client),
        request=_request(asking),
    )
    return _result(graph, exchange, asking)


def _result(graph: Graph, exchange: Exchange, asking: Asking) -> Document:
    cascade = graph.router.cascade
    counter = replace(cascade.counter, in_thread=None)  # there is no reactor to wait with
    explaining = replace(graph.router.explaining, counter=counter)
    router = replace(graph.router, cascade=evolve(cascade, counter=counter), explaining=explaining)
    said = None if asking.label is None else read_label(asking.label)

    async def explain() -> Document:
        with graph.admission.admit(exchange):
            decision = await router.decide(exchange, Hint(said=said))
            return await router.explaining.document(decision, exchange)

    results: list[Document | Failure] = []
    Deferred.fromCoroutine(explain()).addBoth(results.append)
    (result,) = results  # nothing in it waits
    if isinstance(result, Failure):
        result.raiseException()
    return result


def _principal(config: Config, name: str | None) -> Principal:
    if name is None:
        public = config.gateway.public_profile
        profile = public if config.clients and public is not None else DEFAULT
        return Principal(name="", profile=profile, anonymous=True)
    for client in config.clients:
        if client.name == name:
            return principal_of(client)
    raise Unauthenticated(f"There is no client {name!r}.")


def _request(asking: Asking) -> ChatRequest:
    request = OPENAI.parse(asking.body or encode(_SHORT), "chat")
    if asking.model is None:
        return request
    return OPENAI.parse(encode({**request.document, "model": asking.model}), "chat")


def worded(document: Document) -> str:
    """Say in lines for people what a document says."""
    return "\n".join(_lines(document))


def _lines(document: Document) -> Iterator[str]:
    choice = document["choice"]
    if choice is not None:
        yield f"goes to {choice['tier']} ({choice['model']} at {choice['backend']})"
    elif "reply" in document:
        yield f"is answered by the gateway: {document['reply']}"
    elif "error" in document:
        yield f"is refused: {document['error']['message']}"
    else:
        yield "depends on the classifier; say what it says with --label"
    yield f"profile  {' -> '.join(document['profile_chain'])} ({document['mode']})"
    if document["label"] is not None:
        tags = " ".join(f"{key}={value}" for key, value in document["tags"].items())
        yield f"class    {document['label']}  {tags}".rstrip()
    yield f"size     about {document['tokens']} tokens"
    if document["needs"]:
        yield f"needs    {', '.join(document['needs'])}"
    yield from _tables(document)


def _tables(document: Document) -> Iterator[str]:
    if document["rules"]:
        yield "\nrules"
    for rule in document["rules"]:
        verdict = "followed" if rule["matched"] else rule["why_not"]
        yield f"  {rule['profile']}[{rule['position']}] to {'|'.join(rule['route_to'])}: {verdict}"
    if document["candidates"]:
        yield "\ntiers, cheapest first"
    for candidate in document["candidates"]:
        verdict = "tried" if candidate["accepted"] else "; ".join(candidate["reasons"])
        cost = candidate["expected_cost_usd"]
        price = "unpriced" if cost is None else f"at most ${cost:.6f}"
        yield f"  {candidate['tier']}: {verdict} ({price})"
