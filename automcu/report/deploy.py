"""What `automcu deploy` and `automcu verify` tell, on the screen and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from automcu.board import Board
from automcu.deploy.own_model import OwnModel
from automcu.deploy.verify import Finding
from automcu.report.results import told_measurement

_MARKS = {"holds": "ok", "fails": "FAILS", "not checked": "--"}


def heading(board: Board, name: str) -> str:
    """The line that is shown before anything is built."""
    return f"{name} on {board.name} ({board.part}, {board.core}, {board.clock_hz / 1e6:g} MHz)"


def text_deployment(own: OwnModel, board: Board, bundle: Path | None) -> list[str]:
    """Lines for the screen, below the heading."""
    measured, report = own.deployed.measurement, own.report
    lines = [
        f"  Planned RAM {report.ram_bytes:,} B of {board.free_ram_bytes:,}, Flash {report.flash_bytes:,} B of "
        f"{board.free_flash_bytes:,}; {report.macs:,} multiply-accumulates",
    ]
    if measured is None:
        lines.append(f"  NOT verified on any board: {own.deployed.unverified}")
    else:
        lines += [
            f"  Bit-exact: {measured.matching} of {measured.checked} outputs equal tflite-micro's, byte for byte, on "
            f"the {measured.link} board",
            f"  {measured.ticks:,} {measured.unit} an inference ({measured.ticks / max(1, report.macs):.2f} per "
            "multiply-accumulate)",
            *told_measurement(measured),
        ]
    if own.accuracy is not None:
        lines.append(f"  int8 accuracy {own.accuracy:.2%} on {own.deployed.samples.inputs.shape[0]:,} labelled inputs")
    if bundle is not None:
        lines.append(f"  Bundle: {bundle} and {bundle}.zip; check it anywhere with: automcu verify {bundle}")
    return lines


def json_deployment(own: OwnModel, board: Board, bundle: Path | None) -> dict[str, Any]:
    """One JSON object."""
    measured = own.deployed.measurement
    return {
        "board": board.name,
        "report": asdict(own.report),
        "measurement": None if measured is None else asdict(measured),
        "unverified": own.deployed.unverified,
        "accuracy": own.accuracy,
        "bundle": None if bundle is None else str(bundle),
    }


def text_finding(finding: Finding) -> str:
    """A line for the screen."""
    return f"{_MARKS[finding.outcome]:5} {finding.claim:8}  {finding.told}"


def json_findings(findings: Sequence[Finding]) -> dict[str, Any]:
    """One JSON object."""
    return {"holds": all(one.outcome != "fails" for one in findings), "findings": [asdict(one) for one in findings]}
