"""Whether a LightningModule trains, resumes, saves and logs as the methods of this package do."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lpr_lightning.checks.rules import BrokenRule, need

EPOCHS, BATCHES, SAVED_AT, STOPPED_AT = 2, 4, 5, 7
LOGGED = re.compile(r"(train|val|test)/[a-z0-9_]+(/[a-z0-9_]+)*")
"""What a logged name looks like: `stage/name`."""


def check_method(module: LightningModule, data: LightningDataModule) -> None:
    """Fit copies of a module on the CPU for two epochs of four batches and see that it keeps the rules.

    1. weights: every trainable parameter changes in a fit, every other one stays;
    2. seeds: two fits with the same seed give the same weights;
    3. global step: `trainer.global_step` counts batches, whatever the number of optimizer steps in each;
    4. checkpoint: a checkpoint loads with `weights_only=True`; `load_from_checkpoint` alone rebuilds the module, whose
       validation then gives the same outputs and figures;
    5. resume: a fit stopped within an epoch goes on from its last checkpoint to the same weights, bit for bit. This
       needs loaders that keep their place, as those of this package do;
    6. logged names: every figure is logged as `stage/name`.

    Random numbers of the module may be seeded by Lightning's `seed_everything`, but a resume restores no generator.

    Args:
        module: an untrained module; it is left as it is.
        data: data with training and validation batches, at least four of the former.

    Raises:
        BrokenRule: names the rule, what was found and what to do.
    """
    with TemporaryDirectory() as folder:
        for number, check in enumerate(CHECKS):
            check(module, data, Path(folder, str(number)))


def check_weights(module: LightningModule, data: LightningDataModule, folder: Path) -> None:
    """Every trainable parameter changes in a fit, every other one stays: nothing is forgotten, nothing leaks."""
    fitted = _fit(module, data, folder)
    before, trained = dict(module.named_parameters()), dict(fitted.named_parameters())
    for name, weight in before.items():
        moved, wanted = not torch.equal(weight, trained[name]), weight.requires_grad
        found = f"{name} {'has changed' if moved else 'is as it was'} after a fit"
        advice = "hand every trainable parameter to the optimizer and use it in the loss, and no other"
        need("weights", moved == wanted, found, advice)


def check_seeds(module: LightningModule, data: LightningDataModule, folder: Path) -> None:
    """Two fits with the same seed give the same weights: a result can be had again."""
    first, second = (_fit(module, data, folder / name) for name in ("first", "second"))
    names = differences(first.state_dict(), second.state_dict())
    need("seeds", not names, f"two fits differ in {_listed(names)}", "draw from seeded generators only")


def check_global_step(module: LightningModule, data: LightningDataModule, folder: Path) -> None:
    """The global step counts batches: `max_steps`, schedules and logs mean the same for every method."""
    step = _fit(module, data, folder).trainer.global_step
    found = f"the global step is {step} after {EPOCHS * BATCHES} batches"
    need("global step", step == EPOCHS * BATCHES, found, "count one optimizer step a batch")


def check_checkpoint(module: LightningModule, data: LightningDataModule, folder: Path) -> None:
    """A checkpoint is plain data and enough to rebuild the module: it can be shared and served."""
    rule, path = "checkpoint", folder / "fitted.ckpt"
    fitted = _fit(module, data, folder)
    fitted.trainer.save_checkpoint(path)
    loader = fitted.trainer.val_dataloaders
    try:
        loaded = type(module).load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except Exception as error:
        found = f"load_from_checkpoint: {type(error).__name__}: {error}".rstrip(".")
        raise BrokenRule(rule, found, "save plain constructor arguments by save_hyperparameters") from error
    names = differences(validated(fitted, loader, folder), validated(loaded, loader, folder))
    need(rule, not names, f"a loaded module differs in {_listed(names)}", "keep all that counts in buffers")


def check_resume(module: LightningModule, data: LightningDataModule, folder: Path) -> None:
    """A fit that was stopped within an epoch and goes on ends as if nothing had happened."""
    whole = _fit(module, data, folder / "whole")
    saving = ModelCheckpoint(folder, "last", every_n_train_steps=SAVED_AT, enable_version_counter=False)
    with suppress(_Stopped):
        _fit(module, data, folder / "stopped", saving, _Stop())
    resumed = _fit(module, data, folder / "resumed", ckpt_path=folder / "last.ckpt")
    names = differences(_trained(whole), _trained(resumed))
    advice = "keep all that training goes by in buffers, and draw random numbers by seed and step"
    need("resume", not names, f"a resumed fit differs in {_listed(names)}", advice)


def check_logged_names(module: LightningModule, data: LightningDataModule, folder: Path) -> None:
    """Figures are called `stage/name`: every callback and table finds those of every method."""
    logged = _fit(module, data, folder).trainer.callback_metrics
    names = [name for name in logged if not LOGGED.fullmatch(name)]
    need("logged names", not names, f"{_listed(names)} is logged", "log figures as train/…, val/… or test/…")
    need("logged names", "train/loss" in logged, "train/loss is not logged", "log the loss under this name")


Check = Callable[[LightningModule, LightningDataModule, Path], None]
CHECKS: tuple[Check, ...] = (
    check_weights,
    check_seeds,
    check_global_step,
    check_checkpoint,
    check_resume,
    check_logged_names,
)


def flattened(value: object, name: str = "", copied: bool = False) -> dict[str, object]:
    """Return all tensors and plain values in nested containers and dataclasses by their dotted names.

    >>> flattened({"a": [1, (2.0, None)]})
    {'a.0': 1, 'a.1.0': 2.0, 'a.1.1': None}
    """
    if isinstance(value, Mapping):
        parts = {str(key): part for key, part in value.items()}
    elif isinstance(value, list | tuple):
        parts = {str(number): part for number, part in enumerate(value)}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: vars(value)[field.name] for field in dataclasses.fields(value)}
    else:
        return {name: value.detach().clone() if copied and isinstance(value, Tensor) else value}
    flat: dict[str, object] = {}
    for key, part in parts.items():
        flat |= flattened(part, f"{name}.{key}".lstrip("."), copied)
    return flat


def differences(one: object, other: object, tolerance: float = 0.0) -> list[str]:
    """Return the names of all values that differ between two nested structures, by default in a single bit.

    >>> differences({"a": torch.zeros(2), "b": 1.0}, {"a": torch.zeros(2), "b": 1.1})
    ['b']
    """
    left, right = flattened(one), flattened(other)
    shared = [name for name in left if name in right and not _same(left[name], right[name], tolerance)]
    return [*shared, *sorted(left.keys() ^ right.keys())]


def validated(module: LightningModule, loader: object, folder: Path) -> dict[str, object]:
    """Return all outputs and figures of a validation of a module, without a datamodule."""
    outputs = _Outputs()
    trainer = _trainer(folder, outputs)
    seed_everything(0, verbose=False)
    trainer.validate(module, loader, verbose=False)
    return {"outputs": outputs.seen, "figures": dict(trainer.callback_metrics)}


class _Stopped(Exception):
    pass


class _Stop(Callback):
    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_start(self, *_: object) -> None:
        if self.batches == STOPPED_AT:
            raise _Stopped
        self.batches += 1


class _Outputs(Callback):
    def __init__(self) -> None:
        self.seen: list[dict[str, object]] = []

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, *_: object
    ) -> None:
        self.seen.append(flattened(outputs, copied=True))


def _fit(
    module: LightningModule,
    data: LightningDataModule,
    folder: Path,
    *callbacks: Callback,
    ckpt_path: Path | None = None,
) -> LightningModule:
    """Fit a copy of the module with seed 0."""
    copied = copy.deepcopy(module)
    seed_everything(0, verbose=False)
    _trainer(folder, *callbacks).fit(copied, datamodule=data, ckpt_path=ckpt_path)
    return copied


def _trainer(folder: Path, *callbacks: Callback) -> Trainer:
    return Trainer(
        max_epochs=EPOCHS,
        limit_train_batches=BATCHES,
        accelerator="cpu",
        devices=1,
        callbacks=list(callbacks),
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=any(isinstance(one, ModelCheckpoint) for one in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _trained(module: LightningModule) -> dict[str, object]:
    optimizers = [optimizer.state_dict() for optimizer in module.trainer.optimizers]
    return {"weights": module.state_dict(), "optimizers": optimizers}


def _same(one: object, other: object, tolerance: float) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.allclose(one, other, rtol=0.0, atol=tolerance, equal_nan=True)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or abs(one - other) <= tolerance
    return one == other


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
