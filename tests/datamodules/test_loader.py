from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from lpr_lightning.datamodules import loader
from lpr_lightning.datamodules.loader import IndexedBatches
from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import SettingError
from lpr_lightning.types import TensorData


@dataclass(frozen=True)
class Rows(TensorData):
    """The positions [B] of the examples in a batch."""

    index: Tensor


class Positions:
    """Examples whose batch is their positions."""

    def __init__(self, count: int) -> None:
        self.sizes = torch.randint(1, 50, (count,), generator=torch.Generator().manual_seed(count))

    def batch(self, index: Tensor) -> Rows:
        return Rows(index)


def positions(batches: Iterable[TensorData]) -> list[Tensor]:
    """Return the positions in each batch."""
    found = []
    for batch in batches:
        assert isinstance(batch, Rows)
        found.append(batch.index)
    return found


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("bucket", [True, False])
def test_every_example_comes_once_in_an_epoch(shuffle: bool, bucket: bool) -> None:
    batches = positions(IndexedBatches(Positions(103), 8, shuffle=shuffle, bucket=bucket))
    assert torch.cat(batches).sort().values.equal(torch.arange(103))
    assert len(batches) == len(IndexedBatches(Positions(103), 8, shuffle=shuffle, bucket=bucket)) == 13
    assert max(map(len, batches)) == 8


def test_epochs_differ_and_repeat_with_the_seed() -> None:
    def epoch(number: int, seed: int = 0) -> list[list[int]]:
        batches = IndexedBatches(Positions(50), 4, shuffle=True, seed=seed)
        batches.sampler.set_epoch(number)
        return [index.tolist() for index in positions(batches)]

    assert epoch(1) == epoch(1)
    assert epoch(1) != epoch(2)
    assert epoch(1) != epoch(1, seed=1)


def test_bucketing_leaves_less_padding() -> None:
    examples = Positions(1000)

    def padding(bucket: bool) -> int:
        batches = positions(IndexedBatches(examples, 16, shuffle=True, bucket=bucket))
        sizes = [examples.sizes[index] for index in batches]
        return sum(int(one.max()) * len(one) - int(one.sum()) for one in sizes)

    assert padding(True) < 0.5 * padding(False)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 64, 103])
@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("size", [1, 2, 8])
def test_ranks_share_the_examples(monkeypatch: pytest.MonkeyPatch, count: int, world: int, size: int) -> None:
    def ranks(shuffle: bool) -> list[list[Tensor]]:
        found = []
        for rank in range(world):
            monkeypatch.setattr(loader, "rank_and_world", lambda rank=rank: (rank, world))
            batches = IndexedBatches(Positions(count), size, shuffle=shuffle)
            found.append(positions(batches))
            assert len(found[-1]) == len(batches)
        return found

    seen = torch.cat([torch.cat(batches) for batches in ranks(False) if batches])
    assert seen.sort().values.equal(torch.arange(count))
    training = ranks(True)
    assert len({len(batches) for batches in training}) == 1
    assert all(len(batch) for batches in training for batch in batches)
    assert set(torch.cat([torch.cat(batches) for batches in training]).tolist()) == set(range(count))


def test_a_pass_goes_on_where_it_was_interrupted() -> None:
    first = IndexedBatches(Positions(40), 4, shuffle=True)
    passing = iter(first)
    seen = [next(passing) for _ in range(3)]
    second = IndexedBatches(Positions(40), 4, shuffle=True)
    second.load_state_dict(first.state_dict())
    rest = list(second)
    assert torch.cat(positions(seen + rest)).sort().values.equal(torch.arange(40))
    assert len(list(second)) == 10
    finished = IndexedBatches(Positions(40), 4, shuffle=True)
    list(finished)
    finished.load_state_dict(finished.state_dict())
    assert len(list(finished)) == 10


class Recorder(LightningModule):
    """Notes which examples it was given in each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.epochs: dict[int, list[Tensor]] = {}

    def training_step(self, batch: Rows) -> Tensor:
        self.epochs.setdefault(self.current_epoch, []).append(batch.index)
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_the_trainer_names_the_epoch(tmp_path: Path) -> None:
    module = Recorder()
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, IndexedBatches(Positions(12), 4, shuffle=True))
    first, second = (torch.cat(module.epochs[epoch]) for epoch in (0, 1))
    assert first.sort().values.equal(second.sort().values)
    assert not first.equal(second)


class Save(Callback):
    """Saves a checkpoint within the second epoch."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == 7:
            trainer.save_checkpoint(self.path)


def test_an_interrupted_run_goes_on_at_the_next_batch(tmp_path: Path) -> None:
    modules = []
    for path in (None, tmp_path / "within.ckpt"):
        module = Recorder()
        trainer = Trainer(
            max_epochs=3,
            accelerator="cpu",
            logger=False,
            callbacks=[] if path else [Save(tmp_path / "within.ckpt")],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, IndexedBatches(Positions(20), 4, shuffle=True), ckpt_path=path)
        modules.append({epoch: [batch.tolist() for batch in batches] for epoch, batches in module.epochs.items()})
    whole, rest = modules
    assert rest == {1: whole[1][2:], 2: whole[2]}


def test_an_empty_split_gives_no_batches() -> None:
    assert list(IndexedBatches(Positions(0), 4)) == []
    assert list(IndexedBatches(Positions(0), 4, shuffle=True)) == []


def test_the_batch_size_is_checked() -> None:
    with pytest.raises(SettingError, match="batch_size=0"):
        IndexedBatches(Positions(3), 0)


def taken(batches: IndexedBatches, count: int) -> list[Tensor]:
    """Return the positions in the next batches of a pass, which is then left."""
    return positions(batch for _, batch in zip(range(count), batches))


@pytest.mark.parametrize("sizes", [[4, 7, 2], [12, 1, 1, 16], [5, 60], [3, 2, 3], [16, 2, 16]])
def test_a_pass_goes_on_with_other_batch_sizes_at_the_right_example(sizes: list[int]) -> None:
    seen: list[Tensor] = []
    state = None
    for place, size in enumerate(sizes, 1):
        batches = IndexedBatches(Positions(40), size, shuffle=True)
        if state is not None:
            batches.load_state_dict(state)
            assert 0 <= batches.resumed_batches(0) < len(batches)
        seen += taken(batches, 100 if place == len(sizes) else 2)
        state = batches.state_dict()
    assert torch.cat(seen).sort().values.equal(torch.arange(40))


def test_what_the_trainer_counts_and_what_is_left_make_an_epoch() -> None:
    first = IndexedBatches(Positions(103), 8, shuffle=True)
    seen = taken(first, 5)
    second = IndexedBatches(Positions(103), 3, shuffle=True)
    second.load_state_dict(first.state_dict())
    before = second.resumed_batches(0)
    rest = positions(second)
    assert before + len(rest) == len(second)
    assert torch.cat(seen + rest).sort().values.equal(torch.arange(103))


def test_another_number_of_processes_goes_on_at_the_right_example(monkeypatch: pytest.MonkeyPatch) -> None:
    one = IndexedBatches(Positions(64), 8, shuffle=True)
    seen = taken(one, 3)
    for size, others in ((4, 2), (2, 2), (3, 3)):  # the second and third are another size over all processes
        rest = []
        for rank in range(others):
            monkeypatch.setattr(loader, "rank_and_world", lambda rank=rank, others=others: (rank, others))
            batches = IndexedBatches(Positions(64), size, shuffle=True)
            batches.load_state_dict(one.state_dict())
            batches.resumed_batches(0)
            rest += positions(batches)
        assert set(torch.cat(seen).tolist()).isdisjoint(torch.cat(rest).tolist())
        assert set(torch.cat(seen + rest).tolist()) == set(range(64))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (IndexedBatches(Positions(40), 8, shuffle=True), "batch_size=8 cannot be used: expected 4 over all processes"),
        (IndexedBatches(Positions(41), 4, shuffle=True), "41 training examples' cannot be used: expected a seed of 0"),
        (IndexedBatches(Positions(40), 4, shuffle=True, seed=1), "seed 1, 40 training examples"),
    ],
)
def test_a_place_that_cannot_be_found_is_an_error(other: IndexedBatches, words: str) -> None:
    first = IndexedBatches(Positions(40), 4, shuffle=True)
    taken(first, 3)
    other.load_state_dict(first.state_dict())
    with pytest.raises(SettingError, match=words):
        list(other)


def test_a_place_of_another_epoch_begins_anew() -> None:
    first = IndexedBatches(Positions(40), 4, shuffle=True)
    taken(first, 3)
    second = IndexedBatches(Positions(50), 8, shuffle=True)
    second.load_state_dict(first.state_dict())
    second.set_epoch(1)
    assert torch.cat(positions(second)).sort().values.equal(torch.arange(50))


def test_batches_are_pinned_where_they_are_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[Tensor] = []

    def pin(one: Tensor) -> Tensor:
        pinned.append(one)
        return one

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    list(IndexedBatches(Positions(10), 4))
    assert not pinned
    batches = positions(IndexedBatches(Positions(10), 4, pin=True))
    assert [id(one) for one in pinned] == [id(one) for one in batches]


@pytest.mark.parametrize(("device", "pins"), [("cpu", False), ("cuda:0", True)])
def test_a_run_on_a_gpu_alone_pins_its_batches(device: str, pins: bool, tmp_path: Path) -> None:
    data = SyntheticLearners(num_learners=20, num_concepts=5, cache_dir=str(tmp_path))
    assert not data.train_dataloader().pin
    data.trainer = Trainer(accelerator="cpu", strategy=SingleDeviceStrategy(torch.device(device)), barebones=True)
    assert data.train_dataloader().pin == pins
