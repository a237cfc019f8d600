from __future__ import annotations

import gzip
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lpr_lightning.datamodules.assist09 import ASSIST09
from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.errors import DataError, MissingFileError

HEADER = "order_id,assignment_id,user_id,problem_id,original,correct,answer_text,skill_id,skill_name"
COLLAPSED = "skill_builder_data_corrected_collapsed.csv"
CORRECTED = "skill_builder_data_corrected.csv"
FIRST = "skill_builder_data.csv"
SKILLS = {1: "Area", 2: "Percent Of ", 10: "Absolute Value", 11: "Absolute Value", 37: ""}
ROOT = Path(os.environ.get("LPR_DATA", Path(__file__).parents[3] / "shared" / "data")) / "assist09"
real = pytest.mark.skipif(not ROOT.is_dir(), reason=f"no real learner data in {ROOT}; LPR_DATA names its folder")


def answers(seed: int = 0, users: int = 30) -> list[tuple[int, int, int, int, int, tuple[int, ...]]]:
    """Draw (order, user, problem, original, correct, skills), in an order that is not that of time."""
    random = np.random.default_rng(seed)
    rows = []
    for order in random.permutation(400).tolist():
        problem = int(random.integers(50))
        skills = sorted(random.choice(list(SKILLS), size=problem % 3, replace=False).tolist()) if problem % 3 else []
        user = 1000 + int(random.integers(users))
        rows.append((95 + order, user, problem, int(random.integers(2)), int(random.integers(2)), tuple(skills)))
    return rows


def line(row: tuple[int, int, int, int, int, tuple[int, ...]], skill: str, name: str) -> str:
    order, user, problem, original, correct, _ = row
    return f'{order},7,{user},{problem},{original},{correct},"caf\xe9, ""so"" {order}\nsecond",{skill},{name}'


def write(folder: Path, variant: str, rows: list[Any] | None = None) -> Path:
    """Write one official variant of the same answers."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [HEADER]
    for row in answers() if rows is None else rows:
        skills = row[-1]
        if variant == COLLAPSED:
            lines.append(line(row, "_".join(map(str, skills)), "_".join(SKILLS.get(one, "New") for one in skills)))
            continue
        for one in skills:
            lines.append(line(row, f"{one}.0", SKILLS[one]))
        if not skills:
            lines.append(line(row, "NA" if variant == CORRECTED else "", ""))
        if variant == FIRST and row[0] % 3 == 0:
            lines += lines[-max(len(skills), 1) :]
    (folder / variant).write_text("\n".join(lines) + "\n", encoding="latin-1")
    return folder / variant


def table(tmp_path: Path, root: Path, **options: Any) -> AnswerTable:
    return ASSIST09(str(root), cache_dir=str(tmp_path / "cache"), min_answers=1, **options)._loaded()


def same(a: AnswerTable, b: AnswerTable) -> None:
    assert a.learners == b.learners
    assert a.items == b.items
    assert a.concepts == b.concepts
    assert a.log.offsets.equal(b.log.offsets)
    assert a.log.item.equal(b.log.item)
    assert a.log.concept.equal(b.log.concept)
    assert a.log.correct.equal(b.log.correct)


@pytest.mark.parametrize("concepts", ["skills", "combinations"])
def test_all_variants_give_the_same_interactions(tmp_path: Path, concepts: Any) -> None:
    tables = []
    for variant in (COLLAPSED, CORRECTED, FIRST):
        tables.append(table(tmp_path, write(tmp_path / variant, variant).parent, concepts=concepts))
    same(tables[0], tables[1])
    same(tables[0], tables[2])
    assert tables[2].counts["dropped: exact duplicate"] > 50
    assert tables[1].counts["merged: further concept of the same answer"] > 50


def test_answers_are_those_of_the_file_in_numeric_order(tmp_path: Path) -> None:
    found = table(tmp_path, write(tmp_path, FIRST), concepts="skills")
    rows = sorted((row for row in answers() if row[-1]), key=lambda row: (row[1], row[0]))
    assert len(found.log) == len(rows)
    assert [found.items[one] for one in found.log.item.tolist()] == [str(row[2]) for row in rows]
    assert found.log.correct.tolist() == [row[4] for row in rows]
    named = [[found.concepts[one] for one in cell if one >= 0] for cell in found.log.concept.tolist()]
    assert named == [list(map(str, row[-1])) for row in rows]
    assert found.counts["dropped: no skill"] >= sum(not row[-1] for row in answers())
    assert found.concept_names == ["Area", "Percent Of", "Absolute Value (10)", "Absolute Value (11)", "37"]


def test_no_two_neighbours_are_one_answer(tmp_path: Path) -> None:
    rows = answers()
    found = table(tmp_path, write(tmp_path, FIRST))
    expected = {(row[1], row[0]) for row in rows if row[-1]}
    assert len(found.log) == len(expected)
    assert found.log.lengths.sum() == len(found.log)


def test_combinations_are_named_by_their_skills(tmp_path: Path) -> None:
    found = table(tmp_path, write(tmp_path, COLLAPSED))
    assert found.log.concept.shape[1] == 1
    assert set(found.concepts) == {"_".join(map(str, row[-1])) for row in answers() if row[-1]}
    if "1_2" in found.concepts:
        assert found.concept_names[found.concepts.index("1_2")] == "Area + Percent Of"


@pytest.mark.parametrize("packing", ["gz", "zip", "file", "below"])
def test_packed_files_and_the_file_itself(tmp_path: Path, packing: str) -> None:
    plain = write(tmp_path / "plain", CORRECTED)
    folder = tmp_path / "packed"
    folder.mkdir()
    root = folder
    if packing == "gz":
        (folder / f"{CORRECTED}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    elif packing == "zip":
        with zipfile.ZipFile(folder / f"{CORRECTED}.zip", "w") as archive:
            archive.write(plain, CORRECTED)
    elif packing == "file":
        root = plain.rename(folder / "mine.csv")
        write(tmp_path / "plain", CORRECTED)
    else:
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "b" / CORRECTED).write_bytes(plain.read_bytes())
    same(table(tmp_path, plain), table(tmp_path / "other", root))


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"skill_builder_data_corrected_collapsed.csv .*https://.*--data.root"):
        ASSIST09(str(tmp_path), cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("cells", "column", "row"),
    [
        ("5,7,1,1,1,0.5,,1,Area", "correct", 2),
        ("x,7,1,1,1,1,,1,Area", "order_id", 2),
        ("5,7,,1,1,1,,1,Area", "user_id", 2),
        ("5,7,1,1,1,1,,Area,Area", "skill_id", 2),
        ("99999999999999999999,7,1,1,1,1,,1,Area", "order_id", 2),
        ("5,7,1,1,1,1,,1", None, 2),
        ("5,7,1,1,1,1,,1,Area\n6,7,1,1,1,1,,1,Area,more", None, 3),
    ],
)
def test_a_malformed_cell_is_named(tmp_path: Path, cells: str, column: str | None, row: int) -> None:
    (tmp_path / CORRECTED).write_text(f"{HEADER}\n{cells}\n")
    with pytest.raises(DataError) as caught:
        ASSIST09(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert (caught.value.row, caught.value.column) == (row, column)
    assert CORRECTED in str(caught.value)
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_scaffolding_can_be_left_out(tmp_path: Path) -> None:
    root = write(tmp_path, COLLAPSED)
    found = table(tmp_path, root, drop_scaffolding=True)
    assert len(found.log) == sum(bool(row[-1]) and row[3] == 1 for row in answers())
    assert found.counts["dropped: scaffolding"] == sum(bool(row[-1]) and row[3] == 0 for row in answers())


def test_learners_kept_elsewhere_are_the_test_learners(tmp_path: Path) -> None:
    write(tmp_path / "here", COLLAPSED)
    others = [(order, user + 500, *rest) for order, user, *rest in answers(seed=1)]
    others[0] = (*others[0][:-1], (99,))
    write(tmp_path / "there", COLLAPSED, others)
    data = ASSIST09(
        str(tmp_path / "here"),
        "skills",
        test_root=str(tmp_path / "there"),
        cache_dir=str(tmp_path / "cache"),
        min_answers=1,
    )
    alone = table(tmp_path, tmp_path / "here", concepts="skills")
    assert data.num_concepts == len(alone.concepts)
    seen = torch.cat([data.interactions("train").learner, data.interactions("val").learner])
    assert seen.sort().values.equal(alone.log.learner)
    assert data.interactions("val").num_learners == round(len(seen) / 8)
    test = data.interactions("test")
    assert int(test.learner.min()) == len(alone.learners)
    assert len(test) == sum(bool(row[-1]) for row in others) - 1
    assert data.card().counts["test set: dropped: concept not in the training set"] == 1
    assert int(test.item.max()) < data.num_items


def test_a_learner_of_both_sets_is_not_trained_on(tmp_path: Path) -> None:
    write(tmp_path / "here", COLLAPSED)
    write(tmp_path / "there", COLLAPSED, [row for row in answers() if row[1] in (1003, 1004)])
    data = ASSIST09(
        str(tmp_path / "here"), test_root=str(tmp_path / "there"), cache_dir=str(tmp_path / "c"), min_answers=1
    )
    numbers = set(data.interactions("train").learner.tolist()) | set(data.interactions("val").learner.tolist())
    assert len(numbers) == len(data._vocabulary.learners) - 2
    assert data.interactions("test").num_learners == 2
    assert data.card().counts["dropped: learner is in the test set"] > 0


@real
@pytest.mark.data
@pytest.mark.parametrize(("concepts", "number"), [("combinations", 147), ("skills", 121)])
def test_the_real_file(tmp_path: Path, concepts: Any, number: int) -> None:
    data = ASSIST09(str(ROOT), concepts=concepts, cache_dir=str(tmp_path), min_answers=1)
    card = data.card()
    if card.counts["rows read"] == 282_993:
        assert (card.learners, card.items, data.num_concepts) == (4_153, 17_751, number + 2)
        return
    assert (card.answers, card.learners, card.items) == (224_387, 3_321, 17_241)
    assert data.num_concepts == number
    begin = time.perf_counter()
    again = ASSIST09(str(ROOT), concepts=concepts, cache_dir=str(tmp_path), min_answers=1)
    again.setup()
    assert time.perf_counter() - begin < 2
    assert again.fingerprint == data.fingerprint
