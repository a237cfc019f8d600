from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from lpr_lightning.datamodules.unseen_learners import UnseenLearners, joined
from lpr_lightning.errors import DataError, MissingFileError, SettingError
from lpr_lightning.types import Interactions

VOCABULARY = {"Fractions": 0, "Decimals": 1, "Percent Of": 2, "17": 0, "18": 1, "2_37": 2}


def read(tmp_path: Path, goals: str | None, histories: str | None = None, answers: str | None = None) -> UnseenLearners:
    paths: dict[str, str | None] = {}
    for name, text in (("goals", goals), ("histories", histories), ("answers", answers)):
        paths[name] = None if text is None else str(tmp_path / f"{name}.csv")
        if text is not None:
            (tmp_path / f"{name}.csv").write_text(text)
    items = ["q1", "q2"]
    return UnseenLearners.read(paths["goals"], paths["histories"], 10, VOCABULARY, items, paths["answers"])


def test_histories_and_goals_become_requests(tmp_path: Path) -> None:
    requests = read(
        tmp_path,
        "learner,targets,length\nbo,Fractions; 18,5\nnew,Percent Of,\nbo,2_37,7\n",
        "learner,concept,correct,order,item\nbo,Decimals,1,9,q2\nbo,17;18,0,10,q1\nother,17,1,1,q1\nbo,18_17,1,2,q9\n",
    )
    assert requests.learners == ["bo", "new", "bo"]
    request = requests.batch(requests.sizes.argsort(stable=True))
    assert request.row.tolist() == [1, 0, 2]
    assert request.length.tolist() == [10, 5, 7]
    assert request.targets.tolist() == [[False, False, True], [True, True, False], [False, False, True]]
    assert request.history.mask.sum(1).tolist() == [0, 3, 3]
    assert request.history.concept[1].tolist() == [[0, 1], [1, -1], [0, 1]]
    assert request.history.correct[1].tolist() == [1.0, 1.0, 0.0]
    assert request.history.item[1].tolist() == [-1, 1, 0]
    assert request.learner.tolist() == [-1, -1, -1]


def test_without_goals_everyone_with_a_history_is_asked_for(tmp_path: Path) -> None:
    histories = "learner,concept,correct,order\nzoe,17,1,2\nann,18,0,1\nzoe,2_37,0,1\n"
    requests = read(tmp_path, None, histories)
    assert requests.learners == ["zoe", "ann"]
    request = requests.asking(pytest.fail).batch(torch.arange(2))
    assert request.history.concept.squeeze(-1).tolist() == [[2, 0], [1, -1]]
    assert request.length.tolist() == [10, 10]
    assert not bool(request.targets.any())
    assert request.asked is None


def test_neither_goals_nor_histories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="predict_goals"):
        read(tmp_path, None)
    with pytest.raises(DataError, match=r"histories.csv: there is no row below the header"):
        read(tmp_path, None, "learner,concept,correct\n")


@pytest.mark.parametrize("header", ["learner,targets,items", "learner,items,targets"])
def test_questions_may_be_listed(tmp_path: Path, header: str) -> None:
    rows = [{"learner": "bo", "targets": "17", "items": "q2; q1"}, {"learner": "new", "targets": "", "items": "q2"}]
    rows.append({"learner": "ann", "targets": "18", "items": ""})
    lines = [",".join(row[name] for name in header.split(",")) for row in rows]
    requests = read(tmp_path, "\n".join([header, *lines]))
    concepts = torch.tensor([[0, -1], [1, 2]])
    request = requests.asking(lambda: concepts).batch(torch.tensor([2, 0, 1]))
    assert request.asked is not None
    assert request.asked.item.tolist() == [[-1, -1], [0, 1], [1, -1]]
    assert request.asked.concept.tolist() == [
        [[-1, -1], [-1, -1]],
        [[0, -1], [1, 2]],
        [[1, 2], [-1, -1]],
    ]
    assert request.targets.tolist() == [[False, True, False], [True, False, False], [False] * 3]


def test_questions_alone_may_be_asked_for(tmp_path: Path) -> None:
    requests = read(tmp_path, "learner,items\nbo,q2\n")
    assert requests.items is not None
    assert requests.items.tolist() == [[1]]


def test_nobody_needs_a_history(tmp_path: Path) -> None:
    requests = read(tmp_path, "learner,targets\nann,17\n")
    request = requests.batch(requests.sizes.new_zeros(1))
    assert request.history.concept.shape[:2] == (1, 0)


def test_answers_since_the_path_began_continue_the_request(tmp_path: Path) -> None:
    """A history of 2, 3 answers since, length 5: a history of 5, length 2."""
    requests = read(
        tmp_path,
        "learner,targets,length\nbo,2_37,5\nnew,17,\n",
        "learner,concept,correct,item\nbo,17,1,q1\nbo,18,0,q2\n",
        "learner,concept,correct,order\nbo,18,1,30\nbo,17;2_37,0,10\nbo,2_37,1,20\n",
    )
    request = requests.batch(torch.arange(2))
    assert request.history.lengths.tolist() == [5, 0]
    assert request.length.tolist() == [2, 10]
    assert request.history.concept[0].tolist() == [[0, -1], [1, -1], [0, 2], [2, -1], [1, -1]]
    assert request.history.correct[0].tolist() == [1.0, 0.0, 0.0, 1.0, 1.0]
    assert request.history.item[0].tolist() == [0, 1, -1, -1, -1]
    assert request.learner.tolist() == request.history.learner.tolist() == [-1, -1]
    assert request.targets.tolist() == [[False, False, True], [True, False, False]]


def test_no_step_is_left_of_a_path_that_was_walked(tmp_path: Path) -> None:
    goals = "learner,targets,length\nann,17,2\nbo,17,2\nann,18,4\n"
    requests = read(tmp_path, goals, None, "learner,concept,correct\n" + "ann,17,1\n" * 3 + "bo,18,1\n" * 2)
    assert requests.length.tolist() == [0, 0, 1]
    assert requests.sizes.tolist() == [3, 2, 3]


def test_joined_logs_are_those_of_plain_lists() -> None:
    generator = random.Random(0)

    def drawn() -> list[list[tuple[int, int]]]:
        return [
            [(generator.randrange(9), generator.randrange(2)) for _ in range(generator.randrange(4))] for _ in range(50)
        ]

    first, second = drawn(), drawn()
    log = joined(Interactions.from_lists(first), Interactions.from_lists(second))
    expected = Interactions.from_lists([before + after for before, after in zip(first, second)])
    assert torch.equal(log.offsets, expected.offsets)
    assert torch.equal(log.concept, expected.concept)
    assert torch.equal(log.item, expected.item)
    assert torch.equal(log.correct, expected.correct)


def test_answers_without_a_goal_are_refused(tmp_path: Path) -> None:
    answers = "learner,concept,correct\nann,17,1\nzed,17,1\nzed,18,1\n"
    with pytest.raises(DataError, match=r"answers.csv, row 3, column 'learner': .*'zed' has answers, but no row in "):
        read(tmp_path, "learner,targets\nann,17\n", None, answers)


@pytest.mark.parametrize(
    ("goals", "histories", "message"),
    [
        ("learner,targets\na,Fractoins\n", None, r"goals.csv, row 2, column 'targets': .*'Fractoins'.*'Fractions'"),
        ("learner,targets\na,\n", None, "the cell is empty"),
        ("learner,targets\n", None, "no row below the header"),
        (
            "learner,items\na,q2\nb,Q3\n",
            None,
            r"row 3, column 'items': the question 'Q3' is not known",
        ),
        ("learner,items,targets\na,q2,17\nb,,\n", None, r"row 3, column 'items': expected questions, or targets"),
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
        UnseenLearners.read(str(tmp_path / "none.csv"), None, 10, VOCABULARY)
