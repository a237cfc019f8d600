"""Synthetic learners on the questions and concepts of a file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from lpr_lightning.datamodules.concept_map import ConceptMap
from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import DataError, MissingFileError, SettingError
from lpr_lightning.simulators.true_learners import TrueLearners
from lpr_lightning.types import Exercise

MAP = {"2": [10, 11, 12, 13], "0": [10, 11], "1": [12], "10": ["13", "9"]}


def written(folder: Path, value: object) -> str:
    path = folder / "map.json.gz"
    path.write_bytes(gzip.compress(json.dumps(value).encode()))
    return str(path)


def test_a_question_is_chosen_for_its_rarest_concept_and_no_concept_is_left_out(tmp_path: Path) -> None:
    """12 is the only one on 1; 10 and 11 are on 0 and 2: 0 gets the first; of 13, concept 10 is rarer than 2."""
    found = ConceptMap.read(written(tmp_path, MAP))
    assert found.concepts == ["0", "1", "2", "10"]
    assert found.items == ["9", "10", "11", "12", "13"]
    first = found.item_concepts[:, 0].tolist()
    assert set(first) == {0, 1, 2, 3}
    assert first[3] == 1
    sets = [{one for one in row if one >= 0} for row in found.item_concepts.tolist()]
    assert sets == [{3}, {0, 2}, {0, 2}, {1, 2}, {2, 3}]


def test_every_concept_gets_a_question_though_others_must_move(tmp_path: Path) -> None:
    """c can only have 1, b only 1 or 2, a any: c 1, b 2, a 3."""
    found = ConceptMap.read(written(tmp_path, {"a": [1, 2, 3], "b": [1, 2], "c": [1]}))
    assert [found.concepts[one] for one in found.item_concepts[:, 0].tolist()] == ["c", "b", "a"]
    moved = ConceptMap.read(written(tmp_path, {"a": [1, 2], "b": [1, 3], "c": [2, 3], "d": [1, 4]}))
    assert sorted(moved.item_concepts[:, 0].tolist()) == [0, 1, 2, 3]


def test_learners_practise_these_questions_and_learn_their_first_concepts(tmp_path: Path) -> None:
    data = SyntheticLearners(
        concept_map=written(tmp_path, MAP), num_learners=30, answers=(10, 20), cache_dir=str(tmp_path / "data")
    )
    data.setup("fit")
    assert (data.num_concepts, data.num_items) == (4, 5)
    log = data.interactions("train")
    assert set(log.item.tolist()) == set(range(5))
    assert torch.equal(log.concept.long(), ConceptMap.read(written(tmp_path, MAP)).item_concepts[log.item.long()])
    state = data.truth.begin(torch.tensor([0]))
    after = data.truth.practise(state, Exercise(torch.tensor([[2, 0]]), torch.tensor([2])), torch.ones(1))
    grown = (data.truth.mastery(after) - data.truth.mastery(state))[0]
    assert float(grown[2]) > 0
    assert bool((grown[[0, 1, 3]] <= 0).all())


def test_a_map_of_the_default_kind_changes_no_log(tmp_path: Path) -> None:
    plain, placed = TrueLearners(5, 15, 10), TrueLearners(5, 15, 10)
    placed.place(plain.item_concept)
    torch.testing.assert_close(placed.item_difficulty, plain.item_difficulty)
    first, second = (learners.practice_log(5, 9) for learners in (plain, placed))
    assert torch.equal(first.item, second.item)
    assert torch.equal(first.item % 5, first.concept[:, 0])
    with pytest.raises(SettingError, match="item_concept"):
        plain.place(torch.zeros(15, dtype=torch.int64))
    with pytest.raises(SettingError, match="item_concept"):
        plain.place(plain.item_concept[:4])


def test_bad_maps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        ConceptMap.read(str(tmp_path / "none.json"))
    bad: list[object] = [[], {}, {"a": []}, {"a": "b"}]
    for value in bad:
        with pytest.raises(DataError, match="concepts"):
            ConceptMap.read(written(tmp_path, value))
    (tmp_path / "map.json").write_text("{")
    with pytest.raises(DataError, match="JSON"):
        ConceptMap.read(str(tmp_path / "map.json"))


def test_concepts_without_a_question_of_their_own_are_left_out_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path, {"a": [1], "b": [1], "c": [1, 2]})
    found = ConceptMap.read(path)
    assert (found.concepts, found.left_out) == (["a", "c"], 1)
    assert found.item_concepts.tolist() == [[0, 1], [1, -1]]
    data = SyntheticLearners(concept_map=path, num_learners=5, cache_dir=str(tmp_path / "data"))
    assert "1" in str(data.card().counts["concepts without a question of their own"])
