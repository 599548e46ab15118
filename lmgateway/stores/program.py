"""
Secrets that a program writes: a password manager, a cloud's own tool.

No shell, nothing on its input, few variables, a bounded output and a deadline, at
which it and all that it started are ended.  The first line is the secret; what it
complains of is not looked at, since it may hold one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from select import select
from subprocess import DEVNULL, PIPE, Popen

from lmgateway.stores.deadline import Deadline, Refused

MAX_OUTPUT = 65536
_KEPT = ("PATH", "HOME", "LANG")


def first_line(
    command: Sequence[str], environ: Mapping[str, str], more: Iterable[str], deadline: Deadline
) -> str:
    """
    Run a program.

    Args:
        environ: Where its variables are taken from.
        more: The names of further variables that it is given.

    Raises:
        Refused: If it fails, or writes nothing, too much or for too long.
    """
    variables = {name: environ[name] for name in (*_KEPT, *more) if name in environ}
    variables.setdefault("PATH", os.defpath)
    try:
        process = Popen(  # noqa: S603  # the operator wrote it, as a list
            list(command), stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=variables,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it has no name"
        raise Refused(f"it cannot be started: {reason}") from None
    try:
        output = _output(process, deadline)
        status = process.wait(deadline.left())
    except Exception as error:
        raise error if isinstance(error, Refused) else Refused("it takes too long") from None
    finally:
        _end(process)
    if status:
        raise Refused(f"it ended with status {status}")
    try:
        return output.decode().partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError:
        raise Refused("its output is not text") from None


def _output(process: Popen[bytes], deadline: Deadline) -> bytes:
    assert process.stdout is not None, "it is a pipe"
    output, file = bytearray(), process.stdout.fileno()
    while select([file], [], [], deadline.left())[0]:
        part = os.read(file, MAX_OUTPUT)
        if not part:
            return bytes(output)
        output += part
        if len(output) > MAX_OUTPUT:
            raise Refused("it writes too much")
    raise Refused("it takes too long")


def _end(process: Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
