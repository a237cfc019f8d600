"""Clusters of vectors by density."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def cluster_vectors(vectors: Tensor, min_size: int = 2) -> Tensor:
    """Return the cluster of each vector by HDBSCAN with the cosine distance, [N] int64 (ExRec, section 4.2).

    A cluster has the number of its first vector; what HDBSCAN calls noise are clusters of their own. Needs N² numbers.

    Args:
        vectors: [N, D], none of them zero.
        min_size: least size of a cluster.

    >>> cluster_vectors(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.01], [0.01, 1.0]]))
    tensor([0, 1, 0, 1])
    """
    from sklearn.cluster import HDBSCAN

    unit = F.normalize(vectors.double(), dim=1)
    distance = (1 - unit @ unit.T).clamp_min(0).fill_diagonal_(0)
    found = HDBSCAN(min_cluster_size=min_size, min_samples=1, metric="precomputed", copy=True).fit(distance.numpy())
    label = torch.from_numpy(found.labels_).long()
    number = torch.arange(len(label))
    first = torch.full((int(label.max()) + 2,), len(label)).scatter_reduce(0, label + 1, number, "amin")
    return torch.where(label < 0, number, first[label + 1])


def merge_equal_names(cluster: Tensor, names: Sequence[str]) -> Tensor:
    """Return the clusters with those joined that hold names which differ in case or spaces alone.

    >>> merge_equal_names(torch.tensor([0, 1, 1]), ["Adding  fractions", "Halves", "adding fractions"])
    tensor([0, 0, 0])
    """
    cluster = cluster.clone()
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        before = first.setdefault(" ".join(name.casefold().split()), number)
        one, other = cluster[before].clone(), cluster[number].clone()
        cluster[(cluster == one) | (cluster == other)] = torch.minimum(one, other)
    return cluster
