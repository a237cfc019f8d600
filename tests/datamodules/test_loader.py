from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lpr_lightning.datamodules import loader
from lpr_lightning.datamodules.loader import IndexedBatches
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
