"""What a user can put right: data that cannot be used, a model that cannot be built, a training that cannot go on."""


class UserError(Exception):
    """Something the user can put right.

    Attributes:
        message: what is wrong and where (file, row, column, value; task, step, learning rate).
        hint: what to do about it; may be empty.
        key: the dotted key of the experiment file that is concerned, or None.
    """

    def __init__(self, message: str, hint: str = "", key: str | None = None) -> None:
        super().__init__(f"{message} {hint}" if hint else message)
        self.message = message
        self.hint = hint
        self.key = key

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str | None]]:
        """Keep all three parts when the error crosses a process boundary."""
        return type(self), (self.message, self.hint, self.key)


class DataError(UserError):
    """Data that cannot be used as configured."""


class ModelError(UserError):
    """A model that cannot be built as configured."""


class TrainingError(UserError):
    """A training that cannot go on."""


class OutOfMemory(TrainingError):  # noqa: N818 - named for what happened
    """A training needs more memory than there is."""


class CheckpointError(TrainingError):
    """A checkpoint that cannot be read."""


class StorageError(TrainingError):
    """What a training has learned cannot be written: a full disk."""
