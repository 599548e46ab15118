"""``lmgateway check``: what a good config would serve, in a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from time import time

from lmgateway.config.providers import is_local
from lmgateway.config.redact import masked_url
from lmgateway.config.schema import Config, ProfileSection, TlsSection
from lmgateway.governance.pricing import FREE, Price, Prices, usd


def summary(config: Config) -> str:
    """Describe what *config* serves; ends with a newline, and tells no secret."""
    sections = (
        ("listeners", _listeners(config)),
        ("tiers, cheapest first", _tiers(config)),
        ("prices, USD per million tokens", _prices(config)),
        ("aliases", (f"{alias} -> {tier}" for alias, tier in config.aliases.items())),
        ("profiles", (_profile(*item, config) for item in config.profiles.items())),
        ("clients", _clients(config)),
        ("warnings", config.warnings),
    )
    count = len(config.files)
    head = f"{config.source}: good ({count} file{'s' if count > 1 else ''})\n"
    return head + "".join(_section(title, [*lines]) for title, lines in sections)


def _section(title: str, lines: list[str]) -> str:
    if not lines:
        return ""
    return f"\n{title}\n" + "".join(f"  {line}\n" for line in lines)


def _listeners(config: Config) -> Iterator[str]:
    gateway = config.gateway
    client = gateway.client_listen or _address(gateway.client_host, gateway.client_port)
    admin = gateway.admin_listen or _address(gateway.admin_host, gateway.admin_port)
    yield _listener("client", client, gateway.client_tls)
    yield _listener("admin ", admin, gateway.admin_tls)


def _address(host: str, port: int) -> str:
    return f"//[{host}]:{port}" if ":" in host else f"//{host}:{port}"


def _listener(name: str, where: str, tls: TlsSection | None) -> str:
    scheme = "http" if tls is None else "https"
    mutual = ", client certificates needed" if tls is not None and tls.client_ca else ""
    return f"{name}  {scheme}{':' if where.startswith('//') else ' on '}{where}{mutual}"


def _tiers(config: Config) -> Iterator[str]:
    targets = [(tier, target) for tier in config.tiers for target in tier.all_targets]
    rows = [(tier.name, target.backend, target.model) for tier, target in targets]
    for row, (_, target) in zip(_columns(rows), targets, strict=True):
        section = config.backends[target.backend]
        near = "local" if is_local(section.provider, section.base_url, section.local) else "remote"
        where = masked_url(section.base_url) or "in this process"
        yield f"{row}  {section.provider}, {where}, {near}"


def _prices(config: Config) -> Iterator[str]:
    """What costs something, or may: targets that are free are left out."""
    prices = Prices.of(config, time())
    rows = [
        (tier, backend, model, *_priced(price, prices.sources[tier, backend, model]))
        for (tier, backend, model), price in prices.targets.items()
        if price is not FREE
    ]
    if rows:
        yield from (line.rstrip() for line in _columns(rows))


def _priced(price: Price | None, source: str) -> tuple[str, str]:
    if price is None:
        return "not known", "no price of its own, and in no list"
    told = f"{usd(price.input)} in, {usd(price.output)} out"
    if price.request:
        told += f", {usd(price.request)} a request"
    return told, f"from the {source}"


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))


def _profile(name: str, profile: ProfileSection, config: Config) -> str:
    if profile.mode == "reply":
        return f"{name}: reply"
    ceiling = profile.max_auto_tier or config.tiers[-1].name
    policy = profile.unknown_model or config.gateway.unknown_model
    unknown = "are refused" if policy == "reject" else f"to {profile.classifier}"
    return f"{name}: {profile.mode}, up to {ceiling}, unknown models {unknown}"


def _clients(config: Config) -> Iterable[str]:
    if not config.clients:
        yield "none: no key is needed"
        return
    yield f"{len(config.clients)} with a key each"
    for client in config.clients:
        yield f"{client.name} -> {client.profile}"
    if config.gateway.public_profile is not None:
        yield f"without a key -> {config.gateway.public_profile}"
