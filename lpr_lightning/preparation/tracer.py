"""Training the knowledge tracer inside a simulator."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch import LightningModule, Trainer
from rich.progress import Progress, TaskID

from lpr_lightning.errors import SettingError
from lpr_lightning.preparation.keep_best import KeepBest, without_sync
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.types import LearnerData


def fit_tracer(
    tracer: LightningModule,
    data: LearnerData,
    max_epochs: int,
    patience: int,
    batch_size: int,
    seed: int,
    accelerator: str,
    progress: tuple[Progress, TaskID] | None = None,
) -> float:
    """Train `tracer` on the training learners, select by validation learners, return the validation figure.

    Runs in this process alone; the state of the global random numbers is the same afterwards.

    Raises:
        SettingError: If the tracer cannot be trained here (no `reset_parameters`, no `monitor`).
    """
    monitor, reset = getattr(tracer, "monitor", None), getattr(tracer, "reset_parameters", None)
    if not isinstance(tracer, LightningModule) or monitor is None or reset is None:
        raise SettingError(
            "tracer",
            type(tracer).__name__,
            "a LightningModule with reset_parameters() and monitor",
            "or pass a trained tracer and Preparation(tracer_epochs=0)",
        )
    if callable(connect := getattr(tracer, "connect", None)):
        connect(data)
    best = KeepBest(monitor[0], monitor[1], patience, progress)
    frozen = [parameter for parameter in tracer.parameters() if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    with torch.random.fork_rng(), without_sync(tracer), _quiet():
        torch.manual_seed(seed)
        reset()
        trainer = Trainer(
            max_epochs=max_epochs,
            accelerator=accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            inference_mode=False,
            callbacks=[best],
        )
        tracer.train()
        trainer.fit(
            tracer,
            data.batches("train", NextAnswers(), batch_size, True, across_ranks=False),
            data.batches("val", NextAnswers(), 2 * batch_size, False, across_ranks=False),
        )
    for parameter in frozen:
        parameter.requires_grad_(False)
    tracer.eval()
    if best.best is None:
        raise SettingError("split", "no validation learners", "a share of validation learners above 0")
    return best.best


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the inner trainer from announcing devices and stop reasons."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
