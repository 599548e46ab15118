"""
What may be said of a key that is made at run time: as in ``[[clients]]``, but for the key itself.

Where secrets come from is not to be said through the admin API, only in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern
from typing import Any

from attrs import evolve

from lmgateway.config.check import check_client
from lmgateway.config.report import Report
from lmgateway.config.schema import ClientSection, Config
from lmgateway.config.structure import structure
from lmgateway.errors import ConfigError

_IN_FILES_ONLY = ("key_env", "key_secret", "key_sha256", "upstream_keys")
_PLACE = "clients[0]."
_NO_DIGEST = "0" * 64


def read_issued(members: Mapping[str, Any], config: Config) -> ClientSection:
    """
    Read what the holder of a key may do.

    Args:
        members: As in ``[[clients]]``.
        config: Where the profile, group and budgets that it names are.

    Raises:
        ConfigError: With all that is wrong with it.
    """
    wrong = [f"{name}: may be given in the config file only" for name in _IN_FILES_ONLY]
    problems = [text for name, text in zip(_IN_FILES_ONLY, wrong, strict=True) if name in members]
    if not members.get("name"):
        problems.append("name: must be given")
    if problems:
        raise ConfigError(problems)
    report = Report()
    written = {**members, "key_sha256": _NO_DIGEST}
    clients = structure({"gateway": {}, "clients": [written]}, report).clients
    if not report.problems:
        check_client(("clients", 0), clients[0], config, report)
        if any(clients[0].name == other.name for other in config.clients):
            report.problem(("clients", 0, "name"), "is a client's of the config file")
    if report.problems:
        raise ConfigError([text.removeprefix(_PLACE) for text in report.problems])
    client = clients[0]
    group = client.group and intern(client.group)
    return evolve(client, profile=intern(client.profile), group=group)
