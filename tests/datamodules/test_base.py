from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lpr_lightning.datamodules.base import LearnerDataModule, recorded
from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.datamodules.table import AnswerTable, build_table
from lpr_lightning.errors import DataError, LPRError, SettingError
from lpr_lightning.protocols import LearnerData
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.types import InteractionBatch, Interactions, PathRequest, Split


class Toy(LearnerDataModule):
    """Forty learners with 1 to 40 answers."""

    reads = 0

    def __init__(self, version: int = 0, fails: bool = False, **common: Any) -> None:
        given = recorded(locals())
        self.version = version
        self.fails = fails
        super().__init__(**common)
        self.save_hyperparameters(given, logger=False)

    def source_key(self) -> list[object]:
        return [self.version]

    def read(self) -> AnswerTable:
        if self.fails:
            raise DataError("toy.csv", "it is broken", row=3, column="correct")
        Toy.reads += 1
        generator = np.random.default_rng(self.version)
        learner = np.repeat(np.arange(40), np.arange(1, 41))
        item = generator.integers(0, 12, len(learner)).astype(np.int32)
        names = [str(one) for one in range(40)]
        concept = np.stack([item // 4, np.where(item % 4 == 0, 3, -1)], 1).astype(np.int32)
        correct = generator.integers(0, 2, len(learner)).astype(np.uint8)
        ids = ["a", "b", "c", "d"]
        return build_table(
            learner, names, item, names[:12], concept, ids, ids, correct, counts={"rows read": len(learner)}
        )


SPLITS: tuple[Split, ...] = ("train", "val", "test")


def unseen_requests(data: Toy) -> list[PathRequest]:
    """Return the batches of a module's unseen learners."""
    batches = []
    for batch in data.predict_dataloader():
        assert isinstance(batch, PathRequest)
        batches.append(batch)
    return batches


def test_sizes_are_known_after_init_and_it_is_learner_data(tmp_path: Path) -> None:
    data = Toy(cache_dir=str(tmp_path))
    assert (data.num_concepts, data.num_items, data.concept_names) == (4, 12, ["a", "b", "c", "d"])
    assert isinstance(data, LearnerData)
    assert data.truth is None
    assert data.prerequisites is None


def test_learners_are_split_without_overlap(tmp_path: Path) -> None:
    data = Toy(cache_dir=str(tmp_path), min_answers=3)
    data.setup()
    parts = [set(data.interactions(split).learner.tolist()) for split in SPLITS]
    assert [len(part) for part in parts] == [26, 4, 8]
    assert set.union(*parts) == set(range(2, 40))
    again = Toy(cache_dir=str(tmp_path), min_answers=3)
    assert again.interactions("val").learner.equal(data.interactions("val").learner)
    other = Toy(cache_dir=str(tmp_path), min_answers=3, seed=1)
    assert not other.interactions("val").learner.equal(data.interactions("val").learner)
    assert other.fingerprint != data.fingerprint == again.fingerprint


def test_the_second_start_reads_the_cache_and_gives_the_same(tmp_path: Path) -> None:
    first = Toy(cache_dir=str(tmp_path))
    reads = Toy.reads
    second = Toy(cache_dir=str(tmp_path))
    assert Toy.reads == reads
    for split in SPLITS:
        a, b = first.interactions(split), second.interactions(split)
        assert a.item.equal(b.item)
        assert a.concept.equal(b.concept)
        assert a.correct.equal(b.correct)
        assert a.offsets.equal(b.offsets)
    Toy(version=1, cache_dir=str(tmp_path))
    assert Toy.reads == reads + 1


def test_over_all_folds_every_learner_is_tested_once(tmp_path: Path) -> None:
    parts = [Toy(cache_dir=str(tmp_path), folds=4, fold=fold) for fold in range(4)]
    tested = torch.cat([data.interactions("test").learner for data in parts])
    assert tested.sort().values.tolist() == list(range(2, 40))
    for data in parts:
        learners = torch.cat([data.interactions(split).learner for split in SPLITS])
        assert learners.sort().values.tolist() == list(range(2, 40))
    fingerprints = {data.fingerprint for data in [*parts, Toy(cache_dir=str(tmp_path))]}
    assert len(fingerprints) == 5


def test_folds_beside_test_learners_of_their_own_are_refused(tmp_path: Path) -> None:
    class Elsewhere(Toy):
        def test_key(self) -> list[object] | None:
            return ["there"]

    with pytest.raises(SettingError, match=r"folds=3.*test_root"):
        Elsewhere(cache_dir=str(tmp_path), folds=3)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "rubbish"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str, when: str) -> None:
    first = Toy(cache_dir=str(tmp_path))
    item = first.interactions("train").item.clone()
    (file,) = tmp_path.glob("toy-*.safetensors")
    second = Toy(cache_dir=str(tmp_path)) if when == "after" else None
    whole = bytearray(file.read_bytes())
    whole[-20] ^= 0xFF
    changed = {"truncated": bytes(whole[:-50]), "flipped": bytes(whole), "empty": b"", "rubbish": b"x" * 5000}[damage]
    file.unlink()
    file.write_bytes(changed)
    data = second or Toy(cache_dir=str(tmp_path))
    assert data.interactions("train").item.equal(item)
    assert Toy(cache_dir=str(tmp_path)).interactions("train").item.equal(item)


def test_a_failed_reading_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"toy.csv, row 3, column 'correct': it is broken"):
        Toy(fails=True, cache_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_max_learners_keeps_a_seeded_part(tmp_path: Path) -> None:
    data = Toy(cache_dir=str(tmp_path), max_learners=10)
    whole = torch.cat([data.interactions(split).learner for split in SPLITS])
    assert len(set(whole.tolist())) == 10
    same = Toy(cache_dir=str(tmp_path), max_learners=10)
    assert same.interactions("train").learner.equal(data.interactions("train").learner)


def test_the_card_counts_what_is_left_out(tmp_path: Path) -> None:
    card = Toy(cache_dir=str(tmp_path), min_answers=3).card()
    assert card.counts == {"rows read": 820, "dropped: learner with fewer than 3 answers": 3}
    assert card.answers == 817
    assert card.learners == 38
    assert card.max_length == 40
    assert "hash" in str(card)


def test_batches_are_independent_of_padding(tmp_path: Path) -> None:
    data = Toy(cache_dir=str(tmp_path))
    log = data.interactions("train")
    rows: dict[int, tuple[list[int], list[float]]] = {}
    for size in (1, 7):
        for batch in Toy(cache_dir=str(tmp_path), batch_size=size).batches("train", shuffle=True):
            assert isinstance(batch, InteractionBatch)
            assert (batch.concept[~batch.mask] == -1).all()
            for row in range(len(batch)):
                alone = (batch.item[row][batch.mask[row]].tolist(), batch.correct[row][batch.mask[row]].tolist())
                assert rows.setdefault(int(batch.learner[row]), alone) == alone
    assert len(rows) == log.num_learners


def test_arguments_are_recorded_as_plain_values(tmp_path: Path) -> None:
    data = Toy(version=2, cache_dir=str(tmp_path), task=NextAnswers(max_length=5))
    assert data.hparams["version"] == 2
    assert data.hparams["task"]["init_args"] == {"max_length": 5, "evaluation_length": None}
    again = Toy(**data.hparams)
    assert again.task == NextAnswers(max_length=5)
    assert again.fingerprint == data.fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": (0.5, 0.5, 0.5)}, "split"),
        ({"split": (0.0, 0.5, 0.5)}, "split"),
        ({"split": (1.0,)}, "split"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"min_answers": 0}, "min_answers=0"),
        ({"max_learners": 0}, "max_learners=0"),
        ({"folds": 1}, "folds=1"),
        ({"folds": 3, "fold": 3}, "fold=3"),
        ({"fold": 1}, "fold=1"),
    ],
)
def test_settings_are_checked_at_construction(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Toy(cache_dir=str(tmp_path), **arguments)


def test_predict_without_goals_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="predict_goals"):
        Toy(cache_dir=str(tmp_path)).predict_dataloader()


def test_an_unseen_learner_goes_by_one_name_in_every_file(tmp_path: Path) -> None:
    (tmp_path / "goals.csv").write_text("learner,targets\n7,a\n8.0,b\n")
    (tmp_path / "histories.csv").write_text("learner,concept,correct,item\n7.0,c,1,3.0\n8,d,0,99\n")
    data = Toy(
        cache_dir=str(tmp_path),
        predict_goals=str(tmp_path / "goals.csv"),
        predict_histories=str(tmp_path / "histories.csv"),
    )
    (request,) = unseen_requests(data)
    assert data.predict_learners == ["7", "8"]
    assert request.history.lengths.tolist() == [1, 1]
    assert request.history.item.flatten().tolist() == [3, -1]


def test_unseen_learners_come_in_the_order_of_their_goals(tmp_path: Path) -> None:
    (tmp_path / "goals.csv").write_text("learner,targets\nzoe,a;b\nyan,d\nxi,c\n")
    (tmp_path / "histories.csv").write_text("learner,concept,correct\nzoe,c,1\nzoe,a_d,0\n")
    data = Toy(
        cache_dir=str(tmp_path),
        batch_size=2,
        predict_goals=str(tmp_path / "goals.csv"),
        predict_histories=str(tmp_path / "histories.csv"),
        predict_length=4,
    )
    batches = unseen_requests(data)
    assert [batch.row.tolist() for batch in batches] == [[0, 1], [2]]
    assert data.predict_learners == ["zoe", "yan", "xi"]
    assert batches[0].history.concept[0].tolist() == [[2, -1], [0, 3]]
    assert batches[0].targets.tolist() == [[True, True, False, False], [False, False, False, True]]
    assert batches[1].length.tolist() == [4]


def test_answers_since_the_path_began_need_goals_and_shorten_the_path(tmp_path: Path) -> None:
    (tmp_path / "goals.csv").write_text("learner,targets\nzoe,a;b\nyan,d\n")
    (tmp_path / "answers.csv").write_text("learner,concept,correct\nyan,c,1\n")
    files: dict[str, Any] = {"predict_answers": str(tmp_path / "answers.csv"), "cache_dir": str(tmp_path)}
    (request,) = unseen_requests(Toy(**files, predict_goals=str(tmp_path / "goals.csv"), predict_length=4))
    assert request.history.lengths.tolist() == [0, 1]
    assert request.length.tolist() == [4, 3]
    with pytest.raises(SettingError, match=r"predict_answers=.*predict_goals"):
        Toy(**files)


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LPRError, match="no learner is left"):
        Toy(cache_dir=str(tmp_path), min_answers=100).setup()


def test_logs_hold_narrow_columns(tmp_path: Path) -> None:
    log: Interactions = Toy(cache_dir=str(tmp_path)).interactions("train")
    assert log.item.dtype == log.concept.dtype == torch.int32
    assert log.correct.dtype == torch.uint8


class Strange(Toy):
    """Learners of whom each has a question and a concept of his own, and two questions that all have."""

    def read(self) -> AnswerTable:
        learner = np.repeat(np.arange(10), 4)
        item = np.array([number for one in range(10) for number in (10, 11, one, 10)], np.int32)
        concept = np.array([number for one in range(10) for number in (11, 10, one, 10)], np.int32)
        names = [str(one) for one in range(12)]
        correct = np.ones(40, np.uint8)
        return build_table(learner, names[:10], item, names, concept[:, None], names, names, correct)


def test_what_training_learners_never_met_is_unseen_and_counted(tmp_path: Path) -> None:
    data = Strange(version=7, cache_dir=str(tmp_path))
    train = set(data.interactions("train").learner.tolist())
    held_out = [data.interactions(split) for split in SPLITS[1:]]
    for log in held_out:
        assert log.item.view(-1, 4).tolist() == [[10, 11, -1, 10]] * log.num_learners
        assert set(log.concept.view(-1, 4)[:, 2].tolist()) == set(log.learner.tolist())
    assert (data.interactions("train").item >= 0).all()
    assert data.card().counts == {
        "val: answers on an item unseen in training": 1,
        "val: answers on a concept unseen in training": 1,
        "test: answers on an item unseen in training": 2,
        "test: answers on a concept unseen in training": 2,
    }
    for item in range(10):  # an unseen question has no concept, and the first answer in the log tells of the others
        assert data.item_concepts[item].item() == (item if item in train else -1)
    assert data.item_concepts[10:].flatten().tolist() == [11, 10]


def test_the_concepts_of_an_item_are_those_of_its_answers() -> None:
    data = SyntheticLearners(num_learners=20, num_concepts=4)
    data.setup()
    log = data.interactions("train")
    assert data.item_concepts.shape == (data.num_items, log.concept.shape[1])
    assert torch.equal(data.item_concepts[log.item.long()], log.concept.long())
    assert len(data.item_names) == data.num_items
