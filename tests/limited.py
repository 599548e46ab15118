"""``python -m tests.limited N MODULE ARGUMENTS...``: run a module with at most N open files."""

from __future__ import annotations

import os
import resource
import sys

if __name__ == "__main__":
    most = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.execv(sys.executable, [sys.executable, "-m", *sys.argv[2:]])
