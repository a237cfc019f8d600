"""Where all answers are right, no AUC is made up, and another figure chooses the checkpoint."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lpr_lightning.datamodules.interactions_csv import InteractionsCSV
from lpr_lightning.models.dkt import DKT


def data(tmp_path: Path, correct: str) -> InteractionsCSV:
    rows = [f"l{n // 6},{n},c{n % 3},{correct[n % len(correct)]}" for n in range(120)]
    (tmp_path / "interactions.csv").write_text("\n".join(["learner,order,concept,correct", *rows]))
    return InteractionsCSV(str(tmp_path), item=None, cache_dir=str(tmp_path / "cache"))


def fit(tmp_path: Path, correct: str) -> tuple[Trainer, ModelCheckpoint, list[float]]:
    best = ModelCheckpoint(tmp_path / "best", monitor=DKT.monitor[0], mode=DKT.monitor[1])
    chosen: list[float] = []

    class Watch(EarlyStopping):
        def on_validation_end(self, trainer: Trainer, pl_module: object) -> None:
            if not trainer.sanity_checking:
                chosen.append(float(trainer.callback_metrics["val/selection"]))

    callbacks = [best, Watch(DKT.monitor[0], mode=DKT.monitor[1])]
    trainer = Trainer(
        default_root_dir=tmp_path,
        max_epochs=3,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    torch.manual_seed(0)
    trainer.fit(DKT(3, learning_rate=0.05), datamodule=data(tmp_path, correct))
    return trainer, best, chosen


@pytest.mark.parametrize("answer", ["0", "1"])
def test_the_least_squared_error_chooses_and_it_is_said(tmp_path: Path, answer: str) -> None:
    with pytest.warns(UserWarning, match=r"val/auc is undefined: .* 1 less val/brier chooses the checkpoint"):
        trainer, best, chosen = fit(tmp_path, answer)
    figures = trainer.callback_metrics
    assert math.isnan(figures["val/auc"])
    assert float(figures["val/selection"]) == pytest.approx(1 - float(figures["val/brier"]))
    assert chosen == sorted(chosen)
    assert len(set(chosen)) == 3
    assert best.best_model_path.startswith(str(tmp_path / "best" / "epoch=2"))


def test_the_auc_chooses_where_it_is_defined(tmp_path: Path) -> None:
    trainer, _, _ = fit(tmp_path, "01101")
    assert float(trainer.callback_metrics["val/selection"]) == float(trainer.callback_metrics["val/auc"])
