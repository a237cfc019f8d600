"""A run stops at the first NaN, and its last good checkpoint stays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.nn.utils import get_total_norm

from lpr_lightning.errors import NonFiniteError

NAMES = ("loss", "logit", "reward", "return", "advantage")
"""What the names of outputs that are looked at contain."""


class NonFiniteGuard(Callback):
    """Stops a fit with one clear error as soon as a loss, a gradient, a logit or a reward is NaN or infinite.

    One line for any Trainer, whatever the module: `Trainer(callbacks=[NonFiniteGuard()])`. Looked at are, after each
    training batch, what `training_step` returned (the loss, and every tensor whose name contains `loss`, `logit`,
    `reward`, `return` or `advantage`), the figures of training logged as a loss or reward, and the gradients; before a
    checkpoint is written, the weights. Lightning itself trains on, and replaces good checkpoints by those of a model
    that is NaN.

    On a CPU the flag is read after each batch. On other devices it is copied without waiting and read one batch later,
    so that no step waits for the device; the error names the batch that it came from. Gradients of a run with a
    gradient scaler (`16-mixed`) are left to the scaler, which skips steps that overflow.

    Raises:
        NonFiniteError: (in the fit) names what, the epoch, the batch in it, and the step.
    """

    def __init__(self) -> None:
        self._pending: tuple[Tensor, _Place, list[str]] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget what an earlier fit left."""
        self._pending = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Look at the batch."""
        names, flags = _looked_at(trainer, pl_module, outputs)
        if not flags:
            return
        pending = torch.stack([flag.to(pl_module.device, torch.float32) for flag in flags])
        place = _Place(trainer.current_epoch, batch_idx, max(trainer.global_step - 1, 0))
        self._read()
        if pending.device.type == "cuda":
            held = torch.empty(pending.shape, pin_memory=True).copy_(pending, non_blocking=True)
            place.arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            place.arrived.record()
            self._pending = held, place, names
        else:
            self._pending = pending, place, names
            if pending.device.type == "cpu":
                self._read()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the flag of the last batch."""
        self._read()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the flag of the last batch."""
        self._read()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]) -> None:
        """Refuse to save weights that are not finite."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._read()
            _check_weights(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Name the cause where an error came of weights that are not finite, such as when sampling from them."""
        if trainer.state.fn == TrainerFn.FITTING and isinstance(exception, RuntimeError | ValueError):
            try:
                self._read()
                _check_weights(trainer, pl_module)
            except NonFiniteError:
                for logger in trainer.loggers:  # the trainer does not get to it
                    logger.finalize("failed")
                raise

    def _read(self) -> None:
        """Wait for the flag, if there is one, and raise what it says."""
        if self._pending is None:
            return
        (flags, place, names), self._pending = self._pending, None
        if place.arrived is not None:
            place.arrived.synchronize()
        if not bool(flags.isfinite().all()):
            values = dict(zip(names, flags.tolist()))
            name = next(name for name, value in values.items() if not math.isfinite(value))
            raise _error(name, values[name], place)


class _Place:
    """Where in a run something happened."""

    def __init__(self, epoch: int, batch: int, step: int) -> None:
        self.epoch, self.batch, self.step = epoch, batch, step
        self.arrived: torch.cuda.Event | None = None


def _looked_at(trainer: Trainer, pl_module: LightningModule, outputs: object) -> tuple[list[str], list[Tensor]]:
    """Return names, and for each a scalar that is finite where all of it is."""
    found = dict(_outputs(outputs))
    for name, value in trainer.callback_metrics.items():
        if name.startswith("train") and ("loss" in name or "reward" in name):
            found[name] = value
    if _scaler(trainer) is None:
        gradients = [weight.grad for weight in pl_module.parameters() if weight.grad is not None]
        if gradients:
            found["a gradient"] = _finite_sum(gradients)
    return list(found), [value if value.ndim == 0 else value.abs().max() for value in found.values()]


def _outputs(outputs: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors among a step's outputs that are looked at."""
    if isinstance(outputs, Tensor):
        if outputs.numel() and outputs.is_floating_point() and (not name or _named(name)):
            yield name or "loss", outputs.detach()
    elif isinstance(outputs, Mapping):
        for key, value in outputs.items():
            yield from _outputs(value, f"{name}.{key}".lstrip("."))
    elif isinstance(outputs, Sequence) and not isinstance(outputs, str):
        for number, value in enumerate(outputs):
            yield from _outputs(value, f"{name}.{number}".lstrip("."))
    elif is_dataclass(outputs):
        for field in fields(outputs):
            yield from _outputs(vars(outputs).get(field.name), f"{name}.{field.name}".lstrip("."))


def _named(name: str) -> bool:
    return any(word in name.lower() for word in NAMES)


def _finite_sum(tensors: Sequence[Tensor]) -> Tensor:
    """Return a number that is finite where all numbers in the tensors are."""
    dense = [one.coalesce().values() if one.is_sparse else one for one in tensors]
    if dense[0].device.type == "cpu":  # the fastest there; one kernel for all tensors elsewhere
        return torch.stack([one.sum(dtype=torch.float32) for one in dense]).sum()
    return get_total_norm([one for one in dense if one.numel()], math.inf)


def _check_weights(trainer: Trainer, pl_module: LightningModule) -> None:
    """Raise an error where a weight that is trained is not finite."""
    trained = [weight for optimizer in trainer.optimizers for g in optimizer.param_groups for weight in g["params"]]
    trained = [weight.detach() for weight in trained if weight.is_floating_point()]
    if trained and not math.isfinite(value := float(_finite_sum(trained))):
        loop = trainer.fit_loop.epoch_loop
        raise _error("a weight", value, _Place(trainer.current_epoch, max(loop.batch_idx, 0), trainer.global_step))


def _error(name: str, value: float, place: _Place) -> NonFiniteError:
    what = name if " " in name else f"the {name}" if "/" not in name else name
    advice = (
        "a lower learning rate, --trainer.gradient_clip_val 1, or a look at the data of this batch; the last good "
        "checkpoint is as it was, and --ckpt_path last goes on from it"
    )
    return NonFiniteError(
        what, "NaN" if math.isnan(value) else str(value), place.epoch, place.batch, place.step, advice
    )


def _scaler(trainer: Trainer) -> object:
    """Return the gradient scaler of mixed precision, which expects gradients that are not finite now and then."""
    return vars(trainer.precision_plugin).get("scaler")
