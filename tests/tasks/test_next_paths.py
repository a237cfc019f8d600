"""Windows are histories and what followed them, cut as documented."""

from __future__ import annotations

from itertools import groupby, pairwise

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import built, plain
from lpr_lightning.tasks.next_paths import LoggedPaths, NextPaths, first_of_runs
from lpr_lightning.types import InteractionBatch, Interactions, Split


def random_log(seed: int, concepts: int = 4) -> Interactions:
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for length in torch.randint(0, 40, (9,), generator=generator).tolist():
        concept = torch.randint(concepts, (length,), generator=generator).tolist()
        rows.append([(c, int(torch.randint(2, (1,), generator=generator))) for c in concept])
    return Interactions.from_lists(rows)


def rows_of(log: Interactions) -> list[list[tuple[int, int]]]:
    pairs = list(zip(log.concept[:, 0].tolist(), log.correct.tolist()))
    return [pairs[a:b] for a, b in pairwise(log.offsets.tolist())]


def everything(task: NextPaths, log: Interactions, split: Split = "test") -> LoggedPaths:
    examples = task.examples(log, split, 4, seed=0)
    batch = examples.batch(torch.arange(len(examples.sizes)))
    assert isinstance(batch, LoggedPaths)
    return batch


@pytest.mark.parametrize("seed", range(3))
def test_runs_are_what_groupby_finds(seed: int) -> None:
    log = random_log(seed)
    expected = [[next(run) for _, run in groupby(row, key=lambda pair: pair[0])] for row in rows_of(log)]
    assert rows_of(first_of_runs(log)) == expected
    assert torch.equal(first_of_runs(log).learner, log.learner)


@pytest.mark.parametrize("labels", ["next", "distinct"])
@pytest.mark.parametrize("stride", [None, 1, 3])
def test_windows_match_slices(labels: str, stride: int | None) -> None:
    log, task = random_log(7), NextPaths(4, 3, labels, stride)  # type: ignore[arg-type]
    batch = everything(task, log)
    slices = [
        row[at : at + 7]
        for row in rows_of(first_of_runs(log) if labels == "distinct" else log)
        for at in range(0, len(row) - 6, stride or 7)
    ]
    got = torch.cat([batch.history.concept, batch.future.concept], 1)[..., 0]
    assert got.tolist() == [[c for c, _ in one] for one in slices]
    right = torch.cat([batch.history.correct, batch.future.correct], 1)
    assert right.tolist() == [[y for _, y in one] for one in slices]
    assert bool(batch.history.mask.all() and batch.future.mask.all())


def test_windows_share_no_answer_unless_asked() -> None:
    log = Interactions.from_lists([[(step % 40, 1) for step in range(40)]])
    batch = everything(NextPaths(5, 3), log)
    seen = torch.cat([batch.history.concept, batch.future.concept], 1).flatten().tolist()
    assert len(seen) == len(set(seen)) == 40


def test_only_training_windows_overlap_and_begin_early() -> None:
    log, task = random_log(3), NextPaths(6, 2, train_stride=1, min_history=1)
    test, train = everything(task, log, "test"), everything(task, log, "train")
    assert test.history.lengths.tolist() == [6] * len(test)
    assert int(train.history.lengths.min()) == 1
    assert len(train) == int((first_of_runs(log).lengths - 2).clamp_min(0).sum())
    one = train.select(train.history.lengths == 2)
    assert bool((one.history.concept[:, 2:] == -1).all())


def test_a_path_of_distinct_labels_never_repeats_the_concept_before() -> None:
    batch = everything(NextPaths(3, 4), random_log(1))
    before = torch.cat([batch.history.concept[:, -1, 0, None], batch.path[:, :-1]], 1)
    assert not bool((before == batch.path).any())


def test_the_first_of_several_concepts_is_the_label() -> None:
    log = Interactions.from_lists([[(0, 1), (1, 1), (2, 1), (3, 1)]])
    several = Interactions(
        log.offsets, log.learner, log.item, torch.tensor([[0, -1], [0, 3], [2, 1], [1, -1]]).int(), log.correct
    )
    batch = everything(NextPaths(1, 2), several)
    assert (batch.history.concept[0, 0].tolist(), batch.path.tolist()) == ([0, -1], [[2, 1]])
    assert batch.future.concept[0, 0].tolist() == [2, 1]


@pytest.mark.parametrize("labels", ["next", "distinct"])
def test_histories_of_unseen_learners_are_read_like_those_of_examples(labels: str) -> None:
    log, task = random_log(8), NextPaths(5, 3, labels)  # type: ignore[arg-type]
    batch = log.batch(torch.arange(9))
    got = task.history(batch)
    rows = rows_of(task.log(log))
    for row, expected in enumerate(rows):
        length = int(got.lengths[row])
        assert list(zip(got.concept[row, :length, 0].tolist(), got.correct[row, :length].tolist())) == expected[-5:]
        assert bool((got.concept[row, length:] == -1).all())
    unpadded = task.history(log.batch(torch.tensor([2])))
    assert torch.equal(unpadded.concept[0], got.concept[2, : unpadded.concept.shape[1]])
    nothing = task.history(InteractionBatch.empty(2))
    assert nothing.concept.shape == (2, 0, 1)


def test_short_logs_give_nothing_and_the_task_can_be_configured() -> None:
    task = NextPaths(10, 5, train_stride=2)
    assert len(task.examples(Interactions.from_lists([[(0, 1)] * 14, []]), "train", 4, 0).sizes) == 0
    assert built(plain(task), NextPaths) == task


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("length", 0),
        ("history_length", 0),
        ("labels", "last"),
        ("stride", 0),
        ("train_stride", -1),
        ("min_history", 11),
    ],
)
def test_bad_settings_are_refused(setting: str, value: object) -> None:
    with pytest.raises(SettingError, match=setting):
        NextPaths(**{setting: value})  # type: ignore[arg-type]
