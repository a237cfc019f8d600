"""Do datamodules offer their questions in words, and hold some of them out?"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lpr_lightning import ConceptClusters, InteractionsCSV, QuestionFile, SyntheticLearners
from lpr_lightning.datamodules.dbe_kt22 import DBEKT22
from lpr_lightning.datamodules.xes3g5m import XES3G5M
from lpr_lightning.errors import SettingError
from lpr_lightning.question_files import save_questions
from lpr_lightning.questions import Question, Questions
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.tasks.question_texts import QuestionBatch, QuestionTexts

DATA = Path(os.environ.get("LPR_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    lines = [f"{learner},{order},q{order},c{order % 2},1" for learner in range(6) for order in range(5)]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["learner,order,item,concept,correct", *lines]) + "\n")
    return path


def test_data_without_wording_refuse_and_take_a_file(log: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    with pytest.raises(SettingError, match=r"InteractionsCSV has no wording.*questions_file"):
        len(InteractionsCSV(str(log), cache_dir=cache).questions)
    given = [Question("q3", "Why?", steps=("So.",), concepts=("x",), pairs=((0, 0),)), Question("z", "Not in the data")]
    save_questions(tmp_path / "own.jsonl", Questions(tuple(given)))
    data = InteractionsCSV(str(log), cache_dir=cache, questions_file=str(tmp_path / "own.jsonl"))
    assert data.questions.names == tuple(data.item_names)
    assert data.questions[data.item_names.index("q3")] == given[0]
    assert data.questions[data.item_names.index("q0")].text == ""
    assert data.questions[data.item_names.index("q1")].concepts == ("c1",)
    worded = torch.cat([data.question_numbers(split) for split in ("train", "val", "test")])
    assert worded.tolist() == [data.item_names.index("q3")]
    save_questions(tmp_path / "other.jsonl", Questions((Question("z", "Not in the data"),)))
    with pytest.raises(SettingError, match="named as in the data"):
        len(InteractionsCSV(str(log), cache_dir=cache, questions_file=str(tmp_path / "other.jsonl")).questions)


def test_questions_change_no_fingerprint(log: Path, tmp_path: Path) -> None:
    save_questions(tmp_path / "own.jsonl", Questions((Question("q3", "Why?"),)))
    plain = InteractionsCSV(str(log), cache_dir=str(tmp_path / "cache"))
    overlaid = InteractionsCSV(str(log), cache_dir=str(tmp_path / "cache"), questions_file=str(tmp_path / "own.jsonl"))
    assert plain.fingerprint == overlaid.fingerprint


def test_synthetic_questions_are_worded_with_steps_and_split_by_question(tmp_path: Path) -> None:
    data = SyntheticLearners(num_concepts=10, num_learners=20, task=QuestionTexts(), cache_dir=str(tmp_path))
    bank = data.questions
    assert len(bank) == data.num_items == 50
    assert list(bank.concept_names) == data.concept_names
    assert data.prerequisites is not None
    needs = {(before, after) for before, after in data.prerequisites.tolist()}
    for number, one in enumerate(bank.questions):
        own = number % 10
        assert one.concepts[0] == data.concept_names[own]
        assert {(data.concept_names.index(name), own) for name in one.concepts[1:]} == {e for e in needs if e[1] == own}
        assert {step for step, _ in one.pairs} == set(range(len(one.steps)))
        assert {concept for _, concept in one.pairs} == set(range(len(one.concepts)))
    numbers = [data.question_numbers(split) for split in ("train", "val", "test")]
    assert [len(one) for one in numbers] == [35, 5, 10]
    assert torch.cat(numbers).sort().values.tolist() == list(range(50))
    again = SyntheticLearners(num_concepts=10, num_learners=20, cache_dir=str(tmp_path))
    assert again.questions == bank
    assert sorted(set(torch.cat(_numbers(data.train_dataloader())).tolist())) == numbers[0].tolist()
    assert torch.cat(_numbers(data.predict_dataloader())).sort().values.tolist() == list(range(50))


def test_a_question_file_has_no_learners(tmp_path: Path) -> None:
    save_questions(tmp_path / "bank.jsonl", Questions((Question("a", "?", concepts=("x",)),)))
    with pytest.raises(SettingError, match="no learners"):
        QuestionFile(str(tmp_path / "bank.jsonl"), task=NextAnswers())


def test_clusters_of_names() -> None:
    names = [
        "Adding fractions",
        "adding  fractions",
        "Adding of fractions",
        "Ohm's law",
        "Laws of Ohm",
        "Photosynthesis",
    ]
    assert ConceptClusters(min_size=None).of(names).tolist() == [0, 0, 2, 3, 4, 5]
    found = ConceptClusters().of(names).tolist()
    assert found[0] == found[1] == found[2]
    assert found[0] != found[5]
    assert ConceptClusters().of(["one"]).tolist() == [0]


def test_options_and_answers_of_official_files(tmp_path: Path) -> None:
    import official_files

    official_files.dbe_kt22(tmp_path)
    (tmp_path / "Question_Choices.csv").write_text(
        "id,choice_text,is_correct,question_id\n1,four,False,3\n2,three,True,3\n3,,False,3\n"
    )
    data = DBEKT22(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    three = data.questions[data.item_names.index("3")]
    assert three.wording == "What is 3?\n(A) four\n(B) three"
    assert three.answer == "three"
    assert three.concepts == ("Concept 3",)
    xes = tmp_path / "xes"
    xes.mkdir()
    official_files.xes3g5m(xes)
    (xes / "questions.json").write_text('{"2": {"content": "2 + 2", "options": {"A": "3", "B": "4"}, "answer": ["B"]}}')
    read = XES3G5M(str(xes), cache_dir=str(tmp_path / "cache"))
    assert read.questions[read.item_names.index("2")].wording == "2 + 2\n(A) 3\n(B) 4"
    assert len(torch.cat([read.question_numbers(split) for split in ("train", "val", "test")])) == 1


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "dbe_kt22").is_dir(), reason="DBE-KT22 is not in LPR_DATA")
def test_dbe_kt22_has_wording_options_and_concepts(tmp_path: Path) -> None:
    data = DBEKT22(str(DATA / "dbe_kt22"), cache_dir=str(tmp_path))
    bank = data.questions
    assert len(bank) == 212
    assert all(one.text and one.concepts for one in bank.questions)
    assert sum(len(one.options) for one in bank.questions) > 700


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "moocradar_C_746997").is_dir(), reason="MOOCRadar is not in LPR_DATA")
def test_moocradar_is_a_question_file() -> None:
    file = DATA / "moocradar_C_746997" / "original" / "questions_translated_kc_sol_annotated_mapped.json.gz"
    data = QuestionFile(str(file))
    assert len(data.questions) == 550
    assert [len(data.question_numbers(split)) for split in ("train", "val", "test")] == [385, 55, 110]


@pytest.mark.parametrize("keep", [False, True])
def test_questions_unseen_in_training_keep_their_numbers_if_wanted(tmp_path: Path, keep: bool) -> None:
    plain = "learner,order,item,concept,correct\n"
    rows = "".join(f"{learner},{order},q{order},c,1\n" for learner in range(10) for order in range(4))
    (tmp_path / "train.csv").write_text(plain + rows + "10,0,new,c,1\n10,1,q0,c,0\n10,2,q1,c,0\n")
    new = _read(tmp_path, 0, False).item_names.index("new")
    readings = (_read(tmp_path, seed, True).interactions("train").item for seed in range(50))
    seed = next(seed for seed, item in enumerate(readings) if not bool((item == new).any()))
    data = _read(tmp_path, seed, keep)
    held_out = torch.cat([data.interactions(split).item for split in ("val", "test")])
    assert bool((held_out == new).any()) == keep
    assert bool((held_out == -1).any()) != keep
    assert (data.fingerprint == _read(tmp_path, seed, False).fingerprint) != keep


def _read(folder: Path, seed: int, keep: bool) -> InteractionsCSV:
    return InteractionsCSV(str(folder / "train.csv"), cache_dir=str(folder), seed=seed, keep_unseen_items=keep)


def _numbers(batches: Iterable[object]) -> list[Tensor]:
    return [one.number for one in batches if isinstance(one, QuestionBatch)]
