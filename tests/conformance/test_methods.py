"""What every method fulfils: each check runs on each configuration in `configs/`, small, through the command line.

A new method enters by its yaml and at most one line in `cases.py`; what it does not fulfil yet stands in `GAPS` there.
"""

from __future__ import annotations

import csv
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from cases import BATCHES, CONFIGS, EPOCHS, GAPS, METHODS, Case
from lightning.pytorch import LightningModule
from runs import TWO_PROCESSES, Run, Runs

from lpr_lightning.checks.method import LOGGED, differences, validated

SOURCE = re.compile(r"arXiv[: ]*\d{4}\.\d{4,5}|\bet al\.,? \(?\d{4}|\(\w+,? \d{4}")


@pytest.fixture(scope="session", params=METHODS, ids=lambda case: case.name)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """The runs of one method; tests are put in order by method, so that they share them."""
    case: Case = request.param
    home = tmp_path_factory.mktemp(case.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        yield Runs(case, home)


@pytest.fixture(autouse=True)
def _gap(request: pytest.FixtureRequest) -> None:
    """Expect a check to fail where `GAPS` says so; one that passes all the same is an error."""
    if "runs" in request.fixturenames:
        method: str = request.getfixturevalue("runs").case.name
        if reason := GAPS.get((method, request.node.originalname)):
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to an empty folder, with an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LPR_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_printed_and_saved_configurations_are_the_run(runs: Runs) -> None:
    """A run can be written down: what is printed or saved, read again, says the same."""
    printed = runs.home / "printed.yaml"
    printed.write_text(runs.printed, encoding="utf-8")
    assert runs.print_config("--config", str(printed)) == runs.printed
    saved = runs.print_config("--config", str(runs.first.folder / "config.yaml"))
    assert saved == runs.printed


def test_the_same_seed_gives_the_same_run(runs: Runs) -> None:
    """A result can be had again: weights and figures of a second run from the printed configuration are the same."""
    assert not differences(runs.first.seen.after, runs.again.seen.after)
    assert _figures(runs.first) == _figures(runs.again)


def test_trained_weights_move_and_frozen_ones_stay(runs: Runs) -> None:
    """Nothing that should learn is forgotten, and a frozen learner does not change under its policy."""
    before, seen = runs.first.seen.before, runs.first.seen
    weights = dict(seen.module.named_parameters())
    trained = {id(one) for optimizer in seen.trainer.optimizers for g in optimizer.param_groups for one in g["params"]}
    moved = {name for name in weights if not torch.equal(before[name], seen.after[name])}
    assert moved
    assert {name for name, weight in weights.items() if id(weight) in trained} <= moved
    resting = {name for name, weight in weights.items() if id(weight) not in trained}
    assert not {name for name in resting & moved if not name.startswith(runs.case.copies)}


def test_a_killed_run_goes_on_as_if_nothing_had_happened(runs: Runs) -> None:
    """kill -9 within an epoch, `--ckpt_path last`: weights, optimizer and figures are those of the whole run."""
    _assert_same_end(runs.first, runs.fit_killed_and_resumed("resumed"))


def test_two_processes_do_what_one_does(runs: Runs) -> None:
    """Half the batch on each of two processes, no dropout: the same weights and figures to rounding."""
    size = yaml.safe_load(runs.printed)["data"]["init_args"]["batch_size"]
    words = [f"--data.batch_size={size // 2}", "--test_after_fit=false", *runs.certainly, *TWO_PROCESSES]
    folder = runs.command("fit", "two", [*runs.case.words, *words])
    one, two = (_last(path)["state_dict"] for path in (runs.certain.folder, folder))
    assert not differences(one, two, tolerance=1e-4)
    assert not differences(_figures(runs.certain), _figures(folder), tolerance=1e-4)


def test_the_global_step_counts_batches(runs: Runs) -> None:
    """Schedules, `max_steps` and logs mean the same for every method."""
    assert runs.first.seen.step == runs.first.seen.batches == EPOCHS * BATCHES


def test_checkpoints_are_plain_and_enough(runs: Runs, empty: Path) -> None:
    """Every checkpoint loads with `weights_only=True`, without the data, and gives what the fitted module gives."""
    checkpoints = sorted(runs.first.folder.glob("checkpoints/*.ckpt"))
    assert {path.name for path in checkpoints} == {"best.ckpt", "last.ckpt"}
    for path in checkpoints:
        torch.load(path, weights_only=True)
    fitted, loader = runs.bare.seen.module, runs.bare.seen.trainer.val_dataloaders
    last = runs.bare.folder / "checkpoints" / "last.ckpt"
    loaded = _class(runs).load_from_checkpoint(last, map_location="cpu", weights_only=True)
    assert not differences(validated(fitted, loader, empty), validated(loaded, loader, empty))


def test_a_nan_stops_the_run(runs: Runs) -> None:
    """Training on NaN ends in an error, and no checkpoint with NaN replaces a good one."""
    with pytest.raises(SystemExit, match="2"):
        runs.fit("spoiled", "--test_after_fit=false", "--trainer.callbacks=[runs.Spoil]")
    (folder,) = runs.home.glob("spoiled/logs/*/version_0")
    assert not any(bool(one.isnan().any()) for one in _last(folder)["state_dict"].values())


def test_a_test_alone_gives_the_figures_of_the_test_after_a_fit(runs: Runs) -> None:
    """A figure belongs to a checkpoint and the data, not to what the process did before."""
    after = _figures(runs.first)
    alone = _figures(runs.command("test", "first", [*runs.case.words, "--ckpt_path=best"]))
    assert alone
    assert alone == {name: value for name, value in after.items() if name.startswith("test/")}


def test_callbacks_change_nothing(runs: Runs) -> None:
    """Looking on does not change what is looked at: no callback draws from a generator of the training."""
    assert not differences(runs.first.seen.after, runs.bare.seen.after)


def test_everyone_who_asks_is_answered(runs: Runs) -> None:
    """`predict` answers unseen learners, with and without a history, in a file of the run's folder."""
    first, second = runs.first.seen.concept_names[:2]
    goals, histories = runs.home / "goals.csv", runs.home / "histories.csv"
    goals.write_text(f"learner,targets,length\nAda,{first};{second},4\nBen,{second},4\n", encoding="utf-8")
    answers = [f"Ada,{name},{right}\n" for name, right in [(first, 1), (second, 0)] * 4]
    histories.write_text("learner,concept,correct\n" + "".join(answers), encoding="utf-8")
    best = runs.first.folder / "checkpoints" / "best.ckpt"
    asked = [f"--data.predict_goals={goals}", f"--data.predict_histories={histories}"]
    folder = runs.command("predict", "predicted", [*runs.case.words, *asked, f"--ckpt_path={best}"])
    assert {"Ada", "Ben"} in [_learners(path) for path in folder.glob("*.csv")]


def test_figures_are_named_by_stage(runs: Runs) -> None:
    """Logged names are `stage/name` and the ones every table asks for are there."""
    with (runs.first.folder / "metrics.csv").open(encoding="utf-8") as file:
        names = set(csv.DictReader(file).fieldnames or ()) - {"epoch", "step"}
    assert not {name for name in names if not LOGGED.fullmatch(name)}
    assert "train/loss" in names
    assert {name.split("/")[0] for name in _figures(runs.first)} == {"val", "test", "last_epoch"}


def test_it_is_documented(runs: Runs, project: Path) -> None:
    """The class names its source, the README has its row (test_configs.py reads the comments of the yaml)."""
    cls = _class(runs)
    assert SOURCE.search(cls.__doc__ or ""), f"{cls.__name__}'s docstring names no source"
    rows = [line for line in (project / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert [row for row in rows if f"`{cls.__name__}`" in row and f"`configs/{runs.case.name}.yaml`" in row]


def test_every_gap_is_one_of_a_method_and_a_check() -> None:
    """A renamed check takes its gaps along."""
    assert {method for method, _ in GAPS} <= {case.name for case in METHODS}
    assert {check for _, check in GAPS} <= globals().keys()
    assert {case.config for case in METHODS} == set(CONFIGS.glob("*.yaml"))


def _assert_same_end(whole: Run, resumed: Run) -> None:
    assert not differences(whole.seen.after, resumed.seen.after)
    assert not differences(whole.seen.optimizers, resumed.seen.optimizers)
    one, other = _figures(whole), _figures(resumed)
    last = {name: one[name] for name in one if name.startswith("last_epoch/")}
    assert last
    assert last == {name: other[name] for name in other if name.startswith("last_epoch/")}


def _figures(run: Run | Path) -> dict[str, object]:
    """Return the `val/`, `test/` and `last_epoch/` figures of a run."""
    folder = run.folder if isinstance(run, Run) else run
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {name: value for name, value in content.items() if "/" in name}


def _last(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    checkpoint: dict[str, dict[str, torch.Tensor]] = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    return checkpoint


def _class(runs: Runs) -> type[LightningModule]:
    """Return the method's class by the name that its configuration gives."""
    module, _, name = str(yaml.safe_load(runs.printed)["model"]["class_path"]).rpartition(".")
    cls: type[LightningModule] = vars(importlib.import_module(module))[name]
    return cls


def _learners(path: Path) -> set[str | None]:
    """Return whom the rows of a table are about."""
    with path.open(encoding="utf-8") as file:
        return {row.get("learner") for row in csv.DictReader(file)}
