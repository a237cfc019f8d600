"""Simulated answers: a model of learners goes on by itself after a prefix of a log, its own answers fed back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from lpr_lightning.draws import Draws, drawn_answers
from lpr_lightning.functional.open_loop import Steps
from lpr_lightning.types import PAD, Exercise, InteractionBatch, State, TensorData, keep_rows, select_rows

Feed = Literal["hard", "sampled"]
"""The own answers: right where that is likelier than wrong, or drawn."""
Step = Literal["practise", "observe"]
"""Whether own answers are a step of an episode, or are read as if the learner had given them."""


@dataclass(frozen=True)
class Simulated(TensorData):
    """What a model answers for learners after a prefix of their logs, beside what they really answered.

    `probability` and `answer` [B, L]: of success, and the model's own answer, to what the log asks at each step;
    `correct` [B, L]: the real one; `concept` [B, L, C], `item` [B, L]: what was asked; `mask` [B, L]: True where there
    is an answer; `learner` [B]; `seen` [B]: answers of the prefix.
    """

    probability: Tensor
    answer: Tensor
    correct: Tensor
    concept: Tensor
    item: Tensor
    mask: Tensor
    learner: Tensor
    seen: Tensor

    def __len__(self) -> int:
        return self.learner.shape[0]


def prefix_lengths(length: Tensor, ratio: float) -> Tensor:
    """Return how many of `length` [B] answers are a prefix of a share `ratio`, rounded up, less than all of them.

    >>> prefix_lengths(torch.tensor([10, 3, 1]), 0.5)
    tensor([5, 2, 0])
    """
    return (length * ratio - 1e-6).ceil().long().minimum(length - 1).clamp_min(0)


def following(batch: InteractionBatch, count: Tensor, most: int | None = None) -> InteractionBatch:
    """Return what follows the first `count` [B] answers of each history, at most `most` answers.

    >>> from lpr_lightning.types import Interactions
    >>> batch = Interactions.from_lists([[(0, 1), (1, 0), (2, 1)], [(1, 1)]]).batch(torch.arange(2))
    >>> following(batch, torch.tensor([1, 0])).concept.squeeze(-1)
    tensor([[ 1,  2],
            [ 1, -1]])
    """
    left = batch.lengths - count
    left = left if most is None else left.clamp_max(most)
    steps = torch.arange(int(left.max()) if len(left) else 0, device=count.device)
    mask = steps < left[:, None]
    place = torch.where(mask, count[:, None] + steps, 0)
    concept = batch.concept.gather(1, place[..., None].expand(-1, -1, batch.concept.shape[2]))
    return replace(
        batch,
        concept=concept.masked_fill(~mask[..., None], PAD),
        item=batch.item.gather(1, place).masked_fill(~mask, PAD),
        correct=batch.correct.gather(1, place) * mask,
        mask=mask,
    )


@torch.no_grad()
def simulate(
    model: Steps, state: State, ahead: InteractionBatch, seen: Tensor, draws: Draws | None, step: Step = "practise"
) -> Simulated:
    """Return what a model answers to the questions of logs, each own answer fed before the next question.

    The state is carried on, for all learners at once; no prefix is run again, and no real answer is seen.

    Args:
        model: observes, practises and predicts.
        state: of the learners after their prefixes.
        ahead: what their logs hold after these, B rows.
        seen: answers of the prefixes, [B].
        draws: own answers are drawn by them, [B]; None for the likelier ones.
        step: which of the model's calls is told of them.

    >>> class Streak:  # success 0.6 after an own right answer, 0.2 after a wrong one
    ...     def practise(self, state, asked, correct):
    ...         return (0.2 + 0.4 * correct,)
    ...
    ...     def predict(self, state, asked):
    ...         return state[0]
    >>> from lpr_lightning.types import Interactions
    >>> log = Interactions.from_lists([[(0, 0), (0, 1)], [(0, 1)]]).batch(torch.arange(2))
    >>> found = simulate(Streak(), (torch.tensor([0.7, 0.2]),), log, torch.zeros(2).long(), None)
    >>> found.probability, found.answer
    (tensor([[0.7000, 0.6000],
            [0.2000, 0.0000]]), tensor([[1., 1.],
            [0., 0.]]))
    """
    order = ahead.lengths.argsort(descending=True, stable=True)
    rows, state = ahead.select(order), select_rows(state, order)
    lengths = rows.lengths
    probability, answer = torch.zeros_like(rows.correct), torch.zeros_like(rows.correct)
    for place in range(rows.mask.shape[1]):
        going = int((lengths > place).sum())
        state = tuple(part[:going] for part in state)
        asked = exercises(rows.concept[:going, place], rows.item[:going, place])
        chance = model.predict(state, asked)
        probability[:going, place] = chance
        drawn = None if draws is None else draws.select(order[:going]).at(place)
        answer[:going, place] = drawn_answers(chance, drawn)
        move = model.practise if step == "practise" else model.observe
        state = move(state, asked, answer[:going, place])
    back = order.argsort()
    return Simulated(
        probability[back],
        answer[back],
        ahead.correct,
        ahead.concept,
        ahead.item,
        ahead.mask,
        ahead.learner,
        seen,
    )


def exercises(concept: Tensor, item: Tensor) -> Exercise:
    """Return exercises [...] of concepts [..., C] and items [...]; concept 0 where nothing was asked."""
    nothing = (concept < 0).all(-1) & (item < 0)
    return Exercise(concept.masked_fill(nothing[..., None], 0), item)


@torch.no_grad()
def read_histories(model: Steps, state: State, history: InteractionBatch) -> State:
    """Return the states after histories, of a model that reads one answer at a time; `state` is that before any."""
    for step in range(history.mask.shape[1]):
        there = history.mask[:, step]
        asked = exercises(history.concept[:, step], history.item[:, step])
        state = keep_rows(state, model.observe(state, asked, history.correct[:, step]), there)
    return state
