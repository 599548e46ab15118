"""
``lmgateway healthcheck``: is the gateway of this config alive?

Asked of the client port on this machine.  A config that cannot be used does
not matter here: what runs may still be the last good one.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from lmgateway.config.expand import expand, override
from lmgateway.config.files import Reading
from lmgateway.config.report import Report

_TIMEOUT = 3.0
_DEFAULTS: Mapping[str, Any] = {"client_host": "127.0.0.1", "client_port": 8080}


def is_healthy(source: Path, environ: Mapping[str, str]) -> bool:
    """
    Ask ``/healthz``.

    Args:
        source: The main config file, which tells the port if the environment does not.
        environ: The environment.
    """
    gateway = _gateway(source, environ)
    connection = _connect(gateway)
    try:
        connection.request("GET", "/healthz")
        return 200 <= connection.getresponse().status < 300
    except ssl.SSLError:
        # It asks for a client certificate, which we have none of: so it is there.
        return _is_mutual(gateway)
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()


def _gateway(source: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    reading = Reading(source.absolute(), Report())
    reading.read_main()
    if not isinstance(reading.tree.get("gateway"), dict):
        reading.tree["gateway"] = {}
    override(reading.tree, environ, reading.report)
    expand(reading.tree, environ, reading.report)
    written: dict[str, Any] = reading.tree["gateway"]
    sound = {
        key: written[key]
        for key, default in _DEFAULTS.items()
        if isinstance(written.get(key), type(default))
    }
    return {**_DEFAULTS, **sound, "client_tls": written.get("client_tls")}


def _connect(gateway: Mapping[str, Any]) -> HTTPConnection:
    host, port = _near(gateway["client_host"]), gateway["client_port"]
    if gateway["client_tls"] is None:
        return HTTPConnection(host, port, timeout=_TIMEOUT)
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False  # the certificate is for the name that clients use
    unverified.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=_TIMEOUT, context=unverified)


def _near(host: str) -> str:
    """Give the address to ask, for one that is listened on."""
    try:
        address = ip_address(host)
    except ValueError:
        return "127.0.0.1"
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _is_mutual(gateway: Mapping[str, Any]) -> bool:
    tls = gateway["client_tls"]
    return isinstance(tls, dict) and tls.get("client_ca") is not None
