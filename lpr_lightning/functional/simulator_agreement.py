"""Whether simulators prefer the same paths."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.functional.rank_fidelity import rank_fidelity, rank_fidelity_defined


def simulator_agreement(gain: Tensor) -> Tensor:
    """Return the mean rank correlation, within a learner, of the gains of the same paths in two simulators, [S, S].

    The mean is over the learners whose paths both simulators tell apart; NaN where there is none. The diagonal is 1.
    Differs from `rank_fidelity` in that neither of the two is the truth: simulators may agree and be wrong alike.

    Args:
        gain: of each path of each learner in each simulator, [S, B, K].

    >>> gain = torch.tensor([[[0.1, 0.2, 0.9]], [[0.0, 0.5, 0.3]], [[0.2, 0.2, 0.2]]])
    >>> simulator_agreement(gain)
    tensor([[1.0000, 0.5000,    nan],
            [0.5000, 1.0000,    nan],
            [   nan,    nan, 1.0000]])
    """
    found = torch.eye(len(gain))
    for first in range(len(gain)):
        for second in range(first):
            pair = gain[first], gain[second]
            defined = rank_fidelity_defined(*pair)
            found[first, second] = found[second, first] = rank_fidelity(*pair)[defined].mean()
    return found


def mean_agreement(agreement: Tensor) -> Tensor:
    """Return each simulator's mean agreement with the others, [S]; pairs without a figure are left out.

    >>> mean_agreement(torch.tensor([[1.0, 0.5, torch.nan], [0.5, 1.0, 0.1], [torch.nan, 0.1, 1.0]]))
    tensor([0.5000, 0.3000, 0.1000])
    """
    itself = torch.eye(len(agreement), dtype=torch.bool)
    return agreement.masked_fill(itself, torch.nan).nanmean(1)
