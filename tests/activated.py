"""
``python -m tests.activated FD... -- COMMAND``: become COMMAND, handing it sockets as systemd does.

The descriptors become 3, 4, ... and ``LISTEN_PID`` the number of this process, which COMMAND
keeps.  ``FD=NAME`` gives one a name.
"""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> None:
    """Hand over, and become the command."""
    end = arguments.index("--")
    given, command = arguments[:end], arguments[end + 1 :]
    pairs = [item.partition("=") for item in given]
    spare = [os.dup(int(number)) for number, _, _ in pairs]  # out of the way of each other
    spare = [number if number > 64 else _moved(number) for number in spare]
    for place, number in enumerate(spare, 3):
        os.dup2(number, place)
        os.close(number)
    names = [name for _, _, name in pairs]
    os.environ["LISTEN_FDS"] = str(len(pairs))
    os.environ["LISTEN_PID"] = str(os.getpid())
    if all(names):
        os.environ["LISTEN_FDNAMES"] = ":".join(names)
    os.execvp(command[0], command)


def _moved(number: int) -> int:
    import fcntl

    moved = fcntl.fcntl(number, fcntl.F_DUPFD, 65)
    os.close(number)
    return moved


if __name__ == "__main__":
    main(sys.argv[1:])
