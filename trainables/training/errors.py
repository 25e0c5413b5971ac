"""What can go wrong in a training that its user can put right."""


class TrainingError(Exception):
    """A training cannot go on. `message` says what happened, `hint` what to change, `key` the config key."""

    def __init__(self, message: str, *, hint: str | None = None, key: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message} {hint}")
        self.message = message
        self.hint = hint
        self.key = key
