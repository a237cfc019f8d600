"""Runs of the command line that the checks share, and the callbacks that look on, kill or spoil a run."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import yaml
from cases import Case
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lpr_lightning.checks.method import flattened
from lpr_lightning.cli import main

SAVE_EVERY, KILL_AT = 5, 7
WITNESS, PACKAGE = "--trainer.callbacks+=runs.Witness", "--allow_package=runs"
TWO_PROCESSES = ["--trainer.strategy=ddp_fork", "--trainer.devices=2", "--trainer.use_distributed_sampler=false"]


class Witness(Callback):
    """Remembers the last fit of this process: module and trainer, weights before and after, batches trained on."""

    last: ClassVar[Witness]

    def __init__(self) -> None:
        self.batches = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Witness.last = self
        self.trainer, self.module = trainer, pl_module
        self.before = _copied(pl_module)
        self.concept_names: list[str] = vars(trainer)["datamodule"].concept_names

    def on_train_batch_end(self, *_: object) -> None:
        self.batches += 1

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step = trainer.global_step
        self.after = _copied(pl_module)
        self.optimizers = flattened([optimizer.state_dict() for optimizer in trainer.optimizers], copied=True)


class Kill(Callback):
    """Kills its own process, as `kill -9` does, before training on batch `at` of the run."""

    def __init__(self, at: int = KILL_AT) -> None:
        self.at, self.batches = at, 0

    def on_train_batch_start(self, *_: object) -> None:
        if self.batches == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.batches += 1


class Spoil(Callback):
    """Makes the trained weights NaN before batch `at` of the run, so that the loss becomes NaN."""

    def __init__(self, at: int = KILL_AT) -> None:
        self.at, self.batches = at, 0

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        if self.batches == self.at:
            for optimizer in trainer.optimizers:
                for group in optimizer.param_groups:
                    for weight in group["params"]:
                        weight.data.fill_(torch.nan)
        self.batches += 1


@dataclass(frozen=True)
class Run:
    """A finished fit: its folder and what was seen of it."""

    folder: Path
    seen: Witness


class Runs:
    """The runs of one method below `home`, each made when a check first asks for it.

    A run lies in a root folder of its own; `first` is the plain run that most checks look at.
    """

    def __init__(self, case: Case, home: Path) -> None:
        self.case, self.home = case, home

    @cached_property
    def first(self) -> Run:
        """Return a fit with its test."""
        return self.fit("first")

    @cached_property
    def again(self) -> Run:
        """Return the fit of the printed configuration, seeds and all, with its test."""
        path = self.home / f"{self.case.name}.yaml"
        path.write_text(self.printed, encoding="utf-8")
        return self._fit("again", ["--config", str(path)])

    @cached_property
    def bare(self) -> Run:
        """Return a fit without the configuration's callbacks."""
        return self.fit("bare", "--test_after_fit=false", "--trainer.callbacks=[]")

    @cached_property
    def certain(self) -> Run:
        """Return a fit without dropout and without the configuration's callbacks."""
        return self.fit("certain", "--test_after_fit=false", *self.certainly)

    @cached_property
    def printed(self) -> str:
        """Return the configuration of the first run, as `--print_config` prints it."""
        return self.print_config(*self._words("first", [*self.case.words, WITNESS]))

    @cached_property
    def certainly(self) -> list[str]:
        """Return the flags that turn off every dropout of the method, and the configuration's callbacks."""
        dropouts = _dropouts(yaml.safe_load(self.printed)["model"], "model")
        return ["--trainer.callbacks=[]", *(f"--{name}=0" for name in dropouts)]

    def fit(self, name: str, *words: str) -> Run:
        """Run `fit` with further flags in the root folder `name`."""
        return self._fit(name, [*self.case.words, *words, WITNESS])

    def fit_killed_and_resumed(self, name: str, *words: str) -> Run:
        """Kill a fit in the middle of an epoch, two batches after its last checkpoint, and go on with `last`."""
        saving = f"{{filename: last, every_n_train_steps: {SAVE_EVERY}, enable_version_counter: false}}"
        words = (
            *words,
            "--test_after_fit=false",
            f"--trainer.callbacks+={{class_path: ModelCheckpoint, init_args: {saving}}}",
        )
        self._fit_killed(name, [*self.case.words, *words, "--trainer.callbacks+=runs.Kill"])
        (saved,) = self.home.glob(f"{name}/logs/*/version_0/checkpoints/last.ckpt")
        assert torch.load(saved, weights_only=True)["global_step"] == SAVE_EVERY
        return self.fit(name, *words, "--ckpt_path=last")

    def command(self, subcommand: str, name: str, words: list[str]) -> Path:
        """Run the command line in this process, below the root folder `name`; return the newest run folder."""
        main([subcommand, *self._words(name, words)])
        return max(self.home.glob(f"{name}/logs/{self.case.name}/version_*"), key=lambda path: int(path.name[8:]))

    def print_config(self, *words: str) -> str:
        """Return what `fit --print_config` prints."""
        text = io.StringIO()
        with redirect_stdout(text), pytest.raises(SystemExit, match="0"):
            main(["fit", *words, PACKAGE, "--print_config"])
        return text.getvalue()

    def _fit(self, name: str, words: list[str]) -> Run:
        return Run(self.command("fit", name, words), Witness.last)

    def _fit_killed(self, name: str, words: list[str]) -> None:
        """Run `fit` in a process of its own, which kills itself."""
        process = multiprocessing.get_context("fork").Process(target=main, args=(["fit", *self._words(name, words)],))
        process.start()
        process.join(timeout=60)
        assert process.exitcode == -signal.SIGKILL

    def _words(self, name: str, words: list[str]) -> list[str]:
        return [*words, f"--trainer.default_root_dir={self.home / name}", PACKAGE]


def _dropouts(settings: object, name: str) -> Iterator[str]:
    """Yield the dotted names of all settings called dropout that are above 0."""
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if "dropout" in key and isinstance(value, int | float) and value > 0:
            yield f"{name}.{key}"
        yield from _dropouts(value, name if key == "init_args" else f"{name}.{key}")


def _copied(module: LightningModule) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
