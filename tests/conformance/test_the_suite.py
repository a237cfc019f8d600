"""The suite itself: a good method passes every check, and for each check there is a method that does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from cases import Case
from checks import CHECKS, Check
from runs import Runs
from torch.multiprocessing.spawn import ProcessRaisedException

from lpr_lightning.errors import LPRError

CONFIG = """\
# {model}: a toy.
seed_everything: 0
model: {{class_path: broken.{model}{arguments}}}
data: {{class_path: SyntheticLearners, init_args: {{batch_size: 8, seed: 0, task: {{class_path: NextAnswers}}}}}}
trainer:
  max_epochs: 3
  callbacks: [MasteryWriter, ResultsTable{callback}]
"""
BROKEN = {
    "printed_and_saved_configurations_are_the_run": "FindsFilesFromHere",
    "the_same_seed_gives_the_same_run": "StartsAnywhere",
    "trained_weights_move_and_frozen_ones_stay": "ForgetsAWeight",
    "a_killed_run_goes_on_as_if_nothing_had_happened": "CountsOutside",
    "two_processes_do_what_one_does": "KnowsItsRank",
    "a_process_without_rows_changes_nothing": "NeedsRows",
    "the_batch_size_changes_no_figure": "LooksAround",
    "half_precision_trains": "NeedsFullPrecision",
    "the_global_step_counts_batches": "StepsTwice",
    "nothing_grows_from_step_to_step": "KeepsEverything",
    "checkpoints_are_plain_and_enough": "HidesArguments",
    "a_nan_stops_the_run": "GoesOnWithNaN",
    "a_full_disk_is_told_and_leaves_nothing_torn": "PassesOverAFullDisk",
    "a_test_alone_gives_the_figures_of_the_test_after_a_fit": "RemembersTheFit",
    "callbacks_change_nothing": "Meddles",
    "everyone_who_asks_is_answered": "AnswersNobody",
    "figures_are_named_by_stage": "NamesAtWill",
    "it_is_documented": "Good",
    **{check.name: "KnowsOneDataSet" for check in CHECKS if check.name.startswith("it_trains_on_")},
}
CALLBACKS = {"Meddles"}
ARGUMENTS = {"FindsFilesFromHere": ", init_args: {file: notes.txt}"}


def runs_of(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Write the configuration of a toy, and return its runs."""
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.setenv("LPR_ALLOW_PACKAGES", "broken")
    is_callback = name in CALLBACKS
    text = CONFIG.format(
        model="Good" if is_callback else name,
        callback=f", broken.{name}" if is_callback else "",
        arguments=ARGUMENTS.get(name, ""),
    )
    (home / "notes.txt").write_text("a file that a configuration names", encoding="utf-8")
    (home / f"{name}.yaml").write_text(text, encoding="utf-8")
    return Runs(Case(name, folder=home), home)


def test_every_check_has_a_method_that_breaks_it() -> None:
    assert BROKEN.keys() == {check.name for check in CHECKS}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The runs of a method without a fault."""
    with pytest.MonkeyPatch.context() as patch:
        return runs_of("Good", tmp_path_factory.mktemp("good"), patch)


@pytest.mark.parametrize("check", [one for one in CHECKS if one.name != "it_is_documented"], ids=lambda one: one.name)
def test_a_good_method_passes(check: Check, good: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs_of("Good", good.home, monkeypatch)
    check.run(good)


@pytest.mark.parametrize("check", CHECKS, ids=lambda one: one.name)
def test_a_broken_method_fails(check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = runs_of(BROKEN[check.name], tmp_path, monkeypatch)
    with pytest.raises(
        (AssertionError, LPRError, SystemExit, RuntimeError, ValueError, TypeError, ProcessRaisedException)
    ):
        check.run(runs)
