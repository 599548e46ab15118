"""
Who can reach the ports, and what the world outside the config must provide for that.

A port that others can reach must be guarded, and a guard that is configured
must be there: a key or token that resolves to nothing stops the start,
instead of leaving the door open.  What a socket that is handed over can be reached from is known
only when it is there (``client_port_unguarded``, ``admin_port_unguarded``).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from lmgateway.config.check_admin import check_admin, nothing
from lmgateway.config.merge import KeyPath
from lmgateway.config.report import Report, quoted
from lmgateway.config.schema import BackendSection, ClientSection, Settings, TlsSection
from lmgateway.config.secrets import Secret, described, obtain
from lmgateway.config.values import is_loopback


def check_exposure(
    settings: Settings, report: Report, environ: Mapping[str, str], base_dir: Path
) -> None:
    """Check listeners, TLS files, client keys and the admin token."""
    gateway = settings.gateway
    if gateway.client_port == gateway.admin_port != 0 and not (
        gateway.client_listen or gateway.admin_listen
    ):
        report.problem(("gateway", "admin_port"), "must not be the client port as well")
    if gateway.client_listen is not None and gateway.client_listen == gateway.admin_listen:
        report.problem(("gateway", "admin_listen"), "must not be the client port's socket as well")
    _check_client_port(settings, report)
    check_admin(settings, report, environ, base_dir)
    for name, tls in (("client_tls", gateway.client_tls), ("admin_tls", gateway.admin_tls)):
        if tls is not None:
            _check_tls(("gateway", name), tls, report)
    for name, backend in settings.backends.items():
        _check_files(("backends", name), backend, report)
    _check_keys(settings, report, environ, base_dir)


def client_port_unguarded(settings: Settings) -> str | None:
    """Say why others must not reach the client port, if so."""
    if not settings.is_open or settings.gateway.allow_anonymous:
        return None
    return (
        "others can reach the client port there, and anyone may use it: "
        "add [[clients]], or say allow_anonymous = true"
    )


def _check_client_port(settings: Settings, report: Report) -> None:
    gateway, why = settings.gateway, client_port_unguarded(settings)
    if why is not None and gateway.client_listen is None and not is_loopback(gateway.client_host):
        report.problem(("gateway", "client_host"), why)


# TLS -------------------------------------------------------------------------
def _check_tls(path: KeyPath, tls: TlsSection, report: Report) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if _readable((*path, "cert"), tls.cert, report) and _readable((*path, "key"), tls.key, report):
        _attempt(
            lambda: server.load_cert_chain(tls.cert, tls.key, password=_no_password),
            (*path, "cert"), "is not a PEM certificate that fits the key, or one needs a password",
            report,
        )  # fmt: skip
    if tls.client_ca is not None:
        _check_authorities((*path, "client_ca"), tls.client_ca, report)
    elif tls.client_names:
        report.problem((*path, "client_names"), "means nothing without client_ca")


def _check_files(path: KeyPath, backend: BackendSection, report: Report) -> None:
    if backend.ca_file is not None:
        _check_authorities((*path, "ca_file"), backend.ca_file, report)
    if (cert := backend.client_cert) is not None:
        here = (*path, "client_cert")
        if _readable(here, cert, report):
            client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            _attempt(
                lambda: client.load_cert_chain(cert, password=_no_password),
                here, "must hold a PEM certificate and its key, without a password",
                report,
            )  # fmt: skip
    fixtures = None if backend.mock is None else backend.mock.fixtures
    if fixtures is not None and not Path(fixtures).exists():
        report.problem((*path, "mock", "fixtures"), f"{quoted(fixtures)} is not there")


def _check_authorities(path: KeyPath, file: str, report: Report) -> None:
    if _readable(path, file, report):
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _attempt(
            lambda: trust.load_verify_locations(file), path, "holds no PEM certificate", report
        )


def _readable(path: KeyPath, file: str, report: Report) -> bool:
    try:
        with Path(file).open("rb"):
            return True
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file name"
        report.problem(path, f"{quoted(file)} cannot be read: {reason}")
        return False


def _attempt(load: Callable[[], object], path: KeyPath, fault: str, report: Report) -> None:
    try:
        load()
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        report.problem(path, fault)


def _no_password() -> str:
    """Keep OpenSSL from asking on the terminal."""
    return ""


# Client keys -----------------------------------------------------------------
def _check_keys(
    settings: Settings, report: Report, environ: Mapping[str, str], base_dir: Path
) -> None:
    seen: dict[str, int] = {}
    for position, client in enumerate(settings.clients):
        path = ("clients", position)
        source = client.key_source
        secret = obtain(source, environ, base_dir)
        if source is not None and secret is None:
            key = "key_env" if client.key_secret is None else "key_secret"
            report.missing((*path, key), nothing(described(source)))
        digest = key_digest(client, secret)
        if digest in seen:
            other = settings.clients[seen[digest]].name
            report.problem(path, f"has the same key as client {quoted(other)}")
        elif digest:
            seen[digest] = position


def key_digest(client: ClientSection, secret: Secret | None) -> str:
    """
    Give the SHA-256 by which a client's key is known, in hexadecimal digits.

    Args:
        client: The client.
        secret: Its key, if the config names where that is; empty without either.
    """
    if secret is not None:
        return sha256(secret.reveal().encode()).hexdigest()
    return (client.key_sha256 or "").lower()
