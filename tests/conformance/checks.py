"""What every method fulfils: each check looks at small runs of one configuration, through the command line.

A check has a name, a reason (the first line of its docstring) and a time limit. It raises an AssertionError, or lets
the run's own error through, where a method does not fulfil it; `broken.py` has a method for each that does not.
"""

from __future__ import annotations

import csv
import importlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from cases import BATCHES, EPOCHS
from lightning.pytorch import LightningModule
from official_files import WRITERS
from runs import TWO_PROCESSES, Run, Runs, Watch

from lpr_lightning.checks.method import LOGGED, differences, validated

PROJECT = Path(__file__).resolve().parents[2]
SOURCE = re.compile(r"arXiv[: ]*\d{4}\.\d{4,5}|\bet al\.,? \(?\d{4}|\(\w+,? \d{4}")
OTHER_BATCH = 3
"""Rows of a batch in the test of a model that was trained on batches of another size."""
ROUNDING = 1e-4
SHORT = ("--trainer.max_epochs=2", "--trainer.limit_train_batches=2")
"""Flags of runs on which nothing depends but that they reach their end."""


@dataclass(frozen=True)
class Check:
    """A check: what it is called, after how many seconds it is given up, and what it does with a method's runs."""

    name: str
    limit: float
    run: Callable[[Runs], None]

    @property
    def reason(self) -> str:
        """Why a method must fulfil it."""
        return (self.run.__doc__ or "").partition("\n")[0]


CHECKS: list[Check] = []


def check(limit: float = 60, name: str | None = None) -> Callable[[Callable[[Runs], None]], Callable[[Runs], None]]:
    """Make a function a check."""

    def made(function: Callable[[Runs], None]) -> Callable[[Runs], None]:
        CHECKS.append(Check(name or function.__name__, limit, function))
        return function

    return made


@check()
def printed_and_saved_configurations_are_the_run(runs: Runs) -> None:
    """A run can be written down: what is printed, or saved and read from another folder, says the same."""
    printed = runs.home / "printed.yaml"
    printed.write_text(runs.printed, encoding="utf-8")
    assert runs.print_config("--config", str(printed)) == runs.printed
    saved = runs.first.folder / "config.yaml"
    with runs.elsewhere():
        assert runs.print_config("--config", str(saved)) == runs.printed


@check()
def the_same_seed_gives_the_same_run(runs: Runs) -> None:
    """A result can be had again: weights and figures of a second run from the printed configuration are the same."""
    assert not differences(runs.first.seen.after, runs.again.seen.after)
    assert figures(runs.first) == figures(runs.again)


@check()
def trained_weights_move_and_frozen_ones_stay(runs: Runs) -> None:
    """Nothing that should learn is forgotten, and a frozen learner does not change under its policy."""
    before, seen = runs.first.seen.before, runs.first.seen
    weights = dict(seen.module.named_parameters())
    trained = {id(one) for optimizer in seen.trainer.optimizers for g in optimizer.param_groups for one in g["params"]}
    moved = {name for name in weights if not torch.equal(before[name], seen.after[name])}
    assert moved
    assert {name for name, weight in weights.items() if id(weight) in trained} <= moved
    resting = {name for name, weight in weights.items() if id(weight) not in trained}
    assert not {name for name in resting & moved if not name.startswith(runs.case.copies)}


@check()
def a_killed_run_goes_on_as_if_nothing_had_happened(runs: Runs) -> None:
    """A night's work survives kill -9 within an epoch: after `--ckpt_path last` all is that of the whole run."""
    whole, resumed = runs.first, runs.fit_killed_and_resumed("resumed")
    assert not differences(whole.seen.after, resumed.seen.after)
    assert not differences(whole.seen.optimizers, resumed.seen.optimizers)
    one, other = (
        {name: value for name, value in figures(run).items() if name.startswith("last_epoch/")}
        for run in (whole, resumed)
    )
    assert one
    assert one == other


@check()
def two_processes_do_what_one_does(runs: Runs) -> None:
    """More processes change the time, not the result: half the batch on each of two, no dropout, all to rounding."""
    size = yaml.safe_load(runs.printed)["data"]["init_args"]["batch_size"]
    words = [f"--data.batch_size={size // 2}", "--test_after_fit=false", *runs.certainly, *TWO_PROCESSES]
    folder = runs.command("fit", "two", [*runs.words, *words])
    one, two = (last(path)["state_dict"] for path in (runs.certain.folder, folder))
    assert not differences(one, two, tolerance=ROUNDING)
    assert not differences(figures(runs.certain), figures(folder), tolerance=ROUNDING)


@check()
def a_process_without_rows_changes_nothing(runs: Runs) -> None:
    """A test set has any size: with one test learner for two processes the figures are those of one process."""
    words = [*runs.words, "--data.split=[0.7,0.29,0.01]", f"--ckpt_path={runs.best}", *runs.certainly]
    one = figures(runs.command("test", "alone", words))
    two = figures(runs.command("test", "without_rows", [*words, *TWO_PROCESSES]))
    assert one
    assert not differences(one, two, tolerance=ROUNDING)


@check()
def the_batch_size_changes_no_figure(runs: Runs) -> None:
    """Who else is in a batch, and how much padding, changes neither a prediction nor a recommendation."""
    words = [*runs.words, f"--ckpt_path={runs.best}", f"--data.batch_size={OTHER_BATCH}"]
    other = figures(runs.command("test", "batches", words))
    expected = {name: value for name, value in figures(runs.first).items() if name in other}
    assert expected
    assert not differences(expected, other, tolerance=ROUNDING)


@check()
def half_precision_trains(runs: Runs) -> None:
    """A GPU is used as it should be: with bf16-mixed, no weight is NaN and every figure is there and finite."""
    words = ["--trainer.precision=bf16-mixed", "--test_after_fit=false", "--trainer.callbacks=[]"]
    run = runs.fit("bf16", *words)
    assert not any(bool(weight.isnan().any()) for weight in run.seen.after.values())
    found, expected = figures(run), figures(runs.bare)
    assert found.keys() == expected.keys()
    assert all(abs(float(str(value))) < float("inf") for value in found.values())


@check()
def the_global_step_counts_batches(runs: Runs) -> None:
    """Schedules, `max_steps` and logs mean the same for every method."""
    assert runs.first.seen.step == runs.first.seen.batches == EPOCHS * BATCHES


@check()
def nothing_grows_from_step_to_step(runs: Runs) -> None:
    """A long run ends: objects, tensors and open files of the second half of a run are those of the first."""
    half = runs.case.watched // 2
    watch = f"[{{class_path: runs.Watch, init_args: {{epoch: {half // BATCHES}}}}}]"
    limits = [f"--trainer.max_epochs={2 * half // BATCHES}", "--trainer.limit_val_batches=0"]
    runs.fit("watched", "--test_after_fit=false", f"--trainer.callbacks={watch}", *limits)
    before, after = Watch.seen
    assert after.files <= before.files
    assert after.objects - before.objects < half
    assert after.tensor_bytes - before.tensor_bytes < half, f"{before} grows to {after} in {half} steps"


@check()
def checkpoints_are_plain_and_enough(runs: Runs) -> None:
    """Every checkpoint loads with `weights_only=True`, without the data, and gives what the fitted module gives."""
    checkpoints = sorted(runs.first.folder.glob("checkpoints/*.ckpt"))
    assert {path.name for path in checkpoints} == {"best.ckpt", "last.ckpt"}
    for path in checkpoints:
        torch.load(path, weights_only=True)
    fitted, loader = runs.bare.seen.module, runs.bare.seen.trainer.val_dataloaders
    last_checkpoint = runs.bare.folder / "checkpoints" / "last.ckpt"
    with runs.elsewhere() as empty:
        loaded = method_class(runs).load_from_checkpoint(last_checkpoint, map_location="cpu", weights_only=True)
        assert not differences(validated(fitted, loader, empty), validated(loaded, loader, empty))


@check()
def a_nan_stops_the_run(runs: Runs) -> None:
    """Training on NaN ends in an error, and no checkpoint with NaN replaces a good one."""
    assert runs.exit_code("spoiled", "--test_after_fit=false", "--trainer.callbacks=[runs.Spoil]") == 2
    (folder,) = runs.home.glob("spoiled/logs/*/version_0")
    assert not any(bool(one.isnan().any()) for one in last(folder)["state_dict"].values())


@check()
def a_full_disk_is_told_and_leaves_nothing_torn(runs: Runs) -> None:
    """A disk that is full before a checkpoint is whole is one clear error, and every file that is left can be read."""
    size = (runs.bare.folder / "checkpoints" / "last.ckpt").stat().st_size
    code, told = runs.with_small_files("full", size // 2, "--test_after_fit=false", "--trainer.callbacks=[]")
    assert code == 2
    assert len([line for line in told.splitlines() if line.startswith("error: ")]) == 1
    for path in runs.home.glob("full/logs/*/version_0/checkpoints/*.ckpt"):
        torch.load(path, weights_only=True)
    assert not list(runs.home.glob("full/logs/*/version_0/checkpoints/.*"))


@check()
def a_test_alone_gives_the_figures_of_the_test_after_a_fit(runs: Runs) -> None:
    """A figure belongs to a checkpoint and the data, not to what the process did before."""
    after = figures(runs.first)
    alone = figures(runs.command("test", "first", [*runs.words, "--ckpt_path=best"]))
    assert alone
    assert alone == {name: value for name, value in after.items() if name.startswith("test/")}


@check()
def callbacks_change_nothing(runs: Runs) -> None:
    """Looking on does not change what is looked at: no callback draws from a generator of the training."""
    assert not differences(runs.first.seen.after, runs.bare.seen.after)


@check()
def everyone_who_asks_is_answered(runs: Runs) -> None:
    """`predict` answers unseen learners, with and without a history, in a file of the run's folder."""
    first, second = runs.first.seen.concept_names[:2]
    goals, histories = runs.home / "goals.csv", runs.home / "histories.csv"
    goals.write_text(f"learner,targets,length\nAda,{first};{second},4\nBen,{second},4\n", encoding="utf-8")
    answers = [f"Ada,{name},{right}\n" for name, right in [(first, 1), (second, 0)] * 4]
    histories.write_text("learner,concept,correct\n" + "".join(answers), encoding="utf-8")
    asked = [f"--data.predict_goals={goals}", f"--data.predict_histories={histories}"]
    folder = runs.command("predict", "predicted", [*runs.words, *asked, f"--ckpt_path={runs.best}"])
    assert {"Ada", "Ben"} in [_learners(path) for path in folder.glob("*.csv")]


@check()
def figures_are_named_by_stage(runs: Runs) -> None:
    """Logged names are `stage/name` and the ones every table asks for are there."""
    with (runs.first.folder / "metrics.csv").open(encoding="utf-8") as file:
        names = set(csv.DictReader(file).fieldnames or ()) - {"epoch", "step"}
    assert not {name for name in names if not LOGGED.fullmatch(name)}
    assert "train/loss" in names
    assert {name.split("/")[0] for name in figures(runs.first)} == {"val", "test", "last_epoch"}


@check()
def it_is_documented(runs: Runs) -> None:
    """The class names its source, the README has its row (test_configs.py reads the comments of the yaml)."""
    cls = method_class(runs)
    assert SOURCE.search(cls.__doc__ or ""), f"{cls.__name__}'s docstring names no source"
    rows = [line for line in (PROJECT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert [row for row in rows if f"`{cls.__name__}`" in row and f"`configs/{runs.case.name}.yaml`" in row]


def _overlay(name: str) -> Callable[[Runs], None]:
    def run(runs: Runs) -> None:
        """Real learners are one overlay away: a method trains on the official files and is tested."""
        root = runs.home / f"official_{name}"
        root.mkdir()
        WRITERS[name](root)
        words = ["--config", str(PROJECT / "configs" / "data" / f"{name}.yaml"), f"--data.root={root}", *SHORT]
        method = runs.case.words_without_data(runs.quick)
        folder = runs.command("fit", f"on_{name}", [*method, *words, *runs.case.on_small_files])
        assert {one.split("/")[0] for one in figures(folder)} >= {"val", "test"}

    return run


for _name in WRITERS:
    check(name=f"it_trains_on_{_name}")(_overlay(_name))


def figures(run: Run | Path) -> dict[str, object]:
    """Return the `val/` and `test/` figures of a run; one that is undefined as the text "nan"."""
    folder = run.folder if isinstance(run, Run) else run
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {name: str(value) if value != value else value for name, value in content.items() if "/" in name}


def last(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Return the last checkpoint of a run."""
    checkpoint: dict[str, dict[str, torch.Tensor]] = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    return checkpoint


def method_class(runs: Runs) -> type[LightningModule]:
    """Return the method's class by the name that its configuration gives."""
    module, _, name = str(yaml.safe_load(runs.printed)["model"]["class_path"]).rpartition(".")
    cls: type[LightningModule] = vars(importlib.import_module(module))[name]
    return cls


def _learners(path: Path) -> set[str | None]:
    """Return whom the rows of a table are about."""
    with path.open(encoding="utf-8") as file:
        return {row.get("learner") for row in csv.DictReader(file)}
