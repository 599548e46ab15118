"""Gate G7: a start that cannot succeed fails: soon, with a status, and without saying READY."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.processes import CONFIG, Telling, ended, free_port, listening, spawn

SECONDS = 5.0
"""The time that it may take."""

_GATEWAY = "client_port = @client\nadmin_port = @admin\n"


def _config(gateway: str = "") -> str:
    return CONFIG.format(gateway=_GATEWAY + gateway, mock="")


STARTS: Mapping[str, str | None] = {
    "no such file": None,
    "not TOML": "[gateway\n",
    "an unknown key": _config("prot = 1"),
    "a dangling name": _config().replace('classifier = "t"', 'classifier = "u"'),
    "a key that is not there": _config()
    + '[[clients]]\nkey_env = "LMG_NO_SUCH_VARIABLE"\nprofile = "default"\n',
    "a certificate that is not there": _config('client_tls = { cert = "a.pem", key = "b.pem" }'),
    "a port that is taken": _config(),
    "an admin port that is taken": _config(),
    "no socket handed over": _config('client_listen = "systemd:domain=INET:index=0"'),
    "an open port without clients": _config('client_host = "0.0.0.0"'),
}
_TAKEN = {"a port that is taken": "@client", "an admin port that is taken": "@admin"}


def starts(seconds: float = SECONDS) -> bool:
    """Run the gate, print its figures, and tell whether it is passed."""
    return False not in [_fails(name, text, seconds) for name, text in STARTS.items()]


def _fails(name: str, text: str | None, seconds: float) -> bool:
    with tempfile.TemporaryDirectory() as folder, listening() as taken:
        config = Path(folder) / "config.toml"
        if text is not None:
            if name in _TAKEN:
                text = text.replace(_TAKEN[name], str(taken.getsockname()[1]))
            for mark in _TAKEN.values():
                text = text.replace(mark, str(free_port()))
            config.write_text(text)
        return _watched(name, config, seconds)


def _watched(name: str, config: Path, seconds: float) -> bool:
    telling = Telling(f"@lmgateway-start-{os.getpid()}")
    begun = time.monotonic()
    command = ["tests.twistd", "-n", "--pidfile=", "lmgateway", "--config", str(config)]
    with ended(spawn(command, environ={"NOTIFY_SOCKET": telling.address})) as process:
        try:
            _, err = process.communicate(timeout=seconds + 10)
        finally:
            took = time.monotonic() - begun
            said = telling.hear(0)
            telling.close()
    fails = process.returncode not in (0, None) and took <= seconds and said is None
    plain = b"Traceback" not in err and err.count(b"\n") > 0
    sys.stdout.write(
        f"{'ok  ' if fails and plain else 'FAIL'} {name}: status {process.returncode} after "
        f"{took:.2f} s, {'nothing' if said is None else said} said\n"
    )
    return fails and plain
