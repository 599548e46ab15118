"""``python -m tests.twistd``: the ``twistd`` command of this very interpreter."""

from __future__ import annotations

from twisted.scripts.twistd import run

if __name__ == "__main__":
    run()
