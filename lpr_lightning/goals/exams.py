"""How mastery is marked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from lpr_lightning.errors import SettingError


class Exam(ABC):
    """Marks mastery; a concept counts between 0 and 1, so that the best possible score is the number of concepts."""

    @abstractmethod
    def passed(self, mastery: Tensor) -> Tensor:
        """Return how far concepts of these masteries are passed, elementwise in [0, 1]."""


@dataclass(frozen=True)
class SoftExam(Exam):
    """A concept counts by its mastery (SRC).

    >>> import torch
    >>> SoftExam().passed(torch.tensor([0.25, 0.75]))
    tensor([0.2500, 0.7500])
    """

    def passed(self, mastery: Tensor) -> Tensor:
        """Return the mastery itself."""
        return mastery


@dataclass(frozen=True)
class HardExam(Exam):
    """A concept counts where its mastery reaches a threshold (GEHRL, DLPR).

    Args:
        threshold: in (0, 1); 0.5 in DLPR, 0.75 in GEHRL.

    Raises:
        SettingError: `threshold` is outside (0, 1).

    >>> import torch
    >>> HardExam(0.5).passed(torch.tensor([0.25, 0.5]))
    tensor([0., 1.])
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise SettingError("threshold", self.threshold, "a number between 0 and 1", "0.5 and 0.75 are in use")

    def passed(self, mastery: Tensor) -> Tensor:
        """Return 1 from the threshold on, else 0."""
        return (mastery >= self.threshold).to(mastery)
