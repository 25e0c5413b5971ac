"""Which of torch's functions a piece of code calls."""

from typing import Any

from torch.overrides import TorchFunctionMode


class Called(TorchFunctionMode):
    """Notes the names of torch's functions that are called within it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))
