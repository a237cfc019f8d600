"""One run of the command line: from its arguments to a Trainer that runs."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.exceptions import SIGTERMException
from lightning.pytorch.utilities.model_helpers import is_overridden

from lpr_lightning.bases import Staged
from lpr_lightning.callbacks import ResultsTable, StageProgressBar
from lpr_lightning.cli import closest, first_fits, names, registry, resume, runs
from lpr_lightning.cli.parsing import CONFIGS, TRACER, CommandLine, Parser, Settings, tracer_paths
from lpr_lightning.cli.remarks import fewer_remarks
from lpr_lightning.cli.settings import RUN, RunSettings
from lpr_lightning.cli.written import SavedConfig, quiet_writers, unwritable
from lpr_lightning.datamodules.base import LearnerDataModule
from lpr_lightning.errors import LPRError, SettingError


def run(arguments: list[str]) -> PathCLI:
    """Run a command line and return the finished CLI object."""
    line = CommandLine.parse(arguments)
    if threads := os.environ.get("LPR_NUM_THREADS"):
        if not threads.isdigit() or int(threads) < 1:
            raise SettingError("LPR_NUM_THREADS", threads, "a number of threads above 0")
        torch.set_num_threads(int(threads))
    with registry.allowed(line.packages), names.understood(), _decisions_forgotten(), fewer_remarks(), quiet_writers():
        settings = RunSettings(line, names.short_names())
        try:
            return PathCLI(settings)
        except BaseException as error:
            folder = Path(settings.decisions.folder) if settings.decisions.folder else None
            settings.forget_folder()
            if isinstance(error, SIGTERMException):
                raise LPRError("stopped by SIGTERM; the same command with --ckpt_path last goes on") from error
            if isinstance(error, ModuleNotFoundError):
                missing = str(error).rstrip(".")
                raise LPRError(f"a package is missing: {missing}. Install it, or leave out what needs it.") from error
            if isinstance(error, OSError) and (refused := unwritable(error, folder)):
                raise refused from error
            raise


@contextmanager
def _decisions_forgotten() -> Iterator[None]:
    """Forget afterwards what was published to launched processes, unless this process is one of them."""
    launched = RUN in os.environ
    try:
        yield
    finally:
        if not launched:
            os.environ.pop(RUN, None)


class PathCLI(LightningCLI):
    """LightningCLI in subclass mode that takes care of run folders, checkpoints, sizes and first fits.

    Args:
        settings: what is to be done.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self.overruled: list[str] = []
        self.first_fits: dict[str, TracerFit] = {}
        strict = {"allow_abbrev": False}
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
            save_config_callback=SavedConfig,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=settings.arguments,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options that are ours."""
        parser.add_argument("--test_after_fit", type=bool, default=True, help="Whether fit ends with a test.")
        parser.add_argument(
            "--save_every_steps", type=int | None, default=None, help="Save last.ckpt after so many steps too."
        )
        parser.add_argument(
            "--save_every_minutes", type=float | None, default=15.0, help="Save last.ckpt after so many minutes too."
        )
        parser.add_argument("--allow_untrained", action="store_true", help="Go on with random weights.")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Give options to the subcommand of this run alone: those of the others would take as long again, each."""
        if subcommand != self.settings.subcommand:
            return self.init_parser(**kwargs)
        return super()._prepare_subcommand_parser(klass, subcommand, **kwargs)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; where a checkpoint is given, say what differs from it."""
        try:
            self.config = parser.parse_args(args)
        except LPRError as error:
            hint = closest.advice(str(error), self.settings.layers, self.settings.line.flags)
            raise LPRError(f"{str(error).rstrip('.')}.{hint}") if hint else error from error
        origin = self.settings.origin
        first_fits.check_tracers(self.config[self.config.subcommand].model, origin is not None)
        first_fits.check_tracers(self.config[self.config.subcommand].data, False)  # a checkpoint holds no task's tracer
        if origin is not None:
            parsed = self.parsed()
            self.settings.check_parsed(parsed)
            model = parsed["model"]
            final = resume.leaves(model["init_args"]) if isinstance(model, dict) else {}
            origin.check_unrecorded(final)
            written = self.settings.written.get("model")
            given = resume.leaves(written["init_args"]) if isinstance(written, dict) and "init_args" in written else {}
            self.overruled = resume.report("model", resume.leaves(origin.model_arguments), given, final)

    def parsed(self) -> Settings:
        """Return all settings as plain values."""
        subcommand = self.config.subcommand
        own = self.config[subcommand]
        settings: Settings = json.loads(self._parser(subcommand).dump(own, format="json", skip_unset=False))
        return settings

    def _parse_ckpt_path(self) -> None:
        """Leave the checkpoint's settings alone: they are between those of configuration files and flags already."""

    def instantiate_classes(self) -> None:
        """Build the data first, then the model with the data's sizes, then the trainer."""
        builder = registry.Builder()
        config = copy.deepcopy(self.config)
        own = config[self.subcommand]
        with builder.unwrapped():
            keys = first_fits.TASKS if _fits_first(own.data) else ()
            tasks = {key: own.data.init_args.pop(key, None) for key in keys}
            self.datamodule = self._data(own.data, builder)
            builder.take_sizes(self.datamodule)
            for name, task in tasks.items():  # their tracers are fitted on the data without them
                own.data.init_args[name] = task
            self.fit_first(own)
            own.data = self._data(own.data, builder) if tasks else self.datamodule
            self.datamodule = own.data
            parser = self._parser(self.subcommand)
            own = parser.instantiate(own, instantiators=[(builder, object, True)])
            self.config_init = Namespace({"subcommand": self.subcommand, str(self.subcommand): own})
        self.model = self.config_init[self.subcommand].model
        builder.check_sizes(self.model)
        if self.settings.checkpoint is None:  # a checkpoint brings what its model once took from the data
            builder.connect(self.model, self.datamodule)
        self.trainer = self.instantiate_trainer()

    @staticmethod
    def _data(config: Namespace, builder: registry.Builder) -> LightningDataModule:
        """Build the data alone."""
        alone = LightningArgumentParser()
        alone.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True)
        data: LightningDataModule = alone.instantiate(
            Namespace(data=config), instantiators=[(builder, object, True)]
        ).data
        return data

    def plan_first_fits(self, data: object) -> None:
        """Parse the fits that the tracers of model and task need, and decide which of them are cached already."""
        own = self.config[self.config.subcommand]
        kinds = {path: key for _, key, path in tracer_paths([own.model, own.data]) if path.endswith(CONFIGS)}
        for path in sorted(kinds):
            number = sum(other < path and kinds[other] == kinds[path] for other in kinds)
            if path not in self.first_fits:
                name = kinds[path] + (f"_{number}" if number else "")
                try:
                    self.first_fits[path] = TracerFit(Path(path), name, self, data)
                except LPRError as error:
                    raise LPRError(f"{path}: {error}") from error

    def fit_first(self, own: Namespace) -> None:
        """Fit the tracers of model and task that are configurations, and put their checkpoints in their place."""
        self.plan_first_fits(self.datamodule)
        self.check_model(own)
        for path, fit in self.first_fits.items():
            checkpoint = fit.checkpoint()
            for holder, key, given in tracer_paths([own.model, own.data]):
                if given == path:
                    holder[key] = str(checkpoint)
        if self.first_fits:
            self._set_seed()  # the model's weights are the same whether its tracer is cached or not

    def check_model(self, own: Namespace) -> None:
        """Build the model on tracers that are not fitted, and throw it away, before any time goes into their fits.

        Raises:
            LPRError: what the model's constructor, or its stages within the trainer's epochs, refuse.
        """
        if all(fit.is_cached for fit in self.first_fits.values()):
            return
        builder = registry.Builder()
        builder.take_sizes(self.datamodule)
        model = copy.deepcopy(own.model)
        self.stand_in(model)
        alone = LightningArgumentParser()
        alone.add_lightning_class_args(LightningModule, "model", subclass_mode=True)
        with builder.unwrapped():
            built = alone.instantiate(Namespace(model=model), instantiators=[(builder, object, True)]).model
        if isinstance(built, Staged) and not own.trainer.fast_dev_run and self.config.subcommand == "fit":
            built.check_stages(own.trainer.max_epochs)

    def stand_in(self, model: Namespace) -> None:
        """Put the models of tracers' configurations, as they are before their fits, in the place of their paths."""
        for holder, key, path in tracer_paths(model):
            if fit := self.first_fits.get(path):
                tracer = copy.deepcopy(fit.config.fit.model)
                fit.stand_in(tracer)
                holder[key] = tracer

    def run_folder(self) -> Path:
        """Return the run's folder, made where it is not there yet."""
        return self.settings.folder(self.config[self.config.subcommand].model.class_path.rpartition(".")[2])

    def progress_bar(self) -> StageProgressBar:
        """Return the progress bar for a run that names none."""
        return StageProgressBar()

    def _instantiate_trainer(self, config: dict[str, object], callbacks: list[Callback]) -> Trainer:
        folder = self.run_folder()
        self.settings.decisions.publish()
        listed = config["callbacks"] or []
        listed = listed if isinstance(listed, list) else [listed]
        given = [one for one in listed if isinstance(one, Callback)]
        if config.get("enable_progress_bar") is False:
            given = [one for one in given if not isinstance(one, ProgressBar)]
        added = runs.display_callbacks(given, config, self.progress_bar())
        if self.subcommand == "fit":
            own = self.config[self.subcommand]
            often = (own.save_every_steps, own.save_every_minutes)
            added += [*runs.fit_callbacks(given, self.model, folder, config, *often), resume.Provenance()]
        if self.overruled and self.subcommand == "fit":
            added.append(resume.OverruledOptimizers())
        config["callbacks"] = [*given, *callbacks]
        if config.get("logger") in (None, True) and not config.get("fast_dev_run"):
            start = self.settings.checkpoint if self.subcommand == "fit" else None
            config["logger"] = runs.loggers(folder, None if start is None else runs.steps_of(start))
        config["default_root_dir"] = str(folder)
        config["plugins"] = runs.plugins(config.get("plugins"))
        # the configuration is saved without the checkpoint, so that starting from it again is a fresh run
        self.config[self.subcommand]["ckpt_path"] = None
        try:
            return super()._instantiate_trainer(config, added)
        except LPRError:
            raise
        except (MisconfigurationException, ValueError, TypeError) as error:
            about_device = re.search("accelerator|backend|device", str(error), re.IGNORECASE)
            advice = " --trainer.accelerator auto takes what this machine has." if about_device else ""
            raise LPRError(f"the trainer cannot be made: {str(error).rstrip('.')}.{advice}") from error

    def after_fit(self) -> None:
        """Test the best checkpoint (else the last one) where there is something to test."""
        own = self.config[self.subcommand]
        testable = is_overridden("test_step", self.model) and is_overridden("test_dataloader", self.datamodule)
        if own.test_after_fit and testable:
            path = runs.saved_checkpoint(self.trainer)
            table = self._has_own_table()
            self.trainer.test(self.model, datamodule=self.datamodule, ckpt_path=path, verbose=not table)
            self._test_further_tasks(path)

    def after_test(self) -> None:
        """Test on the further tasks of the data, where it has any."""
        self._test_further_tasks(self.settings.checkpoint)

    def _test_further_tasks(self, path: Path | None) -> None:
        """Test the checkpoint again: processes that were forked for the first test took its weights with them."""
        if not isinstance(data := self.datamodule, LearnerDataModule):
            return
        for name in list(data.tasks)[1:]:
            with data.testing(name):
                if len(data.examples("test").sizes):
                    table = self._has_own_table()
                    self.trainer.test(self.model, datamodule=data, ckpt_path=path, verbose=not table)
                else:
                    rank_zero_info(f"test/{name}: no test learner is eligible")

    def before_test(self) -> None:
        """Leave out Lightning's table of figures where there is one of our own."""
        if self._has_own_table():
            self.config_init["test"]["verbose"] = False

    def _has_own_table(self) -> bool:
        return any(isinstance(one, ResultsTable) for one in vars(self.trainer).get("callbacks", []))


def _fits_first(data: Namespace) -> bool:
    """Return whether a tracer in parsed data is a configuration."""
    return any(path.endswith(CONFIGS) for *_, path in tracer_paths(data))


class TracerFit(PathCLI):
    """The fit of a tracer, or of a teacher, that another run's model names by a configuration, or its cached result.

    It is parsed, and whether it is cached is decided, when it is constructed; `checkpoint` fits.

    Args:
        path: its configuration.
        name: folder of the fit within that of the run.
        outer: the run.
        data: the run's datamodule.
    """

    def __init__(self, path: Path, name: str, outer: PathCLI, data: object) -> None:
        self.path, self.name, self.outer, self.data = path, name, outer, data
        self.cached, self.is_cached = Path(), False
        known = outer.settings.short_names
        layer = first_fits.fit_settings(path, outer.parsed(), known)
        line = CommandLine("fit", configs=[str(path)])
        super().__init__(RunSettings(line, known, [layer], outer.settings.decisions))

    def instantiate_classes(self) -> None:
        """Only decide whether the fit is cached."""
        self.plan_first_fits(self.data)
        earlier = {path: fit.cached.stem for path, fit in self.first_fits.items()}
        self.cached = first_fits.cached_checkpoint(self.parsed(), self.data, earlier)
        self.is_cached = self.settings.decisions.cached.setdefault(self.cached.stem, self.cached.is_file())

    def _run_subcommand(self, subcommand: str) -> None:
        """Wait for `checkpoint`."""

    def checkpoint(self) -> Path:
        """Return the checkpoint of the fitted tracer; fit it where none is cached."""
        if not self.is_cached:
            self._set_seed()
            super().instantiate_classes()
            first_fits.check_recorded(self.model, self.path)
            super()._run_subcommand("fit")
            found = runs.saved_checkpoint(self.trainer)
            if found is None:
                raise SettingError(TRACER, str(self.path), "a fit that saves a checkpoint")
            if self.trainer.is_global_zero:
                first_fits.store(found, self.cached)
            self.trainer.strategy.barrier("first fit")
        fitted = "fitted before" if self.is_cached else "fitted now"
        rank_zero_info(f"{self.name}: {first_fits.summary(self.cached)}, {fitted} ({self.cached})")
        return self.cached

    def run_folder(self) -> Path:
        """Return the folder within that of the run."""
        return self.outer.run_folder() / self.name

    def progress_bar(self) -> StageProgressBar:
        """Return a bar that says that this is not yet the run itself."""
        return first_fits.FirstFitProgressBar(type(self.model).__name__)
