"""Building objects from a configuration: sizes come from the data, errors come out as they were raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from lpr_lightning.errors import SettingError

SIZES = ("num_concepts", "num_items")
"""Arguments that are filled in from the data wherever a configuration leaves them out."""


class _Raised(BaseException):
    """Carries an exception past a parser that would fold it into a message of its own."""


class Builder:
    """Calls every class of a configuration, nested or not, with the data's sizes.

    >>> from types import SimpleNamespace
    >>> builder = Builder()
    >>> builder.take_sizes(SimpleNamespace(num_concepts=5))
    >>> builder(dict, num_concepts=None, width=3)
    {'num_concepts': 5, 'width': 3}
    """

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}

    def take_sizes(self, data: object) -> None:
        """Remember the sizes of a datamodule; one without them gives none."""
        self.sizes = {name: int(value) for name in SIZES if isinstance(value := getattr(data, name, None), int)}

    def check_sizes(self, model: object) -> None:
        """Refuse a model made for other data."""
        for name, size in self.sizes.items():
            own = getattr(model, name, None)
            if isinstance(own, int) and own != size:
                advice = "Use the data that the model was trained on (test_root and predict files add learners to it)"
                raise SettingError(f"model.{name}", own, f"{size}, as in the data", advice)

    @staticmethod
    def connect(model: object, data: object) -> None:
        """Let every part of the model that asks for more than sizes look at the data."""
        for part in model.modules() if isinstance(model, nn.Module) else []:
            if callable(ask := getattr(part, "connect", None)):
                ask(data)

    def __call__(self, cls: Any, *args: Any, applied_instantiation_links: Any = None, **kwargs: Any) -> Any:
        """Build one object."""
        for name, size in self.sizes.items():
            if name in kwargs and kwargs[name] is None:
                kwargs[name] = size
        try:
            return cls(*args, **kwargs)
        except Exception as error:
            raise _Raised from error

    @contextmanager
    def unwrapped(self) -> Iterator[None]:
        """Within the block, let the errors of constructors come out as they were raised."""
        try:
            yield
        except _Raised as carrier:
            if carrier.__cause__ is None:
                raise
            raise carrier.__cause__ from None
