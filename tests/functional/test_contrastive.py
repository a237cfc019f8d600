"""Are the losses those of the equations, on every batch there may be?"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lpr_lightning.functional.contrastive import allowed_negatives, contrastive_loss, cosine, question_vectors


def slow_negatives(positive: np.ndarray, cluster: list[int], text: list[int]) -> list[list[bool]]:
    rows = []
    for anchor in range(len(positive)):
        own = {
            cluster[place]
            for other in range(len(positive))
            if text[other] == text[anchor]
            for place in range(len(cluster))
            if positive[other, place]
        }
        rows.append([one not in own for one in cluster])
    return rows


def slow_loss(similarity: np.ndarray, positive: np.ndarray, negative: np.ndarray, temperature: float) -> float:
    """Eq. 7 by loops, in double precision."""
    total, anchors = 0.0, 0
    for row in range(len(similarity)):
        mine = [c for c in range(similarity.shape[1]) if positive[row, c]]
        others = [c for c in range(similarity.shape[1]) if negative[row, c]]
        if not mine:
            continue
        below = sum(math.exp(similarity[row, c] / temperature) for c in mine + others)
        total += sum(-math.log(math.exp(similarity[row, c] / temperature) / below) for c in mine) / len(mine)
        anchors += 1
    return total / anchors if anchors else 0.0


def random_batch(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = np.random.default_rng(seed)
    anchors, concepts = draw.integers(1, 7), draw.integers(1, 9)
    similarity = torch.tensor(draw.uniform(-1, 1, (anchors, concepts)), dtype=torch.float32)
    positive = torch.tensor(draw.random((anchors, concepts)) < 0.3)
    return similarity, positive, torch.tensor(draw.integers(0, 4, concepts)), torch.tensor(draw.integers(0, 4, anchors))


@pytest.mark.parametrize("seed", range(25))
def test_they_are_those_of_the_loops(seed: int) -> None:
    similarity, positive, cluster, text = random_batch(seed)
    negative = allowed_negatives(positive, cluster, text)
    assert negative.tolist() == slow_negatives(positive.numpy(), cluster.tolist(), text.tolist())
    assert not bool((negative & positive).any())
    expected = slow_loss(similarity.double().numpy(), positive.numpy(), negative.numpy(), 0.1)
    assert float(contrastive_loss(similarity, positive, negative, 0.1)) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_case_by_hand() -> None:
    """One anchor with two positives of similarity 1 and 0, one negative of 0: mean of ln(e + 2) - 1 and ln(e + 2)."""
    similarity = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    positive = torch.tensor([[True, True, False, False]])
    negative = allowed_negatives(positive, torch.tensor([0, 1, 2, 0]))
    assert negative.tolist() == [[False, False, True, False]]  # the last says what the first does
    assert float(contrastive_loss(similarity, positive, negative, 1.0)) == pytest.approx(math.log(math.e + 2) - 0.5)


@pytest.mark.parametrize(
    ("positive", "cluster"),
    [
        ([[True]], [0]),  # one question, nothing else
        ([[True, True]], [0, 0]),  # no negative
        ([[False, False], [True, False]], [0, 1]),  # an anchor without a concept
        ([[False]], [0]),  # no positive at all
        ([[True, False], [False, True]], [3, 3]),  # all of one cluster
    ],
)
def test_every_batch_is_finite_with_its_gradient(positive: list[list[bool]], cluster: list[int]) -> None:
    mask = torch.tensor(positive)
    anchor = torch.randn(len(mask), 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    concept = torch.randn(len(cluster), 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    negative = allowed_negatives(mask, torch.tensor(cluster))
    loss = contrastive_loss(cosine(anchor, concept), mask, negative)
    loss.backward()  # type: ignore[no-untyped-call]
    assert bool(loss.isfinite())
    assert anchor.grad is not None
    assert bool(anchor.grad.isfinite().all())


def test_no_anchor_and_no_concept() -> None:
    none = torch.zeros(0, 0, dtype=torch.bool)
    negative = allowed_negatives(none, torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    assert float(contrastive_loss(torch.zeros(0, 0), none, negative)) == 0.0


def test_a_text_that_stands_there_twice_is_no_negative_of_itself() -> None:
    positive = torch.tensor([[True, False, False], [False, True, False]])
    apart = allowed_negatives(positive, torch.tensor([0, 1, 2]), torch.tensor([0, 1]))
    alike = allowed_negatives(positive, torch.tensor([0, 1, 2]), torch.tensor([5, 5]))
    assert apart.tolist() == [[False, True, True], [True, False, True]]
    assert alike.tolist() == [[False, False, True], [False, False, True]]


def test_vectors_are_those_of_a_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    question, step = torch.randn(4, 6, generator=draw), torch.randn(5, 6, generator=draw)
    owner = torch.tensor([2, 0, 2, 3, 2])
    found = question_vectors(question, step, owner)
    for row in range(4):
        mine = [step[place] for place in range(5) if owner[place] == row]
        mean = torch.stack(mine).mean(0) if mine else torch.zeros(6)
        expected = (question[row] + mean) / 2
        assert torch.allclose(found[row], expected / expected.norm() * 6**0.5, atol=1e-6)
