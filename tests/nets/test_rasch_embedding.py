"""Vectors of questions are their concepts' mean, moved by difficulty."""

from __future__ import annotations

import torch

from lpr_lightning.nets.rasch_embedding import RaschEmbedding
from lpr_lightning.types import Exercise


def embedding() -> RaschEmbedding:
    torch.manual_seed(0)
    made = RaschEmbedding(3, 4, 2)
    torch.nn.init.normal_(made.difficulty.weight)
    return made


def test_a_question_is_the_mean_of_its_concepts_moved_by_its_difficulty() -> None:
    one = embedding()
    concept, item = torch.tensor([[0, 2], [1, -1], [2, 0], [1, 0]]), torch.tensor([3, 1, -1, 4])
    vector = one.question(Exercise(concept, item))
    for row, (concepts, number) in enumerate(zip([[0, 2], [1], [2, 0], [1, 0]], [3, 1, -1, -1])):
        expected = one.concept.weight[concepts].mean(0)
        if number >= 0:
            expected = expected + one.difficulty.weight[number] * one.variation.weight[concepts].mean(0)
        torch.testing.assert_close(vector[row], expected)


def test_soft_answers_are_mixtures() -> None:
    one, question = embedding(), torch.zeros(3, 2)
    vector = one.interaction(question, torch.tensor([0.0, 1.0, 0.25]))
    torch.testing.assert_close(vector[2], 0.75 * vector[0] + 0.25 * vector[1])
