"""What can be wrong with a model's description."""


class ModelError(Exception):
    """A model cannot be built. `message` says why, `hint` what to write instead, `key` the config key."""

    def __init__(self, message: str, *, hint: str | None = None, key: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message} {hint}")
        self.message = message
        self.hint = hint
        self.key = key
