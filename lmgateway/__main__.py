"""``python -m lmgateway`` is the console script."""

from __future__ import annotations

from lmgateway.commands.cli import main

if __name__ == "__main__":
    main(prog_name="lmgateway")
