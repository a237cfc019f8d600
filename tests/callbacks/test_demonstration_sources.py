"""The picture of demonstrations by source: drawn once, of what was found, for modules that have any."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import TensorBoardLogger

from lpr_lightning.callbacks import DemonstrationSources
from lpr_lightning.callbacks import demonstration_sources as module
from lpr_lightning.errors import SettingError
from lpr_lightning.policies.search import FoundPaths

SOURCES = ["genetic", "genetic", "CSEAL"]
PATHS = torch.tensor([[[0, 1], [1, 1], [-1, -1]], [[2, 2], [-1, -1], [0, 2]]])
EFFECT = torch.tensor([[0.8, 0.2, -torch.inf], [0.4, -torch.inf, 0.6]])


class Demonstrated(BoringModel):
    """Somebody else's module, whose demonstrations are there from the first batch on."""

    found: FoundPaths | None = None

    @property
    def demonstrated(self) -> tuple[FoundPaths | None, list[str]]:
        return self.found, SOURCES

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        self.found = FoundPaths(PATHS, EFFECT)


def fit(folder: Path, model: BoringModel, callback: DemonstrationSources, checkpoint: str | None = None) -> Trainer:
    trainer = Trainer(
        max_epochs=2 if checkpoint is None else 3,
        limit_train_batches=1,
        limit_val_batches=0,
        accelerator="cpu",
        callbacks=[callback],
        logger=TensorBoardLogger(str(folder)),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, ckpt_path=checkpoint)
    return trainer


def test_points_are_those_of_the_paths_that_were_found() -> None:
    points = module.by_source(FoundPaths(PATHS, EFFECT), SOURCES)
    assert torch.equal(points["genetic"], torch.tensor([[1.0, 0.8], [0.5, 0.2], [0.5, 0.4]]))
    assert torch.equal(points["CSEAL"], torch.tensor([[1.0, 0.6]]))


def test_it_is_drawn_once_also_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags: list[str] = []
    monkeypatch.setattr(module, "add_figure", lambda trainer, tag, figure: tags.append(tag))
    trainer = fit(tmp_path, Demonstrated(), DemonstrationSources())
    assert tags == ["train/demonstrations"]
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    fit(tmp_path, Demonstrated(), DemonstrationSources(), str(tmp_path / "last.ckpt"))
    assert tags == ["train/demonstrations"]


def test_the_picture_names_every_source() -> None:
    figure = module.draw(module.by_source(FoundPaths(PATHS, EFFECT), SOURCES), max_points=2)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "genetic: 0.47 at 0.67 (3 paths)",
        "CSEAL: 0.60 at 1.00 (1 paths)",
    ]


def test_a_module_without_demonstrations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="demonstrations"):
        fit(tmp_path, BoringModel(), DemonstrationSources())
