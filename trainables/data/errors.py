"""What goes wrong with data, said so that the reader knows what to change."""


class DataError(Exception):
    """Data that cannot be used as configured: something the user can put right.

    Attributes:
        message: what is wrong and where (file, row, column, value).
        hint: what to do about it; may be empty.
        key: the dotted key of the experiment file that is concerned, or None.
    """

    def __init__(self, message: str, hint: str = "", key: str | None = None) -> None:
        super().__init__(message if not hint else f"{message} {hint}")
        self.message = message
        self.hint = hint
        self.key = key

    def __reduce__(self) -> tuple[type["DataError"], tuple[str, str, str | None]]:
        """Keep all three parts when the error crosses a process boundary."""
        return type(self), (self.message, self.hint, self.key)
