"""Prerequisites of which it is not known whether they hold: candidates by order, a gate of uncertain edges, sums."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.functional.course_order import CourseOrder


def candidate_prerequisites(order: CourseOrder, share: float = 0.6, learners: int = 1) -> Tensor:
    """Return True where concept j (column) may be a prerequisite of concept c (row), [N, N] bool.

    More than `share` of at least `learners` learners who met both met j before c, and j lies earlier in the course, so
    that no candidates form a cycle.

    >>> from lpr_lightning.functional.course_order import course_order
    >>> from lpr_lightning.types import Interactions
    >>> order = course_order(Interactions.from_lists([[(0, 1), (1, 1)], [(1, 1), (0, 1)], [(0, 0), (1, 0)]]), 2)
    >>> candidate_prerequisites(order).tolist()
    [[False, False], [True, False]]
    """
    earlier = order.place[None, :] < order.place[:, None]
    return (order.before > share) & (order.both >= max(learners, 1)) & earlier


def soft_gate(level: Tensor, strength: Tensor, weight: Tensor) -> Tensor:
    """Return how far uncertain prerequisites let growth through, [...] in (0, 1].

    prod over j of (1 - A_j (1 - sigmoid(softplus(k1) (level_j + k2)))): an edge of strength 0 lets everything through,
    one of strength 1 as much as its prerequisite holds.

    Differs from `learning_gain.prerequisite_gate`: a product, which every edge has a gradient through, not the minimum.

    Args:
        level: of the prerequisites, [..., K] in logits.
        strength: A, [..., K] in [0, 1]; 0 where unused.
        weight: k1 and k2, [2].

    >>> soft_gate(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.5]]), torch.tensor([1.0, 0.0]))  # .5 * .75
    tensor([0.3750])
    """
    missing = torch.sigmoid(-F.softplus(weight[0]) * (level + weight[1]))
    return (1 - strength * missing).prod(-1)


class Earlier:
    """Sums over earlier entries of the same group, of entries in order of time.

    Args:
        group: of each entry, [E] int64.

    >>> Earlier(torch.tensor([7, 3, 7, 7])).sums(torch.tensor([1.0, 2.0, 4.0, 8.0]))
    tensor([0., 0., 1., 5.])
    """

    def __init__(self, group: Tensor) -> None:
        ordered, self.order = group.sort(stable=True)
        self.back = self.order.argsort()
        begins = torch.ones_like(ordered, dtype=torch.bool)
        begins[1:] = ordered[1:] != ordered[:-1]
        place = torch.arange(len(ordered))
        self.start = torch.where(begins, place, 0).cummax(0).values

    def sums(self, value: Tensor) -> Tensor:
        """Return the sum [E] of `value` [E] over the earlier entries of each one's group."""
        if not len(value):
            return value
        ordered = value.index_select(0, self.order).double()  # of thousands of entries, whose differences count
        before = ordered.cumsum(0) - ordered
        return (before - before.index_select(0, self.start)).index_select(0, self.back).to(value)
