"""One start of the command line: from words to a Trainer that runs."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.model_helpers import is_overridden

from lpr_lightning.callbacks import ResultsTable
from lpr_lightning.cli import resume, rooms, saving
from lpr_lightning.cli.build import Builder
from lpr_lightning.cli.parser import Parser
from lpr_lightning.cli.plan import RUN, Plan
from lpr_lightning.cli.words import Words
from lpr_lightning.errors import LPRError, SettingError


def run(words: list[str]) -> PathCLI:
    """Run a command line and return the finished CLI object."""
    said = Words.parse(words)
    if threads := os.environ.get("LPR_NUM_THREADS"):
        if not threads.isdigit() or int(threads) < 1:
            raise SettingError("LPR_NUM_THREADS", threads, "a number of threads above 0")
        torch.set_num_threads(int(threads))
    with rooms.allowed(said.packages), _launching(), _quiet():
        try:
            return PathCLI(Plan(said))
        except SIGTERMException as stop:
            raise LPRError("stopped by SIGTERM; the same command with --ckpt_path last goes on") from stop


@contextmanager
def _launching() -> Iterator[None]:
    """Forget afterwards what was told to other processes, unless this process was told itself."""
    told = RUN in os.environ
    try:
        yield
    finally:
        if not told:
            os.environ.pop(RUN, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out remarks that nobody can act on."""

    def wanted(record: logging.LogRecord) -> bool:
        return not any(word in record.getMessage() for word in ("litlogger", "litmodels"))

    log = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    log.addFilter(wanted)
    try:
        with warnings.catch_warnings():
            for message in (
                ".*exists and is not empty.*",
                ".*LeafSpec.*",
                ".*does not have many workers.*",
                ".*callbacks used to create.*",
                ".*dirpath has changed.*",
                r".*module\(s\) in eval mode.*",
            ):
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        log.removeFilter(wanted)


class PathCLI(LightningCLI):
    """LightningCLI in subclass mode, whose runs, checkpoints and sizes look after themselves."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.overruled: list[str] = []
        strict: dict[str, Any] = {"allow_abbrev": False}
        super().__init__(
            model_class=LightningModule,
            datamodule_class=LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            parser_class=Parser,
            parser_kwargs={
                "prog": "python -m lpr_lightning",
                **strict,
                **{name: dict(strict) for name in self.subcommands()},
            },
            trainer_defaults={"use_distributed_sampler": False},
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=plan.arguments,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that are ours."""
        parser.add_argument("--test_after_fit", type=bool, default=True, help="Whether fit ends with a test.")
        parser.add_argument("--allow_untrained", action="store_true", help="Go on with random weights.")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; where a checkpoint is given, say what differs from it."""
        self.config = parser.parse_args(args)
        kept = self.plan.origin
        if kept is not None:
            final = self.config[self.config.subcommand].model.as_dict()
            written = self.plan.written.get("model")
            given = written.get("init_args", {}) if isinstance(written, dict) else {}
            flat = resume.leaves(final["init_args"])
            self.overruled = resume.report("model", resume.leaves(kept.model_arguments), resume.leaves(given), flat)

    def _parse_ckpt_path(self) -> None:
        """Leave the checkpoint's settings alone: the plan has laid them between configuration files and flags."""

    def instantiate_classes(self) -> None:
        """Build the data first, then the model with the data's sizes, then the trainer."""
        builder = Builder()
        config = self.config.clone()
        own = config[self.subcommand]
        with builder.unwrapped():
            alone = LightningArgumentParser()
            alone.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)
            self.datamodule = alone.instantiate(Namespace(data=own.data), instantiators=[(builder, object, True)]).data
            builder.take_sizes(self.datamodule)
            own.data = self.datamodule
            parser = self._parser(self.subcommand)
            own = parser.instantiate(own, instantiators=[(builder, object, True)])
            self.config_init = Namespace({"subcommand": self.subcommand, str(self.subcommand): own})
        self.model = self.config_init[self.subcommand].model
        builder.check_sizes(self.model)
        if self.plan.checkpoint is None:  # a checkpoint brings what its model once took from the data
            builder.connect(self.model, self.datamodule)
        self.trainer = self.instantiate_trainer()

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        folder = self.plan.folder(type(self.model).__name__)
        checkpoint = self.plan.checkpoint
        os.environ[RUN] = json.dumps({"folder": str(folder), "checkpoint": str(checkpoint) if checkpoint else None})
        given = config["callbacks"] or []
        given = given if isinstance(given, list) else [given]
        if config.get("enable_progress_bar") is False:
            given = [one for one in given if not isinstance(one, ProgressBar)]
        added = saving.displays(given, config)
        if self.subcommand == "fit":
            added += [*saving.checkpoints(given, self.model, folder, config), resume.Provenance()]
        if self.overruled and self.subcommand == "fit":
            added.append(resume.OverruledOptimizers())
        config["callbacks"] = [*given, *callbacks]
        if config.get("logger") in (None, True) and not config.get("fast_dev_run"):
            config["logger"] = saving.loggers(folder)
        config["default_root_dir"] = str(folder)
        # the configuration is saved without the checkpoint, so that starting from it again is a fresh run
        self.config[self.subcommand]["ckpt_path"] = None
        return super()._instantiate_trainer(config, added)

    def after_fit(self) -> None:
        """Test the best checkpoint (else the last one) where there is something to test."""
        own = self.config[self.subcommand]
        testable = is_overridden("test_step", self.model) and is_overridden("test_dataloader", self.datamodule)
        if not own.test_after_fit or not testable:
            return
        saved = [one for one in self.trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)]
        paths = [one.best_model_path or one.last_model_path for one in sorted(saved, key=lambda one: not one.monitor)]
        path = next(filter(None, paths), None)
        self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=path, verbose=not self._has_own_table())

    def before_test(self) -> None:
        """Leave out Lightning's table of figures where there is one of our own."""
        if self._has_own_table():
            self.config_init["test"]["verbose"] = False

    def _has_own_table(self) -> bool:
        return any(isinstance(one, ResultsTable) for one in getattr(self.trainer, "callbacks", []))
