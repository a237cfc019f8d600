"""Logs of known forms through their overlays: KDD Cup, DataShop, three lines a learner, a file for each learner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from lpr_lightning.datamodules.interactions_csv import InteractionsCSV
from lpr_lightning.errors import DataError, MissingFileError

CONFIGS = Path(__file__).parents[2] / "configs" / "data"


def read(root: Path, overlay: str | None = None, **more: Any) -> InteractionsCSV:
    given = {} if overlay is None else yaml.safe_load((CONFIGS / f"{overlay}.yaml").read_text())["data"]["init_args"]
    options = given | {"min_answers": 1, "cache_dir": str(root.parent / "cache")} | more
    return InteractionsCSV(str(root), **options)


def named(data: InteractionsCSV) -> list[tuple[str, set[str], int]]:
    """Return question, concepts and correctness of all answers."""
    table = data._loaded()
    log = table.log
    cells = [{table.concepts[one] for one in row if one >= 0} for row in log.concept.tolist()]
    return list(zip([table.items[one] for one in log.item.tolist()], cells, log.correct.tolist(), strict=True))


def steps(folder: Path, columns: str, rows: list[str]) -> Path:
    file = folder / "steps.txt"
    file.write_text("\n".join([columns, *rows]).replace("|", "\t") + "\n")
    return file


def test_kdd_cup(tmp_path: Path) -> None:
    columns = "Row|Anon Student Id|Problem Name|Problem View|Step Name|First Transaction Time|Correct First Attempt"
    columns += "|KC(Default)"
    rows = [
        '1|s1|P "1|1|x = 2|2005-09-09 12:24:36.0|0|Solve~~Divide by 2',
        '2|s1|P "1|1|x = 2|2005-09-09 12:24:35.0|1|Divide by 2',
        '3|s1|P "1|1|x = 2|2005-09-09 12:24:35.0|1|Divide by 2',
        '4|s1|P "1|2|x = 2|2005-09-09 12:24:35.0|1|Divide by 2',
        "5|s1|P2||x = 2|2005-09-09 12:24:39.0|1|",
    ]
    data = read(steps(tmp_path, columns, [row.replace("P2||", "P2|1|") for row in rows]), "kdd_cup")
    step = 'P "1 / x = 2'
    assert named(data) == [(step, {"Divide by 2"}, 1), (step, {"Divide by 2"}, 1), (step, {"Solve", "Divide by 2"}, 0)]
    counts = data._loaded().counts
    assert (counts["dropped: exact duplicate"], counts["dropped: no concept"]) == (1, 1)


def test_datashop(tmp_path: Path) -> None:
    columns = "Anon Student Id|Problem Name|Problem View|Step Name|First Transaction Time|First Attempt|KC (Default)"
    rows = [
        f"s1|P1|1|{step}|2009-02-25 14:28:3{n}.0|{first}|Area"
        for n, (step, first) in enumerate([("a", "correct"), ("b", "hint"), ("", "incorrect")])
    ]
    data = read(steps(tmp_path, columns, rows), "datashop")
    assert named(data) == [("P1 / a", {"Area"}, 1), ("P1 / b", {"Area"}, 0), ("P1 / ", {"Area"}, 0)]


def test_three_lines(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    file.write_text("3\n7,9,7\n1,0,1\n\n2\n9,8,\n0,1,\n")
    data = read(tmp_path, "three_lines")
    assert named(data) == [("7", {"7"}, 1), ("9", {"9"}, 0), ("7", {"7"}, 1), ("9", {"9"}, 0), ("8", {"8"}, 1)]
    assert data._loaded().learners == ["1", "2"]
    assert data._loaded().log.lengths.tolist() == [3, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3\n7,9\n1,0,1\n", r"train\.csv, row 2: expected 3 values as line 1 says, got 2"),
        ("3\n7,9,7\n1,0\n", r"row 3: expected 3 values as line 1 says, got 2"),
        ("x\n7\n1\n", r"row 1: expected the number of answers, got 'x'"),
        ("1\n7\n", r"expected three lines for each learner, found 2"),
        ("2\n7,9\n1,2\n", r"row 3, column 'correct': expected 0, false or 1, true, got '2'"),
        ("2\n7,9\n1,0\n2\n,8\n1,\n", r"row 6: expected 2 values"),
    ],
)
def test_three_lines_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path, "three_lines")


def ednet(folder: Path, rows: dict[str, list[str]]) -> Path:
    (folder / "KT1").mkdir(parents=True)
    (folder / "contents").mkdir()
    header = "timestamp,solving_id,question_id,user_answer,elapsed_time"
    for learner, lines in rows.items():
        (folder / "KT1" / f"{learner}.csv").write_text("\n".join([header, *lines]) + "\n")
    (folder / "contents" / "questions.csv").write_text(
        "question_id,bundle_id,correct_answer,tags\nq1,b1,a,5;2\nq2,b1,b,2\nq3,b2,c,-1\n"
    )
    return folder


def test_a_file_for_each_learner(tmp_path: Path) -> None:
    rows = {
        "u9": ["20,1,q1,a,1", "10,1,q2,a,1", "20,1,q2,b,1", "30,1,q3,c,1", "40,1,q2,,1", "50,1,q8,a,1"],
        "u10": ["10,1,q1,d,1"],
        "u11": [],
    }
    data = read(ednet(tmp_path / "ednet", rows), "ednet_kt1")
    assert named(data) == [("q1", {"5", "2"}, 0), ("q2", {"2"}, 0), ("q1", {"5", "2"}, 1), ("q2", {"2"}, 1)]
    table = data._loaded()
    assert table.learners == ["u10", "u9"]
    assert table.counts["rows read"] == 7
    assert table.counts["dropped: no answer"] == 1
    assert table.counts["dropped: no right answer known"] == 1
    assert table.counts["dropped: no concept"] == 1


def test_an_error_in_one_of_the_files_names_it(tmp_path: Path) -> None:
    folder = ednet(tmp_path / "ednet", {"u1": ["10,1,q1,a,1"], "u2": ["10,1,q1,a,1", "soon,1,q1,a,1"]})
    with pytest.raises(DataError, match=r"u2\.csv, row 3, column 'timestamp': .*'soon'"):
        read(folder, "ednet_kt1")
    with pytest.raises(MissingFileError, match=r"v\*\.csv"):
        read(folder, "ednet_kt1", learner_files="v*.csv")


def test_many_files_are_known_again_by_one_hash(tmp_path: Path) -> None:
    folder = ednet(tmp_path / "ednet", {f"u{n}": ["10,1,q1,a,1"] for n in range(12)})
    first = read(folder, "ednet_kt1")
    assert len(list((tmp_path / "cache" / "hashes").iterdir())) == 1
    assert read(folder, "ednet_kt1").fingerprint == first.fingerprint
    (folder / "KT1" / "u3.csv").write_text((folder / "KT1" / "u3.csv").read_text() + "11,1,q2,a,1\n")
    changed = read(folder, "ednet_kt1")
    assert changed.fingerprint != first.fingerprint
    assert len(changed._loaded().log) == 13


def test_a_parquet_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    columns: dict[str, list[object]] = {
        "learner": [1.0, 2.0, 1.0, None],
        "order": [2, 1, 1, 1],
        "item": ["q", "q", "r", "r"],
        "concept": [[3, 71], [3], None, [71]],
        "correct": [True, False, True, True],
    }
    whole = pa.table({name: values[:3] for name, values in columns.items()})
    pq.write_table(whole, tmp_path / "interactions.csv")
    data = read(tmp_path)
    assert named(data) == [("q", {"3", "71"}, 1), ("q", {"3"}, 0)]
    assert data._loaded().learners == ["1", "2"]
    assert data._loaded().counts["dropped: no concept"] == 1
    pq.write_table(pa.table(columns), tmp_path / "interactions.csv")
    with pytest.raises(DataError, match=r"interactions\.csv, row 5, column 'learner': the cell is empty"):
        read(tmp_path)
    content = (tmp_path / "interactions.csv").read_bytes()
    (tmp_path / "interactions.csv").write_bytes(content[:-20])
    with pytest.raises(DataError, match=r"interactions\.csv: the parquet file is damaged"):
        read(tmp_path)


@pytest.mark.parametrize("head", [b"PK\x03\x04\x14\x00", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])
def test_a_workbook_gets_advice(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "log.xlsx").write_bytes(head + bytes(100))
    with pytest.raises(DataError, match=r"log\.xlsx: this is a workbook .* save its sheet as CSV"):
        read(tmp_path / "log.xlsx")
