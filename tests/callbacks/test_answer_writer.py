"""The answers of a test are written once, in rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from safetensors.torch import load_file

from lpr_lightning.callbacks.answer_writer import AnswerWriter
from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import SettingError
from lpr_lightning.types import Answers, InteractionBatch


class Guesser(LightningModule):
    """Predicts one half."""

    def test_step(self, batch: InteractionBatch, batch_idx: int) -> dict[str, Answers]:
        real = batch.mask[:, 1:]
        rows = batch.learner[:, None].expand_as(real)[real]
        correct, item = batch.correct[:, 1:][real], batch.item[:, 1:][real]
        return {"answers": Answers(torch.full_like(correct, 0.5), correct, batch.concept[:, 1:][real], item, rows)}


def test_every_answer_of_a_test_is_a_row(tmp_path: Path) -> None:
    data = SyntheticLearners(num_learners=20, num_concepts=4)
    trainer = Trainer(
        logger=False,
        default_root_dir=tmp_path,
        accelerator="cpu",
        enable_progress_bar=False,
        callbacks=[AnswerWriter()],
    )
    for _ in range(2):
        trainer.test(Guesser(), datamodule=data, verbose=False)
    columns = load_file(tmp_path / "answers.safetensors")
    log = data.interactions("test")
    assert len(columns["correct"]) == len(log) - log.num_learners
    assert set(columns["learner"].tolist()) == set(log.learner.tolist())
    for row, learner in enumerate(log.learner.tolist()):
        own = log.correct[log.offsets[row] + 1 : log.offsets[row + 1]].float()
        assert torch.equal(columns["correct"][columns["learner"] == learner], own)


@pytest.mark.parametrize("name", ["", "a/b"])
def test_a_name_with_a_folder_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match="name"):
        AnswerWriter(name)
