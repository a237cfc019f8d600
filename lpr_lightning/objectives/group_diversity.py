"""How different the paths for one learner are from one another."""

from __future__ import annotations

from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.diversity import ngram_jaccard_diversity
from lpr_lightning.hparams import arguments
from lpr_lightning.objectives.base import Objective
from lpr_lightning.types import Rollout


class GroupDiversity(Objective):
    """D_Div of IB-GRPO (arXiv 2601.14686), eq. 4 and 5, among the paths of one prompt; 0 where it has but one path.

    Args:
        n: length of the n-grams; the paper states none.

    Raises:
        SettingError: `n` is below 1.

    >>> GroupDiversity(n=3).hparams
    "n": 3
    """

    name = "diversity"

    def __init__(self, n: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        if n < 1:
            raise SettingError("n", n, "a whole number from 1 on")
        self.n = n

    def forward(self, rollout: Rollout) -> Tensor:
        """Return D_Div, [B] in [0, 1]."""
        return ngram_jaccard_diversity(rollout.path, rollout.group_size, self.n)
