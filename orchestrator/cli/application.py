"""The application that commands join, and how it fails."""

from typing import Any

import typer
from typer.core import TyperGroup

from orchestrator.errors import EquipoiseError
from orchestrator.redaction import redacted
from orchestrator.resuming.interrupts import INTERRUPTED
from trainables.errors import DataError

DATA = 3


class Commands(TyperGroup):
    """Ends every failure that a user can mend with one message and its exit code, never with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except EquipoiseError as error:
            _fail(error.message, error.hint)
            raise typer.Exit(error.exit_code) from None
        except DataError as error:
            _fail(f"{error.key}: {error.message}" if error.key else error.message, error.hint)
            raise typer.Exit(DATA) from None
        except KeyboardInterrupt:
            _fail("interrupted", "")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="equipoise",
    cls=Commands,
    help="Search multi-task image models from one YAML file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _fail(message: str, hint: str) -> None:
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(redacted(message), err=True)
    if hint:
        typer.secho("hint: ", fg="cyan", nl=False, err=True)
        typer.echo(hint, err=True)
