from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser
from lightning import LightningDataModule

from lpr_lightning.cli.session import run
from lpr_lightning.datamodules.assist09 import ASSIST09
from lpr_lightning.datamodules.dbe_kt22 import DBEKT22
from lpr_lightning.datamodules.interactions_csv import InteractionsCSV
from lpr_lightning.datamodules.junyi import Junyi
from lpr_lightning.datamodules.question_file import QuestionFile
from lpr_lightning.datamodules.xes3g5m import XES3G5M
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.tasks.next_paths import NextPaths
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.tasks.question_texts import QuestionTexts
from lpr_lightning.tasks.random_requests import RandomRequests

FOLDER = Path(__file__).parents[2] / "configs" / "data"
OWN = ("csv", "kdd_cup", "datashop", "three_lines", "ednet_kt1")
OVERLAYS = {"assist09": ASSIST09, "junyi": Junyi, "xes3g5m": XES3G5M, "dbe_kt22": DBEKT22}
OVERLAYS |= {"question_file": QuestionFile}
OVERLAYS |= dict.fromkeys(OWN, InteractionsCSV)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_keeps_what_the_method_said(tmp_path: Path, name: str) -> None:
    other = Junyi if name in OWN else InteractionsCSV
    before: dict[str, Any] = {"root": "elsewhere", "batch_size": 7, "seed": 3}
    method = {"data": {"class_path": f"{other.__module__}.{other.__name__}", "init_args": before}}
    (tmp_path / "method.yaml").write_text(json.dumps(method))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(LightningDataModule, "data")
    files = [f"--config={tmp_path / 'method.yaml'}", f"--config={FOLDER / (name + '.yaml')}"]
    data = parser.parse_args([*files, "--data.root=here"]).data
    assert data.class_path.rpartition(".")[2] == OVERLAYS[name].__name__
    assert (data.init_args.root, data.init_args.batch_size, data.init_args.seed) == ("here", 7, 3)


def test_there_is_no_other_overlay() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(OVERLAYS)


@pytest.mark.parametrize("task", [NextAnswers, NextPaths, PathRequests, QuestionTexts, RandomRequests])
def test_the_command_line_takes_every_task(task: type) -> None:
    """Its parser compares the annotations of a task with those of the protocol, which no type checker does."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(ASSIST09, "data")
    taken = parser.parse_args(["--data.root=here", f"--data.task={task.__module__}.{task.__qualname__}"])
    assert taken.data.task.class_path.rpartition(".")[2] == task.__name__


@pytest.mark.parametrize(
    ("mark", "flags"),
    [
        ("~", ["--data.separator=~", "--data.concept_separator", "#"]),
        ("\t", ["--data.separator", "\\t", "--data.concept_separator=#"]),
    ],
)
def test_separators_arrive_as_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str, flags: list[str]
) -> None:
    """Yaml reads `~` as nothing and `#` as a remark."""
    monkeypatch.chdir(tmp_path)
    rows = ["learner,order,item,concept,correct", *(f"l{n // 5},{n},q,c{n % 2}#d,{n % 3 % 2}" for n in range(100))]
    (tmp_path / "log.csv").write_text("\n".join(rows).replace(",", mark))
    files = [f"--config={FOLDER.parent / 'dkt.yaml'}", f"--config={FOLDER / 'csv.yaml'}"]
    quiet = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false", "--trainer.callbacks=null"]
    data = run(["fit", *files, "--data.root=log.csv", *flags, *quiet, "--test_after_fit=false"]).datamodule
    assert isinstance(data, InteractionsCSV)
    assert data.concept_names == ["c0", "c1", "d"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_each_key_says_what_it_means(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    assert all(" # " in line for line in lines if line.startswith("    "))
