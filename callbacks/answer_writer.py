"""Predicted answers of the test learners as a file."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule, Trainer
from safetensors.torch import save_file

from lpr_lightning.cache import atomic_write
from lpr_lightning.callbacks.evaluation import AnswersCallback
from lpr_lightning.callbacks.pictures import checked_file_name, run_folder
from lpr_lightning.ranks import gathered
from lpr_lightning.types import Answers

COLUMNS = ("probability", "correct", "item", "learner")


class AnswerWriter(AnswersCallback):
    """Writes every predicted answer of a test to a file in the run's folder, for figures over several runs.

    The file (safetensors) holds one row for each answer: `probability` of success before the answer was seen,
    `correct`, `item` and `learner` (numbers of the data set). Written whole or not at all, over an earlier one.

    Args:
        name: file name.

    Raises:
        SettingError: `name` is empty or has a folder in it.
    """

    def __init__(self, name: str = "answers.safetensors") -> None:
        super().__init__(stages=("test",))
        self.name = checked_file_name(name)
        self._parts: list[Answers] = []

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the last test."""
        self._parts = []

    def take(self, trainer: Trainer, pl_module: LightningModule, stage: str, answers: Answers) -> None:
        """Collect one batch's answers."""
        self._parts.append(answers)

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the answers of all ranks."""
        path = run_folder(trainer) / self.name
        columns = {}
        for name in COLUMNS:
            parts = [vars(part)[name] for part in self._parts]
            empty = torch.empty(0, dtype=torch.float32 if name in ("probability", "correct") else torch.int64)
            columns[name] = gathered(torch.cat(parts) if parts else empty, pl_module.device).contiguous()
        if trainer.is_global_zero:
            with atomic_write(path) as temporary:
                save_file(columns, temporary)
        self._parts = []
