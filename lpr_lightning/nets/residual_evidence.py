"""What a learner's earlier answers say by how much better than usual they were: sums of residuals and counts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lpr_lightning.nets.growth_net import mean_of_known

CONCEPT, OVERALL = 2.0, 5.0
"""Answers that a mean residual is drawn towards 0 by, on a concept and over all."""
SCALE = 4.0
"""Of the weights, so that they are learned as fast as those of a network."""


class ResidualEvidence(nn.Module):
    """4 w_1 R_c / (n_c + 2) + 4 w_2 R / (t + 5) + 4 w_3 log(1 + n_c), in logits.

    R and R_c are sums of y - (base rate of the concept) over all t answers and the n_c ones on c. The residual of an
    answer on several concepts is that from their mean base rate, and counts for each.

    Args:
        num_concepts: N.

    >>> evidence = ResidualEvidence(2)
    >>> evidence(torch.tensor([[[0.5], [0.0]]]), torch.tensor([[0.5, 1.0]]))
    tensor([[0.6667]], grad_fn=<AddBackward0>)
    """

    rate: Tensor

    def __init__(self, num_concepts: int) -> None:
        super().__init__()
        self.register_buffer("rate", torch.full((num_concepts,), 0.5))
        self.weight = nn.Parameter(torch.tensor([0.5, 0.5, 0.0]))

    def added(self, concept: Tensor, correct: Tensor) -> tuple[Tensor, Tensor]:
        """Return what answers add to the sums; see `added_by`."""
        return added_by(concept, correct, self.rate)

    def forward(self, answers: Tensor, overall: Tensor) -> Tensor:
        """Return the logits [..., M] of R_c and n_c [..., 2, M] and of R and t [..., 2]."""
        (own, every), weight = mean_residuals(answers, overall), SCALE * self.weight
        return weight[0] * own + weight[1] * every + weight[2] * answers[..., 1, :].log1p()


def added_by(concept: Tensor, correct: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Return what answers add to R_c and n_c of each of their concepts, [..., 2, C], and to R and t, [..., 2].

    Args:
        concept: of the answers, [..., C], -1 where unused; an answer without any adds nothing.
        correct: [...].
        rate: share of right answers on each concept, [N].

    >>> added_by(torch.tensor([[0, 1], [-1, -1]]), torch.ones(2), torch.tensor([0.5, 0.25]))[1].tolist()
    [[0.625, 1.0], [0.0, 0.0]]
    """
    known = (concept >= 0).to(rate)
    residual = (correct - mean_of_known(rate[concept.clamp_min(0)], concept)) * known.amax(-1)
    return torch.stack([known * residual[..., None], known], -2), torch.stack([residual, known.amax(-1)], -1)


def mean_residuals(answers: Tensor, overall: Tensor) -> tuple[Tensor, Tensor]:
    """Return R_c / (n_c + 2) [..., M] and R / (t + 5) [..., 1], from sums and counts [..., 2, M] and [..., 2]."""
    (own, count), (total, times) = answers.unbind(-2), overall[..., None].unbind(-2)
    return own / (count + CONCEPT), total / (times + OVERALL)


def before_each(concept: Tensor, added: Tensor, read: Tensor, num_concepts: int) -> Tensor:
    """Return sums over the answers before each one, of the concepts that are read there, without gradient.

    Args:
        concept: of the answers, [B, T, C], -1 where unused.
        added: what each answer adds to V sums of each of its concepts, [B, T, V, C]; 0 where unused.
        read: concepts whose sums are wanted before each answer, [B, T, D]; those of -1 are arbitrary.
        num_concepts: N.

    Returns:
        [B, T, V, D].

    >>> concept = torch.tensor([[[0], [1], [0]]])
    >>> before_each(concept, torch.ones(1, 3, 1, 1), concept, num_concepts=2).flatten().tolist()
    [0.0, 0.0, 1.0]
    """
    kinds, at, wanted = added.shape[2], concept.clamp_min(0)[:, :, None], read.clamp_min(0)[:, :, None]
    sums = added.new_zeros(len(concept), kinds, num_concepts)
    seen = added.new_zeros(*read.shape[:2], kinds, read.shape[2])
    with torch.no_grad():
        for step in range(concept.shape[1]):
            seen[:, step] = sums.gather(2, wanted[:, step].expand(-1, kinds, -1))
            sums.scatter_add_(2, at[:, step].expand(-1, kinds, -1), added[:, step])
    return seen


def after_first(concept: Tensor, added: Tensor, start: Tensor, num_concepts: int) -> Tensor:
    """Return sums of all concepts over the first `start` [B, S] answers, [B, S, V, N]; arguments as above.

    >>> after_first(torch.tensor([[[0], [1], [0]]]), torch.ones(1, 3, 1, 1), torch.tensor([[2, 3]]), 2).tolist()
    [[[[1.0, 1.0]], [[2.0, 1.0]]]]
    """
    before = torch.arange(concept.shape[1], device=start.device) < start[..., None]
    value = (added[:, None] * before[..., None, None]).transpose(2, 3).flatten(3)
    index = concept.clamp_min(0).flatten(1)[:, None, None].expand_as(value)
    return added.new_zeros(*value.shape[:3], num_concepts).scatter_add(3, index, value)
