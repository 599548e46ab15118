"""The built-in mock backend of a config; imported only where there is one."""

from __future__ import annotations

from pathlib import Path

from attrs import asdict, evolve
from twisted.internet.interfaces import IReactorTime

from lmgateway.backends.mock import MockBackend, MockSettings
from lmgateway.backends.mock_faults import Fault
from lmgateway.config.providers import PROVIDERS
from lmgateway.config.schema import BackendSection, FaultSection, MockSection
from lmgateway.surfaces.grammars import BACKEND_DIALECTS


def mock_backend(
    name: str, section: BackendSection, folder: Path, clock: IReactorTime
) -> MockBackend:
    """
    Make a mock backend as its section says.

    Args:
        folder: What file names are relative to.
    """
    codec = BACKEND_DIALECTS[PROVIDERS["mock"].dialect]
    return MockBackend(name, clock, _settings(section, folder), codec)


def _settings(section: BackendSection, folder: Path) -> MockSettings:
    mock = section.mock or MockSection()
    values = asdict(mock, recurse=False)
    values["fault"] = _fault(mock.fault)
    values["fixtures"] = None if mock.fixtures is None else str(folder / mock.fixtures)
    return MockSettings(
        **values,
        timeout_ms=section.timeout_ms,
        first_byte_timeout_ms=section.first_byte_timeout_ms,
        idle_timeout_ms=section.idle_timeout_ms,
    )


def _fault(section: FaultSection | None) -> Fault:
    if section is None:
        return Fault()
    match section.kind:
        case "status":
            fault = Fault(status=section.status, retry_after=section.retry_after)
        case "stall":
            fault = Fault(hold_after=section.after)
        case "cut":
            fault = Fault(cut_after=section.after)
        case "malformed":
            fault = Fault(garbage_after=section.after)
    return evolve(fault, probability=section.probability)
