"""How well questions are found by their concepts: micro-F1, recall, reciprocal rank, alignment, uniformity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.functional.contrastive import cosine


def concept_similarity(concept: Tensor, question: Tensor, step: Tensor, owner: Tensor) -> Tensor:
    """Return how near questions are to concepts, [C, Q]: half by the wording, half by the nearest step.

    As the authors of ExRec measure it (their code, not in the paper). A question without steps counts by its wording.

    Args:
        concept: vectors, [C, D].
        question: vectors of the wording, [Q, D].
        step: vectors of all steps, [S, D].
        owner: the question of each step, [S] int64.
    """
    wording = cosine(concept, question)
    if not len(step):
        return wording
    near = cosine(concept, step)
    best = wording.new_full(wording.shape, -torch.inf)
    best = best.scatter_reduce(1, owner.expand(len(concept), -1), near, "amax")
    return torch.where(best.isinf(), wording, (wording + best) / 2)


def micro_f1(similarity: Tensor, relevant: Tensor, count: Tensor | None = None) -> Tensor:
    """Return hits over retrieved, summed over rows: micro-averaged F1 of retrieval (ExRec, appendix C), a scalar.

    Each row retrieves as many questions as are relevant, so that precision, recall and F1 are one. Ties go to the
    question with the lower number. NaN where nothing is relevant.

    Args:
        similarity: of R queries and Q questions, [R, Q].
        relevant: [R, Q] bool.
        count: how many each row retrieves instead, [R] int64 (the authors' code: the questions of the concept, while
            those of its whole cluster are hits; then it is a micro-averaged precision).

    >>> similarity = torch.tensor([[0.9, 0.8, 0.1], [0.1, 0.2, 0.3]])
    >>> micro_f1(similarity, torch.tensor([[True, False, True], [False, False, True]]))
    tensor(0.6667)
    """
    count = relevant.sum(1) if count is None else count
    hit = _ranked(similarity, relevant)
    taken = torch.arange(hit.shape[1], device=hit.device) < count[:, None]
    return (hit & taken).sum() / count.sum()


def recall_at(similarity: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Return the mean over rows of the share of relevant questions among the first `k`; NaN without any, a scalar.

    >>> recall_at(torch.tensor([[0.9, 0.8, 0.1]]), torch.tensor([[True, False, True]]), k=1)
    tensor(0.5000)
    """
    relevant, similarity = _asked(similarity, relevant)
    return (_ranked(similarity, relevant)[:, :k].sum(1) / relevant.sum(1)).mean()


def mean_reciprocal_rank(similarity: Tensor, relevant: Tensor) -> Tensor:
    """Return the mean over rows of 1 / rank of the first relevant question; NaN without any, a scalar.

    >>> mean_reciprocal_rank(torch.tensor([[0.9, 0.8, 0.1]]), torch.tensor([[False, True, True]]))
    tensor(0.5000)
    """
    relevant, similarity = _asked(similarity, relevant)
    first = _ranked(similarity, relevant).to(torch.int8).argmax(1) if similarity.numel() else relevant.sum(1)
    return (1.0 / (1 + first)).mean()


def alignment(one: Tensor, other: Tensor) -> Tensor:
    """Return the mean squared distance of pairs on the unit sphere (Wang and Isola 2020), in [0, 4]; small is good.

    >>> alignment(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    tensor(2.)
    """
    return (F.normalize(one, dim=-1) - F.normalize(other, dim=-1)).square().sum(-1).mean()


def uniformity(vector: Tensor, strength: float = 2.0) -> Tensor:
    """Return the log of the mean Gaussian kernel over pairs on the unit sphere (Wang and Isola 2020); small is good.

    NaN for fewer than two vectors.

    >>> uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    tensor(-8.0000)
    """
    count = len(vector)
    near = cosine(vector, vector)
    kernel = (-strength * (2 - 2 * near)).exp()
    return ((kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))).log() if count > 1 else near.sum() / 0


def cluster_questions(concepts: list[tuple[int, ...]], cluster: Tensor) -> Tensor:
    """Return which questions have a concept of each cluster, [N, Q] bool, from the questions' own concepts.

    Always made from the concept map: published maps of clusters to questions do not fit their clusters.

    Args:
        concepts: numbers of each question's concepts.
        cluster: cluster of each of N concepts, numbered by a concept of it, [N] int64.

    >>> cluster_questions([(0,), (1,), (2,)], torch.tensor([0, 0, 2])).int()
    tensor([[1, 1, 0],
            [0, 0, 0],
            [0, 0, 1]], dtype=torch.int32)
    """
    member = torch.zeros(len(cluster), len(concepts), dtype=torch.bool)
    for question, own in enumerate(concepts):
        member[cluster[list(own)], question] = True
    return member


def _asked(similarity: Tensor, relevant: Tensor) -> tuple[Tensor, Tensor]:
    """Return relevance and similarity of the rows with something relevant."""
    rows = relevant.any(1)
    return relevant[rows], similarity[rows]


def _ranked(similarity: Tensor, relevant: Tensor) -> Tensor:
    """Return the relevance of the questions, nearest first."""
    return relevant.gather(1, similarity.argsort(dim=1, descending=True, stable=True))
