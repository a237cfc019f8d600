"""Dropout after a resume is that of a run that was never interrupted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lpr_lightning.callbacks import StepSeed

BATCHES, EPOCHS = 5, 2


class Loader:
    """The same five batches every epoch; goes on where its state was taken."""

    def __init__(self) -> None:
        self.start = self.position = 0

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[Tensor]:
        start, self.start = self.start, 0
        for self.position in range(start + 1, BATCHES + 1):
            yield torch.full((2, 4), float(self.position))

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["position"] % BATCHES


class Dropping(LightningModule):
    """A module of somebody else's with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        with torch.no_grad():
            for weight in self.parameters():
                weight.fill_(0.1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        out: Tensor = self.net(batch)
        return out.square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Save(Callback):
    """Saves a checkpoint after some batches."""

    def __init__(self, after: int, path: Path) -> None:
        self.count, self.after, self.path = itertools.count(1), after, path

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if next(self.count) == self.after:
            trainer.save_checkpoint(self.path)


class Break(Callback):
    """Fails in the midst of a batch, once torch was asked for random numbers, and saves a checkpoint."""

    def __init__(self, batch: int, path: Path) -> None:
        self.count, self.batch, self.path = itertools.count(1), batch, path

    def on_exception(self, trainer: Trainer, *_: object) -> None:
        trainer.save_checkpoint(self.path)

    def on_before_zero_grad(self, *_: object) -> None:
        if next(self.count) == self.batch:
            raise RuntimeError("broken")


def fit(folder: Path, *callbacks: Callback, start: Path | None = None) -> list[Tensor]:
    module = Dropping()
    trainer = Trainer(
        default_root_dir=folder,
        logger=False,
        accelerator="cpu",
        max_epochs=EPOCHS,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=list(callbacks),
    )
    loader: object = Loader()
    trainer.fit(module, train_dataloaders=loader, ckpt_path=None if start is None else str(start))
    return [weight.detach().clone() for weight in module.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("after", [2, 5, 8])
def test_a_resumed_run_ends_like_one_that_was_not_interrupted(tmp_path: Path, after: int) -> None:
    whole = fit(tmp_path, StepSeed(), Save(after, tmp_path / "within.ckpt"))
    torch.rand(7)
    assert same(fit(tmp_path, StepSeed(), start=tmp_path / "within.ckpt"), whole)


def test_without_it_the_resumed_run_ends_otherwise(tmp_path: Path) -> None:
    whole = fit(tmp_path, Save(2, tmp_path / "within.ckpt"))
    torch.rand(7)
    assert not same(fit(tmp_path, start=tmp_path / "within.ckpt"), whole)


def test_a_batch_that_broke_off_is_repeated_with_the_same_numbers(tmp_path: Path) -> None:
    whole = fit(tmp_path, StepSeed())
    with pytest.raises(RuntimeError, match="broken"):
        fit(tmp_path, StepSeed(), Break(8, tmp_path / "broken.ckpt"))
    saved = torch.load(tmp_path / "broken.ckpt", weights_only=True)
    loop = saved["loops"]["fit_loop"]
    assert loop["epoch_loop.batch_progress"]["total"] == {"ready": 8, "started": 8, "processed": 7, "completed": 7}
    loop["state_dict"]["combined_loader"][0]["position"] = 2  # the batch that broke off is drawn again
    torch.save(saved, tmp_path / "broken.ckpt")
    assert same(fit(tmp_path, StepSeed(), start=tmp_path / "broken.ckpt"), whole)


def test_seeds_differ_by_seed_epoch_batch_and_rank() -> None:
    places = list(itertools.product(range(3), repeat=4))
    assert len({StepSeed.of(*place) for place in places}) == len(places)
    for place in places[:5]:
        torch.manual_seed(StepSeed.of(*place))
