"""Model-based value expansion: what an exercise is worth, read off a model of the learner."""

from __future__ import annotations

from torch import Tensor


def expected_gain(success: Tensor, after: Tensor, before: Tensor) -> Tensor:
    """Return the expected rise in value of one exercise (ExRec eq. 23): p v(1) + (1 - p) v(0) - v.

    Args:
        success: probability p of a right answer, [...].
        after: value after a wrong and after a right answer (eq. 22), [..., 2].
        before: value before it, [...].

    >>> import torch
    >>> expected_gain(torch.tensor(0.25), torch.tensor([0.4, 0.8]), torch.tensor(0.3))
    tensor(0.2000)
    """
    return success * after[..., 1] + (1 - success) * after[..., 0] - before


def expanded_value(first: Tensor, chance: Tensor, gains: Tensor, steps: Tensor, gamma: float) -> Tensor:
    """Return the value of an exercise from an expansion over H steps (Feinberg et al. 2018, with both first outcomes).

    The first step is expected exactly over both answers, and of each a path goes on under the policy:
    first + sum over outcomes k and later steps j of P(k) gamma^j gains[k, j], as far as there are steps left.

    Args:
        first: expected gain of the first step, [B].
        chance: of a wrong and of a right first answer, [B, 2].
        gains: expected gain of each later step after each outcome, [B, 2, H - 1].
        steps: steps that the episode has left, the first included, [B] int64.
        gamma: discount.

    >>> import torch
    >>> gains = torch.tensor([[[1.0, 8.0], [3.0, 8.0]]])
    >>> expanded_value(torch.tensor([0.5]), torch.tensor([[0.5, 0.5]]), gains, torch.tensor([2]), gamma=0.5)
    tensor([1.5000])
    """
    value = first
    for step in range(gains.shape[2]):
        later = (chance * gains[:, :, step]).sum(1)
        value = value + gamma ** (step + 1) * later.masked_fill(steps <= step + 1, 0.0)
    return value
