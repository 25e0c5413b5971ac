"""The errors a user is meant to read: what happened, what to do, and the exit code of the command."""


class EquipoiseError(Exception):
    """Ends a command with one message instead of a traceback.

    Args:
        message: what is wrong, with the names and values concerned.
        hint: what to write or do instead; empty if the message says it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class RunFailed(EquipoiseError):  # noqa: N818 - named for what happened, as the exit code's table has it
    """A training or a whole search failed."""


class NotRecorded(EquipoiseError):  # noqa: N818 - named for what is the case
    """What happens cannot be written down (a full disk), so nothing more may happen."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message, "Free some space, then go on with `equipoise resume`; what was written before is kept."
        )


class ConfigError(EquipoiseError):
    """The command line or the experiment file contradicts itself, or names what does not exist."""

    exit_code = 2


class ClusterError(EquipoiseError):
    """Ray is unreachable or has not what the run needs."""

    exit_code = 5


class TrackingError(EquipoiseError):
    """MLflow's store cannot be used as configured."""

    exit_code = 5
