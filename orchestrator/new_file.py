"""Files that a command writes for its user: whole or not at all, and never over another one unasked."""

import os
from pathlib import Path

from orchestrator.errors import ConfigError


def require_new(output: Path, *, force: bool) -> None:
    """Before the work is done: that `output` can be written.

    Raises:
        ConfigError: it exists and is not to be replaced (`force`), or its folder does not exist.
    """
    if output.exists() and not force:
        raise ConfigError(
            f"{output} exists already.", "Choose another name with -o, or replace it with --force."
        )
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"{output.parent} is no folder.", "Make it first, or choose another name with -o.")


def write_new(text: str, output: Path, *, force: bool) -> None:
    """Write `text` to `output`.

    Raises:
        ConfigError: it exists by now and is not to be replaced (`force`), or cannot be written.
    """
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        temporary.write_text(text, "utf-8")
        if force:
            temporary.replace(output)
        else:
            os.link(temporary, output)
    except FileExistsError:
        raise ConfigError(f"{output} exists already.", "Replace it with --force.") from None
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)
