"""Some questions of a bank."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import arguments
from lpr_lightning.protocols import LearnerData
from lpr_lightning.simulators.actions import ActionSet, QuestionActions
from lpr_lightning.types import PAD, Exercise


class ChosenQuestions(ActionSet):
    """Actions that are some questions of the data, numbered anew from 0.

    Args:
        items: the questions' numbers in the data, each once.
        num_items: number of questions of the data; the command line fills it in.

    Raises:
        SettingError: there is none, one is out of range, or one stands twice.

    >>> bank = ChosenQuestions([2, 0], 3)
    >>> bank.bank.item_concepts = torch.tensor([[0], [1], [4]])
    >>> bank.at(torch.tensor([0, 1, -1])).item, bank.at(torch.tensor([0, -1])).concept
    (tensor([ 2,  0, -1]), tensor([[ 4],
            [-1]]))
    """

    items: Tensor

    def __init__(self, items: Sequence[int], num_items: int | None = None) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        self.bank = QuestionActions(num_items)
        chosen = list(items)
        if not chosen or len(set(chosen)) < len(chosen) or min(chosen) < 0 or max(chosen) >= len(self.bank):
            raise SettingError("items", chosen[:5], f"numbers of questions from 0 to {len(self.bank) - 1}, each once")
        self.register_buffer("items", torch.tensor(chosen))

    def __len__(self) -> int:
        return len(self.items)

    @property
    def connected(self) -> bool:
        """Whether the questions' concepts are known."""
        return self.bank.connected

    def connect(self, data: LearnerData) -> None:
        """Take from the data which questions are on which concepts."""
        self.bank.connect(data)

    def at(self, action: Tensor) -> Exercise:
        """Return the exercises of actions [...] int64; nothing is asked where an action is -1."""
        return self.bank.at(self.items[action.clamp_min(0)].masked_fill(action < 0, PAD))
