"""
What must hold between the keys of a config.

Each check looks at one relation and says what it found; nothing stops at the
first fault.  What a single key takes was checked when it was structured.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lmgateway.config.report import Report
from lmgateway.config.schema import Settings


def check(settings: Settings, report: Report, environ: Mapping[str, str], base_dir: Path) -> None:
    """Look for everything that would make *settings* unusable or unsafe."""
