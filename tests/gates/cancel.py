"""
Gate G4: when a client leaves, the gateway leaves the backend, at once and without a trace.

Clients leave in six phases, each by TCP and by TLS on both sides, half of them with a reset.  How
long the backend's connection lives on is looked at below TLS: a backend that reads no more must
not be waited for.  Before a request is whole no backend is asked; then what counts is that the
gateway lets go of the client itself.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import field, frozen
from cryptography.hazmat.primitives import serialization

from tests.gates.figures import Figure, none_of, percentile, told
from tests.gates.load import ask
from tests.gates.quitters import PHASES, Phase, Quitters
from tests.gates.subject import Subject, serving
from tests.wire.upstreams import Authority

SECONDS = 0.1
"""What the slowest hundredth may take."""

_CONFIG = """
[gateway]
@ports
@tls

[backends.scripted]
provider = "openai"
base_url = "@origin"
max_concurrent = 2
probe_interval_ms = 0
@trust

[backends.mock]
provider = "mock"

[[tiers]]
name = "scripted"
backend = "scripted"
model = "m"

[[tiers]]
name = "t"
backend = "mock"
model = "m"

[profiles.default]
classifier = "t"
max_concurrent = 2
"""


@frozen
class Plan:
    """
    How much is done.

    Attributes:
        cancels: How many clients leave, all phases together.
        timed: Whether goals count that a slow machine alone can miss.
    """

    cancels: int = 1000
    timed: bool = True


@frozen
class _Certificates:
    """
    What both sides show and trust.

    Attributes:
        files: For the gateway.
        client: For clients.
        backend: For the backend.
    """

    files: Mapping[str, bytes] = field(repr=False)
    client: ssl.SSLContext
    backend: ssl.SSLContext


def cancel(plan: Plan) -> bool:
    """Run the gate, print its figures, and tell whether it is passed."""
    each = max(1, math.ceil(plan.cancels / (2 * len(PHASES))))
    figures = [*_leg("TCP", each, None), *_leg("TLS", each, _certificates())]
    return told(figures, timed=plan.timed)


def _leg(name: str, each: int, tls: _Certificates | None) -> Iterator[Figure]:
    """Have clients leave in all phases, with TLS or without."""
    quitters = Quitters(tls.client if tls else None, tls.backend if tls else None)
    with contextlib.closing(quitters):
        config = _configured(quitters.backend_port, secure=tls is not None)
        with serving(config, tls.files if tls else None) as subject:
            quitters.port = subject.client_port
            quitters.once("streaming", reset=False)  # what is opened once and kept is open now
            before = _settled(subject)
            for phase in PHASES:
                yield _timed(name, phase, each, quitters)
            yield none_of(f"{name}: connections to the backend never closed", quitters.kept)
            yield none_of(f"{name}: backends asked for half a request", quitters.strays())
            yield from (
                Figure(f"{name}: {one.what}", one.got, one.goal, one.met)
                for one in [*subject.leaked(before), subject.unexpected()]
            )
            yield _serves(name, subject, tls)


def _timed(name: str, phase: Phase, each: int, quitters: Quitters) -> Figure:
    times = [quitters.once(phase, reset=number % 2 == 1) for number in range(each)]
    took = [seconds for seconds in times if seconds is not None]
    slowest = percentile(took, 0.99)
    return Figure(
        f"{name}, client leaves {PHASES[phase]}",
        f"p50 {percentile(took, 0.5) * 1000:.1f} ms, p99 {slowest * 1000:.1f} ms of {len(took)}",
        f"p99 at most {SECONDS * 1000:g} ms",
        slowest <= SECONDS,
        timed=True,
    )


def _settled(subject: Subject) -> int:
    """Wait until the number of open files stands still; give it."""
    before = -1
    while (now := subject.descriptors()) != before:
        before = now
        time.sleep(0.3)
    return before


def _serves(name: str, subject: Subject, tls: _Certificates | None) -> Figure:
    """See whether all places are free for those who stay."""
    if tls is None:
        connection = http.client.HTTPConnection("127.0.0.1", subject.client_port, timeout=30)
    else:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", subject.client_port, timeout=30, context=tls.client
        )
    why = ""
    with contextlib.closing(connection):
        try:
            ask(connection, stream=True)
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = f"{type(error).__name__}: {error}"
    return Figure(f"{name}: the next client", why or "is served", "is served", not why)


def _configured(port: int, *, secure: bool) -> str:
    tls = 'client_tls = { cert = "cert.pem", key = "key.pem" }' if secure else ""
    trust = 'ca_file = "ca.pem"' if secure else ""
    text = _CONFIG.replace("@tls", tls).replace("@trust", trust)
    return text.replace("@origin", f"{'https' if secure else 'http'}://127.0.0.1:{port}")


def _certificates() -> _Certificates:
    """Make an authority, and a certificate that both the gateway and the backend show."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        authority = Authority(folder)
        certificate, key = authority.issue(["127.0.0.1"])
        (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / "key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        backend = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        backend.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        files = {name: (folder / name).read_bytes() for name in ("cert.pem", "key.pem")}
        files["ca.pem"] = Path(authority.path).read_bytes()
        return _Certificates(files, ssl.create_default_context(cafile=authority.path), backend)
