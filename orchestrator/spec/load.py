"""Loading an experiment file: every problem at once, each with its position."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import ConfigError
from orchestrator.spec.cross_checks import cross_check
from orchestrator.spec.document import read_document
from orchestrator.spec.explain import explain
from orchestrator.spec.finding import Finding, nearest
from orchestrator.spec.overrides import apply_override
from orchestrator.spec.repair import repair
from orchestrator.spec.sections import ExperimentSpec

LARGEST_FILE = 1_000_000
"""Bytes. An experiment file is written by hand."""


def load_spec(path: Path | str, overrides: Sequence[str] = ()) -> ExperimentSpec:
    """Read and check an experiment file; `overrides` are `key=value`, applied in order.

    Raises `ConfigError` with every problem found, each with its position, key, value and what is allowed.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ConfigError(f"{path}: larger than {LARGEST_FILE:,} bytes: not an experiment file")
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file", hint=_similar_file(path)) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}:1: not UTF-8 text (byte 0x{raw[error.start]:02x})") from None
    return parse_spec(text, name=str(path), overrides=overrides, folder=path.absolute().parent)


def parse_spec(
    text: str, name: str = "<text>", overrides: Sequence[str] = (), folder: Path | None = None
) -> ExperimentSpec:
    """Like `load_spec`, from text. `folder`: where relative paths start (default: the working directory)."""
    document = read_document(text, name)
    for override in overrides:
        apply_override(document, override)
    spec, findings = _judge(document.data)
    if findings or document.findings:
        raise document.error(findings)
    assert spec is not None, "no spec without a finding"  # noqa: S101 - states what _judge promises
    return spec.read_from(text, folder or Path.cwd(), tuple(overrides))


def _judge(data: Any) -> tuple[ExperimentSpec | None, list[Finding]]:
    """The spec that `data` describes, and all that is wrong with it.

    What the sections say against each other is looked for even where single values are wrong: in a copy
    without those.
    """
    try:
        spec = ExperimentSpec.model_validate(data)
    except ValidationError as error:
        findings = explain(ExperimentSpec, data, error)
        repaired = repair(ExperimentSpec, data, findings)
        if repaired is not None:
            findings += cross_check(repaired, damaged=frozenset(finding.path for finding in findings))
        return None, findings
    return spec, cross_check(spec)


def _similar_file(path: Path) -> str:
    try:
        near = nearest(
            path.name, [file.name for file in path.parent.iterdir() if file.suffix in (".yaml", ".yml")]
        )
    except OSError:
        near = None
    return f"Did you mean {path.with_name(near)}?" if near else "`equipoise init DATA` writes one."
