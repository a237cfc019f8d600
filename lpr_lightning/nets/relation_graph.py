"""Vectors of concepts that attend to the concepts that they build on, and to those that build on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.functional.concept_relations import strongest, without_two_cycles
from lpr_lightning.functional.relation_attention import relation_attention
from lpr_lightning.types import PAD

NEEDED, NEEDING, SELF = 0, 1, 2
"""The types of relations: a builds on b, b builds on a, a is b."""
SCALE = 0.1
"""Of a relation's matrix at the start: concepts begin nearly as they are alone."""


class RelationGraph(nn.Module):
    """Layers of graph attention over typed, weighted relations between concepts (after Velickovic et al. 2018).

    A layer is e_a + ELU(sum over types and related b of alpha_ab W_type e_b), alpha by `relation_attention`. It is
    computed once for all concepts, never for each answer. The relations come by `attach`; until then a concept is
    related to itself alone. `weight` [N, N]: how strongly a (row) builds on b (column); `needed` [N, P]: the at most P
    concepts that each builds on, -1 where unused.

    Args:
        num_concepts: N.
        size: D, width of the vectors.
        layers: number of layers.
        most: P, concepts that one builds on at most.

    >>> graph = RelationGraph(3, size=4, layers=2, most=1)
    >>> graph.attach(torch.tensor([[0.0, 0, 0], [0.9, 0, 0], [0.1, 0.6, 0]]))
    >>> vector, share = graph(torch.randn(3, 4))
    >>> graph.needed.tolist(), share.tolist()
    ([[-1], [0], [1]], [[0.0], [1.0], [1.0]])
    """

    weight: Tensor
    needed: Tensor
    known: Tensor

    def __init__(self, num_concepts: int, size: int, layers: int, most: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(num_concepts, num_concepts))
        self.register_buffer("needed", torch.full((num_concepts, most), PAD))
        self.register_buffer("known", torch.tensor(False))
        self.matrix = nn.Parameter(torch.randn(layers, 3, size, size) * SCALE * size**-0.5)
        self.sides = nn.Parameter(torch.randn(layers, 2, 2, size) * size**-0.5)  # of layer, type, query or key

    def attach(self, weight: Tensor) -> None:
        """Take the relations, [N, N] in [0, 1]; of each concept the strongest stay, of cycles of two the stronger."""
        most = min(self.needed.shape[1], len(weight))
        weight = strongest(without_two_cycles(weight.to(self.weight)), most)
        top = weight.topk(most, 1)
        self.weight.copy_(weight)
        self.needed.fill_(PAD)
        self.needed[:, :most] = top.indices.masked_fill(top.values <= 0, PAD)
        self.known.fill_(True)

    def forward(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors [N, D] of concepts that alone are `vector`, and how much each attends to those that it
        builds on in the last layer, [N, P]."""
        share = vector.new_zeros(self.needed.shape)
        for matrix, side in zip(self.matrix.unbind(), self.sides.unbind(), strict=True):
            moved = torch.einsum("tde,ne->tnd", matrix, vector)
            total = moved[SELF]
            for kind, weight in ((NEEDED, self.weight), (NEEDING, self.weight.T)):
                score = moved[kind] @ side[kind].T
                attention = relation_attention(score[:, 0], score[:, 1], weight)
                total = total + attention @ moved[kind]
                if kind == NEEDED:
                    share = attention.gather(1, self.needed.clamp_min(0)) * (self.needed >= 0)
            vector = vector + F.elu(total)
        return vector, share
