"""Writes the one file that `ray submit` copies to a cluster: a short program with the experiment in it."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.spec import ExperimentSpec

TEMPLATE = Path(__file__).with_name("launch_template.py")


def write_launcher(spec: ExperimentSpec, output: Path, *, force: bool = False) -> str:
    """Write the launcher of an experiment, overrides included. Returns what to type next.

    Raises:
        ConfigError: `output` exists and is to be kept, or cannot be written.
    """
    if output.exists() and not force:
        raise ConfigError(f"{output} exists", "Choose another file with -o, or replace it with --force.")
    try:
        output.write_text(launcher(spec.name, spec.text, spec.overrides))
    except OSError as error:
        raise ConfigError(
            f"{output} cannot be written: {error.strerror}", "Choose another with -o."
        ) from error
    return (
        f"{output} holds the experiment {spec.name}. Next:\n"
        "  ray up cluster.yaml\n"
        f"  ray submit cluster.yaml {output} -- -n {spec.search.trials}"
    )


def launcher(name: str, experiment: str, overrides: Sequence[str] = ()) -> str:
    """The launcher's source. Options in it need no quoting, unlike those that `ray submit` passes on."""
    options = tuple(part for override in overrides for part in ("-s", override))
    source = TEMPLATE.read_text()
    for empty, full in (
        ('NAME = ""', f"NAME = {name!r}"),
        ('EXPERIMENT = ""', f"EXPERIMENT = {_literal(experiment)}"),
        ("OPTIONS: tuple[str, ...] = ()", f"OPTIONS: tuple[str, ...] = {options!r}"),
    ):
        source = source.replace(f"\n{empty}\n", f"\n{full}\n", 1)
    return source


def _literal(text: str) -> str:
    """A string literal that people can read and edit; of a text with control characters, Python's own."""
    if not all(character.isprintable() or character == "\n" for character in text):
        return repr(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"' if '"""' in text or text.endswith('"') else '"')
    return f'"""\\\n{escaped}"""'
