"""Which classes a command line may name, and how they are built."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar, runtime_checkable

from jsonargparse import set_parsing_settings
from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import CheckpointIO, LayerSync, Precision
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lpr_lightning import hparams
from lpr_lightning.bases import TracerModule
from lpr_lightning.errors import SettingError
from lpr_lightning.protocols import Connected, LearnerData

Built = TypeVar("Built")

_KINDS = (
    *(nn.Module, Optimizer, LRScheduler),
    *(LightningDataModule, Trainer, Callback, Logger, Profiler),
    *(Accelerator, Strategy, Precision, CheckpointIO, ClusterEnvironment, LayerSync),
)
"""What a configuration may build of `hparams.CONFIGURABLE`: other classes of theirs start processes."""


@contextmanager
def allowed(packages: list[str]) -> Iterator[None]:
    """Within the block, let configurations name classes of `packages` (and of `$LPR_ALLOW_PACKAGES`) too.

    Class paths outside the allowed packages are refused before anything is imported.

    Raises:
        SettingError: a name that is not one of a top-level package.
    """
    extra = [*packages, *filter(None, os.environ.get("LPR_ALLOW_PACKAGES", "").replace(" ", "").split(","))]
    for name in extra:
        if not name.isidentifier():
            raise SettingError("allow_package", name, "the name of a top-level package, such as my_project")
    before = list(hparams.ALLOWED_PACKAGES)
    hparams.ALLOWED_PACKAGES.extend(name for name in extra if name not in before)
    importable = [*hparams.ALLOWED_PACKAGES, *hparams.CONFIGURABLE]
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=importable)
    try:
        yield
    finally:
        hparams.ALLOWED_PACKAGES[:] = before
        kept = {*before, *hparams.CONFIGURABLE}
        set_parsing_settings(import_path_denylist=[name for name in extra if name not in kept])


@runtime_checkable
class HasConcepts(Protocol):
    """Anything made for a number of concepts."""

    num_concepts: int


@runtime_checkable
class HasItems(Protocol):
    """Anything made for a number of items."""

    num_items: int


def check_kind(cls: object) -> None:
    """Refuse a class of another package whose base class is none that a run is made of.

    Raises:
        SettingError: says how to allow it.
    """
    if not isinstance(cls, type) or issubclass(cls, _KINDS):
        return
    package = cls.__module__.partition(".")[0]
    if package in hparams.CONFIGURABLE and package not in hparams.ALLOWED_PACKAGES:
        allowed = f"a module, an optimizer or a part of the trainer, where it is a class of {package}"
        raise SettingError("class_path", hparams.class_path(cls), allowed, hparams.ALLOW.format(package))


class _ConstructorError(BaseException):
    """Carries an exception past a parser that would fold it into a message of its own."""


class Builder:
    """Calls every class of a configuration, nested or not, with the data's sizes where a size is None.

    >>> builder = Builder()
    >>> builder.sizes["num_concepts"] = 5
    >>> builder(dict, num_concepts=None, width=3)
    {'num_concepts': 5, 'width': 3}
    """

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}

    def take_sizes(self, data: object) -> None:
        """Remember the sizes of a datamodule; one without them gives none."""
        self.sizes = _sizes(data)

    def check_sizes(self, model: object) -> None:
        """Refuse a model made for other data."""
        for name, size in _sizes(model).items():
            if size != self.sizes.get(name, size):
                advice = "Use the data that the model was trained on (test_root and predict files add learners to it)"
                raise SettingError(f"model.{name}", size, f"{self.sizes[name]}, as in the data", advice)

    @staticmethod
    def connect(model: nn.Module, data: object) -> None:
        """Let every part of the model that asks for more than sizes look at data of learners.

        A tracer that was loaded from a checkpoint has what it needs, and is left as it is.
        """
        if not isinstance(data, LearnerData):
            return
        for part in model.modules():
            if isinstance(part, Connected) and not (isinstance(part, TracerModule) and part.connected):
                part.connect(data)

    def __call__(
        self, cls: Callable[..., Built], *args: object, applied_instantiation_links: object = None, **kwargs: object
    ) -> Built:
        """Build one object, of a kind that may be built."""
        for name, size in self.sizes.items():
            if name in kwargs and kwargs[name] is None:
                kwargs[name] = size
        try:
            check_kind(cls)
            return cls(*args, **kwargs)
        except Exception as error:
            raise _ConstructorError from error

    @contextmanager
    def unwrapped(self) -> Iterator[None]:
        """Within the block, let the errors of constructors come out as they were raised."""
        try:
            yield
        except _ConstructorError as carrier:
            if carrier.__cause__ is None:
                raise
            raise carrier.__cause__ from None


def _sizes(value: object) -> dict[str, int]:
    sizes: dict[str, int] = {}
    if isinstance(value, HasConcepts) and isinstance(value.num_concepts, int):
        sizes["num_concepts"] = value.num_concepts
    if isinstance(value, HasItems) and isinstance(value.num_items, int):
        sizes["num_items"] = value.num_items
    return sizes
