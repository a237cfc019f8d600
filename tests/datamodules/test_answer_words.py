"""Which texts mean a right answer, a wrong one, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lpr_lightning.datamodules.interactions_csv import InteractionsCSV
from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.errors import DataError


def read(tmp_path: Path, answers: list[str], **options: Any) -> AnswerTable:
    rows = [f"a,c,{answer}" for answer in answers]
    (tmp_path / "interactions.csv").write_text("\n".join(["learner,concept,correct", *rows]))
    common: dict[str, Any] = {"cache_dir": str(tmp_path / "cache"), "min_answers": 1, "order": None, "item": None}
    return InteractionsCSV(str(tmp_path), **common, **options)._loaded()


@pytest.mark.parametrize(
    ("answers", "options", "expected", "counts"),
    [
        (["1", "0.0", "TRUE", "false"], {}, [1, 0, 1, 0], {}),
        (["correct", "INCORRECT", "hint"], {"right": "correct", "wrong": ["incorrect", "hint"]}, [1, 0, 0], {}),
        (["Accepted", "WA", "0"], {"right": "Accepted", "wrong": "*"}, [1, 0, 0], {}),
        (["1", "-1", "-1.0", "0"], {"no_answer": -1}, [1, 0], {"dropped: no answer": 2}),
        (["1", "NA", "0"], {"no_answer": ["na"]}, [1, 0], {"dropped: no answer": 1}),
        (["2", "1"], {"right": [2], "wrong": [1]}, [1, 0], {}),
        (
            ["1", "0.5", "0.25", "0"],
            {"partial_credit": 0.5},
            [1, 1, 0, 0],
            {"partial credit taken as right": 1, "partial credit taken as wrong": 1},
        ),
        (["1", "0.5", "0"], {"partial_credit": "drop"}, [1, 0], {"dropped: partial credit": 1}),
        (["100", "60", "0"], {"right": 100, "partial_credit": 50}, [1, 1, 0], {"partial credit taken as right": 1}),
    ],
)
def test_texts_are_marked(
    tmp_path: Path, answers: list[str], options: dict[str, Any], expected: list[int], counts: dict[str, int]
) -> None:
    table = read(tmp_path, answers, **options)
    assert table.log.correct.tolist() == expected
    assert {name: count for name, count in table.counts.items() if "answer" in name or "partial" in name} == counts


@pytest.mark.parametrize(
    ("answers", "options", "message"),
    [
        (["1", "maybe"], {}, r"row 3, column 'correct': expected .*'maybe'; name texts with --data.right"),
        (["1", "0.5"], {}, r"row 3, column 'correct': .*'0.5'; say what partial credit .* --data.partial_credit"),
        (["1", "1.5"], {"partial_credit": 0.5}, r"row 3, column 'correct'"),
        (["1", "-0.5"], {"partial_credit": 0.5}, r"row 3, column 'correct'"),
        (["1", ""], {"wrong": "*"}, r"row 3, column 'correct'"),
        (["2", "0"], {"right": [2], "wrong": [1]}, r"row 3, column 'correct'"),
    ],
)
def test_other_texts_are_refused(tmp_path: Path, answers: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, answers, **options)
