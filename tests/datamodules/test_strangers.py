from __future__ import annotations

from pathlib import Path

import pytest

from lpr_lightning.datamodules.strangers import Strangers
from lpr_lightning.errors import DataError, MissingFileError

VOCABULARY = {"Fractions": 0, "Decimals": 1, "Percent Of": 2, "17": 0, "18": 1, "2_37": 2}


def read(tmp_path: Path, goals: str, histories: str | None = None) -> Strangers:
    (tmp_path / "goals.csv").write_text(goals)
    if histories is not None:
        (tmp_path / "histories.csv").write_text(histories)
    path = None if histories is None else str(tmp_path / "histories.csv")
    return Strangers.read(str(tmp_path / "goals.csv"), path, 10, VOCABULARY, ["q1", "q2"])


def test_histories_and_goals_become_requests(tmp_path: Path) -> None:
    strangers = read(
        tmp_path,
        "learner,targets,length\nbo,Fractions; 18,5\nnew,Percent Of,\nbo,2_37,7\n",
        "learner,concept,correct,order,item\nbo,Decimals,1,9,q2\nbo,17;18,0,10,q1\nother,17,1,1,q1\nbo,18_17,1,2,q9\n",
    )
    assert strangers.learners == ["bo", "new", "bo"]
    request = strangers.batch(strangers.sizes.argsort(stable=True))
    assert request.row.tolist() == [1, 0, 2]
    assert request.length.tolist() == [10, 5, 7]
    assert request.targets.tolist() == [[False, False, True], [True, True, False], [False, False, True]]
    assert request.history.mask.sum(1).tolist() == [0, 3, 3]
    assert request.history.concept[1].tolist() == [[0, 1], [1, -1], [0, 1]]
    assert request.history.correct[1].tolist() == [1.0, 1.0, 0.0]
    assert request.history.item[1].tolist() == [-1, 1, 0]
    assert request.learner.tolist() == [-1, -1, -1]


def test_nobody_needs_a_history(tmp_path: Path) -> None:
    strangers = read(tmp_path, "learner,targets\nann,17\n")
    request = strangers.batch(strangers.sizes.new_zeros(1))
    assert request.history.concept.shape[:2] == (1, 0)


@pytest.mark.parametrize(
    ("goals", "histories", "message"),
    [
        ("learner,targets\na,Fractoins\n", None, r"goals.csv, row 2, column 'targets': .*'Fractoins'.*'Fractions'"),
        ("learner,targets\na,\n", None, "the cell is empty"),
        ("learner,targets\n", None, "no row below the header"),
        ("learner,goal\na,17\n", None, "column 'targets': the column is missing"),
        ("learner,targets,length\na,17,0\n", None, r"row 2, column 'length': expected a number of 1 or more"),
        ("learner,targets\na,17\n", "learner,concept,correct\na,17,0.5\n", r"row 2, column 'correct'"),
        ("learner,targets\na,17\n", "learner,concept,correct\na,17,1\na,99,1\n", r"row 3, column 'concept': .*'99'"),
    ],
)
def test_errors_name_the_place(tmp_path: Path, goals: str, histories: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, goals, histories)


def test_a_missing_file_names_the_argument(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="predict_goals"):
        Strangers.read(str(tmp_path / "none.csv"), None, 10, VOCABULARY)
