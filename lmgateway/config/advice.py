"""What is allowed in a config but probably not meant: warnings, which stop nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lmgateway.config.report import Report
from lmgateway.config.schema import Settings


def advise(settings: Settings, report: Report, environ: Mapping[str, str], base_dir: Path) -> None:
    """Look for what is probably not meant; *settings* passed all checks."""
