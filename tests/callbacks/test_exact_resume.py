"""Runs of modules and loaders that are not ours go on exactly, and last.ckpt is saved when it should be."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lpr_lightning.callbacks import ExactResume, LastCheckpoint, SafeCheckpointIO
from lpr_lightning.callbacks.exact_resume import follow_folder
from lpr_lightning.datamodules.loader import IndexedBatches
from lpr_lightning.errors import SettingError

EPOCHS, ROWS = 3, 20


class Dropping(LightningModule):
    """Somebody else's module: dropout, Adam, a schedule, a figure for each step."""

    def __init__(self, manual: bool = False) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.automatic_optimization = not manual
        self.seen: list[list[float]] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.seen.append(batch[0][:, 0].tolist())
        loss: Tensor = (self.net(batch[0]) - 1.0).square().mean()
        self.log("train/loss", loss)
        if not self.automatic_optimization:
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        return loss

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[Any]]:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


class Killed(Exception):
    """Stands for a kill."""


class Kill(Callback):
    """Ends the run in the midst of a batch, after so many."""

    def __init__(self, after: int) -> None:
        self.left = after

    def on_after_backward(self, *_: object) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1


def loader(workers: int = 0, size: int = 4) -> DataLoader[tuple[Tensor, ...]]:
    rows = torch.arange(ROWS * 4.0).view(ROWS, 4) / 80
    return DataLoader(TensorDataset(rows), size, shuffle=True, num_workers=workers)


def fit(
    folder: Path, loader: object, *callbacks: Callback, start: Path | None = None, manual: bool = False, **options: Any
) -> Dropping:
    seed_everything(3, verbose=False)
    module = Dropping(manual)
    seed_everything(len(callbacks), verbose=False)  # where torch's generator is does not matter
    torch.manual_seed(len(callbacks))
    settings: dict[str, Any] = {"max_epochs": EPOCHS, "logger": CSVLogger(str(folder)), "log_every_n_steps": 1}
    trainer = Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[ExactResume(), *callbacks],
        plugins=[SafeCheckpointIO()],
        **settings | options,
    )
    seed_everything(3, verbose=False)
    trainer.fit(module, train_dataloaders=loader, ckpt_path=start)
    return module


def weights(module: Dropping) -> list[Tensor]:
    return [weight.detach() for weight in module.parameters()]


def same(one: Dropping, other: Dropping) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


@pytest.mark.parametrize("manual", [False, True])
@pytest.mark.parametrize("after", [1, 5, 6, 13])
def test_a_plain_loader_and_module_end_as_if_nothing_had_happened(tmp_path: Path, after: int, manual: bool) -> None:
    whole = fit(tmp_path / "whole", loader(), LastCheckpoint(every_n_batches=1), manual=manual)
    saving = LastCheckpoint(tmp_path, every_n_batches=2)
    with pytest.raises(Killed):
        fit(tmp_path / "killed", loader(), saving, Kill(after), manual=manual)
    start = tmp_path / "last.ckpt" if after > 2 else None
    resumed = fit(tmp_path / "resumed", loader(), start=start, manual=manual)
    assert same(whole, resumed)
    assert resumed.seen == whole.seen[-len(resumed.seen) :]
    saved = 0 if start is None else torch.load(start, weights_only=True)["global_step"]
    assert len(resumed.seen) == 15 - saved
    assert saved in (0, after, after - 1)


def test_worker_processes_too(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", loader(workers=1), max_epochs=2)
    with pytest.raises(Killed):
        fit(tmp_path / "killed", loader(workers=1), LastCheckpoint(tmp_path, every_n_batches=2), Kill(7), max_epochs=2)
    assert same(whole, fit(tmp_path / "resumed", loader(workers=1), start=tmp_path / "last.ckpt", max_epochs=2))


def test_a_stock_checkpoint_within_an_epoch_will_do(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", loader())
    saving = ModelCheckpoint(tmp_path, "step", every_n_train_steps=7, enable_version_counter=False)
    with pytest.raises(Killed):
        fit(tmp_path / "killed", loader(), saving, Kill(9))
    assert same(whole, fit(tmp_path / "resumed", loader(), start=tmp_path / "step.ckpt"))


class OnException(Callback):
    """Saves when a run breaks off."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_exception(self, trainer: Trainer, *_: object) -> None:
        trainer.save_checkpoint(self.path)


class Break(Callback):
    """Raises in the midst of a batch: before its optimizer step, or after it."""

    def __init__(self, batch: int, hook: str) -> None:
        self.batch, self.hook, self.count = batch, hook, 0

    def _raise(self, hook: str) -> None:
        if hook == self.hook:
            self.count += 1
            if self.count == self.batch:
                raise Killed

    def on_before_optimizer_step(self, *_: object) -> None:
        self._raise("before")

    def on_train_batch_end(self, *_: object) -> None:
        self._raise("after")


@pytest.mark.parametrize("hook", ["before", "after"])
@pytest.mark.parametrize("batch", [1, 5, 8])
def test_a_batch_that_broke_off_is_repeated_unless_its_step_was_taken(tmp_path: Path, hook: str, batch: int) -> None:
    whole = fit(tmp_path / "whole", loader())
    with pytest.raises(Killed):
        fit(tmp_path / "broken", loader(), Break(batch, hook), OnException(tmp_path / "broken.ckpt"))
    resumed = fit(tmp_path / "resumed", loader(), start=tmp_path / "broken.ckpt")
    assert len(resumed.seen) == 15 - batch + (hook == "before")
    assert same(whole, resumed)


class Rows:
    """Examples whose batch is their rows."""

    sizes = torch.arange(ROWS) + 1

    def batch(self, index: Tensor) -> Any:
        return [torch.stack([index.float()] * 4, 1) / ROWS]


def indexed(size: int) -> IndexedBatches:
    rows: Any = Rows()
    return IndexedBatches(rows, size, shuffle=True)


@pytest.mark.parametrize("size", [3, 8, 40])
def test_another_batch_size_goes_on_at_the_right_example(tmp_path: Path, size: int) -> None:
    with pytest.raises(Killed):
        fit(tmp_path / "killed", indexed(4), LastCheckpoint(tmp_path, every_n_batches=7), killed := Kill(8))
    assert killed.left == 0
    whole = fit(tmp_path / "whole", indexed(4))
    resumed = fit(tmp_path / "resumed", indexed(size), start=tmp_path / "last.ckpt")
    before = [row for batch in whole.seen[5:7] for row in batch]
    rest = [row for batch in resumed.seen for row in batch]
    batches = -(-ROWS // size)
    assert len(resumed.seen) == batches + -(-(ROWS - 8) // size)
    everyone = [float(torch.tensor(float(row)) / ROWS) for row in range(ROWS)]
    assert sorted([*before, *rest[: ROWS - 8]]) == everyone
    with pytest.raises(SettingError, match="limit_train_batches"):
        fit(tmp_path / "limited", indexed(2), start=tmp_path / "last.ckpt", limit_train_batches=5)


def test_nothing_is_logged_twice_and_nothing_is_missing(tmp_path: Path) -> None:
    def steps(folder: Path) -> list[str]:
        (file,) = folder.rglob("metrics.csv")
        with file.open() as opened:
            return [row["step"] for row in csv.DictReader(opened)]

    with pytest.raises(Killed):
        fit(tmp_path / "killed", loader(), LastCheckpoint(tmp_path, every_n_batches=3), Kill(8))
    fit(tmp_path / "resumed", loader(), start=tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]
    assert saved == 6
    assert steps(tmp_path / "killed")[:saved] + steps(tmp_path / "resumed") == [str(step) for step in range(15)]


def test_minutes_count_and_numbers_are_checked(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        fit(tmp_path / "killed", loader(), LastCheckpoint(tmp_path, every_n_minutes=1e-9), Kill(3), manual=True)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3
    with pytest.raises(SettingError, match="every_n_batches=0"):
        LastCheckpoint(every_n_batches=0)
    with pytest.raises(SettingError, match=r"every_n_minutes=-1"):
        LastCheckpoint(every_n_minutes=-1)


def test_the_state_of_a_moved_folder_points_to_where_it_is(tmp_path: Path) -> None:
    def state() -> dict[str, Any]:
        scores = {"/old/a.ckpt": torch.tensor(0.3), "/old/b.ckpt": torch.tensor(0.1)}
        paths = {"best_model_path": "/old/b.ckpt", "kth_best_model_path": "/old/a.ckpt", "last_model_path": ""}
        return {"dirpath": "/old", "best_k_models": scores, "best_model_score": scores["/old/b.ckpt"], **paths}

    left = state()
    follow_folder(left, tmp_path, "min")
    assert left["dirpath"] == "/old"
    (tmp_path / "a.ckpt").touch()
    found = state()
    follow_folder(found, tmp_path, "min")
    assert found["dirpath"] == str(tmp_path)
    assert found["best_model_path"] == found["kth_best_model_path"] == str(tmp_path / "a.ckpt")
    assert found["best_model_score"] == torch.tensor(0.3)
