"""Runs of the command line that the checks share, and the callbacks that look on, kill or spoil a run."""

from __future__ import annotations

import gc
import io
import multiprocessing
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, redirect_stdout
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


@dataclass(frozen=True)
class Held:
    """What a process holds: Python objects, bytes of tensors, open files (0 where the system does not tell)."""

    objects: int
    tensor_bytes: int
    files: int

    @classmethod
    def now(cls, without: Set[int] = frozenset()) -> Held:
        """Count, without the tensors at these places in memory."""
        gc.collect()
        objects = gc.get_objects()
        storages = [one.untyped_storage() for one in objects if type(one) in (Tensor, torch.nn.Parameter)]
        tensors = {one.data_ptr(): one.nbytes() for one in storages if one.data_ptr() not in without}
        folder = Path("/proc/self/fd")
        return cls(len(objects), sum(tensors.values()), len(list(folder.iterdir())) if folder.is_dir() else 0)


class Watch(Callback):
    """Counts what the process holds before epoch `epoch`, and at the end of the run."""

    seen: ClassVar[list[Held]] = []

    def __init__(self, epoch: int) -> None:
        self.epoch, self.batch = epoch, frozenset[int]()
        Watch.seen.clear()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        parts = flattened(batch).values()
        self.batch = frozenset(one.untyped_storage().data_ptr() for one in parts if isinstance(one, Tensor))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            Held.now()  # what the first look itself leaves behind is not counted
            Watch.seen.append(self._held(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        Watch.seen.append(self._held(trainer))

    def _held(self, trainer: Trainer) -> Held:
        """Count, without the last batch, which is as wide as its learners' logs are long, and without what optimizers
        keep: L-BFGS fills up in a hundred steps.
        """
        for optimizer in trainer.optimizers:
            optimizer.state.clear()
        return Held.now(self.batch)


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
        return self.print_config(*self._words("first", [*self.words, WITNESS]))

    @cached_property
    def certainly(self) -> list[str]:
        """Return the flags that turn off every dropout of the method, and the configuration's callbacks."""
        dropouts = _dropouts(yaml.safe_load(self.printed)["model"], "model")
        return ["--trainer.callbacks=[]", *(f"--{name}=0" for name in dropouts)]

    @property
    def words(self) -> list[str]:
        """The words of a small run after the subcommand."""
        return self.case.words(self.quick)

    @cached_property
    def quick(self) -> Path:
        """Return a folder with the configuration, its tracers fitted for an epoch a stage: nothing depends on more."""
        folder = self.home / "quick"
        (folder / "tracer").mkdir(parents=True)
        shutil.copy(self.case.config, folder)
        for path in self.case.folder.glob("tracer/*.yaml"):
            settings = yaml.safe_load(path.read_text(encoding="utf-8"))
            chosen = settings["model"]["init_args"]
            stages = [name for name in chosen if name.endswith("_epochs") and chosen[name]]  # of a length of their own
            chosen.update(dict.fromkeys(stages, 1))
            settings["trainer"]["max_epochs"] = 1 + len(stages)
            (folder / "tracer" / path.name).write_text(yaml.safe_dump(settings), encoding="utf-8")
        return folder

    @property
    def best(self) -> Path:
        """Return the best checkpoint of the first run."""
        return self.first.folder / "checkpoints" / "best.ckpt"

    @contextmanager
    def elsewhere(self) -> Iterator[Path]:
        """Go to an empty folder, with an empty cache."""
        empty = self.home / "empty"
        empty.mkdir(exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(empty)
            patch.setenv("LPR_CACHE", str(empty / "cache"))
            yield empty

    def exit_code(self, name: str, *words: str) -> int:
        """Run `fit`, which may end in an error; return the exit code."""
        try:
            self.fit(name, *words)
        except SystemExit as error:
            return int(error.code or 0)
        return 0

    def with_small_files(self, name: str, size: int, *words: str) -> tuple[int | None, str]:
        """Run `fit` in a process that can't write files beyond `size` bytes; return its exit code and what it told."""
        told = self.home / f"{name}.txt"

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            with told.open("w", encoding="utf-8") as file:
                sys.stderr = file
                self.fit(name, *words)

        return self._apart(limited), told.read_text(encoding="utf-8")

    def fit(self, name: str, *words: str) -> Run:
        """Run `fit` with further flags in the root folder `name`."""
        return self._fit(name, [*self.words, *words, WITNESS])

    def fit_killed_and_resumed(self, name: str, *words: str) -> Run:
        """Kill a fit in the middle of an epoch, two batches after its last checkpoint, and go on with `last`."""
        saving = f"{{filename: last, every_n_train_steps: {SAVE_EVERY}, enable_version_counter: false}}"
        words = (
            *words,
            "--test_after_fit=false",
            f"--trainer.callbacks+={{class_path: ModelCheckpoint, init_args: {saving}}}",
        )
        self._fit_killed(name, [*self.words, *words, "--trainer.callbacks+=runs.Kill"])
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
        assert self._apart(lambda: main(["fit", *self._words(name, words)])) == -signal.SIGKILL

    def _apart(self, run: Callable[[], object]) -> int | None:
        """Call `run` in a process of its own; return its exit code."""
        process = multiprocessing.get_context("fork").Process(target=run)
        process.start()
        process.join(timeout=60)
        return process.exitcode

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
