"""What was found, and how it is told."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import typer

BROKEN = 5
_COLORS = {"ok": "green", "warning": "yellow", "problem": "red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    code: str
    """Stable name of what was looked at, such as `shared-memory`."""
    status: Literal["ok", "warning", "problem"]
    """A problem would break a run; a warning may slow or hinder one."""
    message: str
    cure: str = ""
    """What to do; empty where all is well."""


def exit_code(findings: Sequence[Finding]) -> int:
    """0, or 5 if something would break a run."""
    return BROKEN if any(finding.status == "problem" for finding in findings) else 0


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """A line each and its cure below it, or one JSON line for all."""
    if as_json:
        said = {"event": "doctor_finished", "findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(said | {"exit_code": exit_code(findings)}))
        return
    width = max(len(finding.code) for finding in findings)
    for finding in findings:
        typer.secho(f"{finding.status:<8}", fg=_COLORS[finding.status], nl=False)
        typer.echo(f" {finding.code:<{width}}  {finding.message}")
        if finding.cure:
            typer.echo(f"{'':8} {'':{width}}  → {finding.cure}")
    problems = sum(finding.status == "problem" for finding in findings)
    typer.echo(
        f"{problems} of {len(findings)} would break a run" if problems else "nothing here would break a run"
    )
