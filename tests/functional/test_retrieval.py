"""Are the figures of retrieval those of plain loops?"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lpr_lightning.functional.concept_clusters import cluster_vectors, merge_equal_names
from lpr_lightning.functional.retrieval import (
    cluster_questions,
    concept_similarity,
    mean_reciprocal_rank,
    micro_f1,
    recall_at,
    uniformity,
)
from lpr_lightning.functional.text_rivals import bm25, tf_idf


@pytest.mark.parametrize("seed", range(10))
def test_they_are_those_of_the_loops(seed: int) -> None:
    draw = np.random.default_rng(seed)
    similarity, relevant = draw.integers(0, 4, (6, 9)) / 4, draw.random((6, 9)) < 0.3  # with ties
    hits = total = 0
    recall, rank = [], []
    for row in range(6):
        order = sorted(range(9), key=lambda one: (-similarity[row, one], one))
        count = int(relevant[row].sum())
        hits, total = hits + sum(relevant[row, one] for one in order[:count]), total + count
        if count:
            recall.append(sum(relevant[row, one] for one in order[:3]) / count)
            rank.append(1 / (1 + next(place for place, one in enumerate(order) if relevant[row, one])))
    given = torch.tensor(similarity), torch.tensor(relevant)
    assert float(micro_f1(*given)) == pytest.approx(hits / total)
    assert float(recall_at(*given, 3)) == pytest.approx(np.mean(recall))
    assert float(mean_reciprocal_rank(*given)) == pytest.approx(np.mean(rank))


def test_micro_f1_with_other_counts_counts_hits_of_the_cluster() -> None:
    """The concept has one question, its cluster two: the nearest one is taken, and is a hit of the cluster."""
    similarity, cluster = torch.tensor([[0.2, 0.9, 0.1]]), torch.tensor([[True, True, False]])
    assert float(micro_f1(similarity, cluster, torch.tensor([1]))) == 1.0


def test_nothing_relevant_is_undefined() -> None:
    assert math.isnan(micro_f1(torch.rand(2, 3), torch.zeros(2, 3, dtype=torch.bool)))
    assert math.isnan(uniformity(torch.rand(1, 3)))


def test_similarity_is_half_wording_and_half_the_nearest_step() -> None:
    concept, question = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    step, owner = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    assert concept_similarity(concept, question, step, owner).tolist() == [[0.5, 1.0]]


def test_clusters_are_found_and_mapped_anew() -> None:
    near = [[1.0, 0.0, 0.0], [0.99, 0.05, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.02], [0.0, 0.0, 1.0]]
    cluster = cluster_vectors(torch.tensor(near))
    assert cluster.tolist() == [0, 0, 2, 2, 4]
    assert merge_equal_names(cluster, ["a", "b", "c", "d", " A"]).tolist() == [0, 0, 2, 2, 0]
    member = cluster_questions([(1, 4), (3,)], cluster)
    assert member.nonzero().tolist() == [[0, 0], [2, 1], [4, 0]]


def test_rivals_find_the_text_with_the_rare_word() -> None:
    texts = ["the cat sat", "the dog sat", "the axolotl sat"]
    vectors = tf_idf([*texts, "axolotl"])
    assert int((vectors[3] @ vectors[:3].T).argmax()) == 2
    assert int(bm25(["the axolotl"], texts).argmax()) == 2
    assert tf_idf(["", "."]).norm(dim=1).tolist() == [1.0, 1.0]
