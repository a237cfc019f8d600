"""The simplest rivals of a knowledge tracer: rates of right answers, with the calls of a tracer."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.nets.growth_net import mean_of_known
from lpr_lightning.types import Exercise, InteractionBatch, Interactions, State, repeat_rows

SMOOTHING = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Answers that a rate may be drawn by towards what is known without it; training answers choose, each left out once."""
ITERATIONS = 12
"""Of Newton's method; three weights converge in half of them."""


class SimpleRival(nn.Module, ABC):
    """Base of predictions that anybody could make by hand, fitted on the logs of training learners.

    Differs from a tracer in that practice changes nothing: `practise` returns the state as it is, so that all paths
    are worth the same. State: sum and number of a learner's answers [B, 2]; the last answer on each concept [B, N], 0.5
    where there is none.

    Args:
        num_concepts: N.
        num_items: number of questions.
        log: answers of training learners.
    """

    def __init__(self, num_concepts: int, num_items: int, log: Interactions) -> None:
        super().__init__()
        self.num_concepts, self.num_items = num_concepts, num_items
        concept, item, correct = log.concept.long(), log.item.long(), log.correct.float()
        self.overall = float(correct.mean()) if len(correct) else 0.5
        self.concept_rate = _rates(concept, correct, num_concepts, self.overall)
        base = mean_of_known(self.concept_rate[concept.clamp_min(0)], concept)
        self.right = torch.bincount(item, correct, num_items)
        self.count = torch.bincount(item, minlength=num_items).float()
        left_out = self.right[item] - correct, self.count[item] - 1
        self.smoothing = _best_smoothing(left_out[0], left_out[1], base, correct)
        self.fit(log, blended(left_out[0], left_out[1], base, self.smoothing), correct)

    @abstractmethod
    def fit(self, log: Interactions, question: Tensor, correct: Tensor) -> None:
        """Fit what is left; `question` [R] is each answer's question mean without that answer."""

    @abstractmethod
    def chance(self, state: State, asked: Exercise) -> Tensor:
        """Return the probability of success of candidates, [B, A]."""

    def initial_state(self, batch_size: int) -> State:
        """Return the state of learners without history."""
        return torch.zeros(batch_size, 2), torch.full((batch_size, self.num_concepts), 0.5)

    def encode(self, history: InteractionBatch) -> State:
        """Return the state after whole histories."""
        state = self.initial_state(len(history))
        for step in range(history.mask.shape[1]):
            asked = Exercise(
                history.concept[:, step].masked_fill(~history.mask[:, step, None], -1), history.item[:, step]
            )
            state = self.observe(state, asked, history.correct[:, step])
        return state

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each; rows without a concept stay as they are."""
        concept = asked.candidates().concept
        answers, last = repeat_rows(state, concept.shape[1])
        concept, correct = concept.flatten(0, 1), correct.reshape(-1)
        known = (concept >= 0).any(1)
        answers = answers + torch.stack([correct * known, known.to(correct)], 1)
        wider = F.pad(last, (1, 0)).scatter(1, concept + 1, correct[:, None].expand(concept.shape))
        return answers, wider[:, 1:]

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state as it is."""
        return repeat_rows(state, asked.candidates().concept.shape[1])

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers, [B] or [B, A]."""
        return self.chance(state, asked.candidates()).view(asked.shape)

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the success probability of every concept [B, N], or of the concepts [B, M] only, [B * G, M]."""
        rows = len(state[0])
        if concept is None:
            concept = torch.arange(self.num_concepts).expand(rows, -1)
        elif len(concept):
            concept = concept.repeat_interleave(rows // len(concept), 0)
        return self.chance(state, Exercise.of_concepts(concept))

    def learner_mean(self, state: State) -> Tensor:
        """Return the share of right answers of each learner so far, drawn towards that of all, [B, 1]."""
        return blended(state[0][:, 0], state[0][:, 1], torch.tensor(self.overall), SMOOTHING[1])[:, None]

    def concept_mean(self, asked: Exercise) -> Tensor:
        """Return the mean rate of right answers on what is asked, [B, A]."""
        return mean_of_known(self.concept_rate[asked.concept.clamp_min(0)], asked.concept)

    def question_mean(self, asked: Exercise) -> Tensor:
        """Return the rate of right answers to each question, drawn towards that of its concepts, [B, A]."""
        known = (asked.item >= 0) & (asked.item < self.num_items)
        place = torch.where(known, asked.item, 0)
        base = self.concept_mean(asked)
        return torch.where(known, blended(self.right[place], self.count[place], base, self.smoothing), base)


class LearnerMean(SimpleRival):
    """Predicts every answer by the learner's share of right answers so far.

    >>> log = Interactions.from_lists([[(0, 1), (1, 0), (1, 0), (0, 1)]])
    >>> rival = LearnerMean(2, 2, log)
    >>> state = rival.observe(rival.initial_state(1), Exercise.of_concepts(torch.tensor([1])), torch.tensor([1.0]))
    >>> rival.mastery(state)  # (1 + 2 * 0.5) / (1 + 2)
    tensor([[0.6667, 0.6667]])
    """

    def fit(self, log: Interactions, question: Tensor, correct: Tensor) -> None:
        """Fit nothing more."""

    def chance(self, state: State, asked: Exercise) -> Tensor:
        """Return the learner's mean."""
        return self.learner_mean(state).expand(asked.shape)


class ConceptMean(LearnerMean):
    """Predicts every answer by the rate of right answers on its concepts, whoever the learner."""

    def chance(self, state: State, asked: Exercise) -> Tensor:
        """Return the concepts' mean."""
        return self.concept_mean(asked)


class QuestionMean(LearnerMean):
    """Predicts every answer by the rate of right answers to its question, whoever the learner (item means)."""

    def chance(self, state: State, asked: Exercise) -> Tensor:
        """Return the question's mean."""
        return self.question_mean(asked)


class LastAnswer(SimpleRival):
    """Predicts every answer by the last one on its concept: the rate after a right one, a wrong one, and none.

    Differs from copying the last answer in that the three rates are those of training learners; the order is the same.
    """

    def fit(self, log: Interactions, question: Tensor, correct: Tensor) -> None:
        """Fit the three rates: after a wrong answer, none, and a right one."""
        batch = log.batch(torch.arange(log.num_learners))
        state, right, count = self.initial_state(len(batch)), torch.zeros(3), torch.zeros(3)
        for step in range(batch.mask.shape[1]):
            real = batch.mask[:, step]
            asked = Exercise(batch.concept[:, step].masked_fill(~real[:, None], -1), batch.item[:, step])
            group = self._group(state, asked.candidates())[:, 0][real]
            right += torch.bincount(group, batch.correct[real, step], 3)
            count += torch.bincount(group, minlength=3)
            state = self.observe(state, asked, batch.correct[:, step])
        self.rate = blended(right, count, torch.tensor(self.overall), SMOOTHING[0])

    def chance(self, state: State, asked: Exercise) -> Tensor:
        """Return the rate after the last answer."""
        return self.rate[self._group(state, asked)]

    def _group(self, state: State, asked: Exercise) -> Tensor:
        """Return 0 after a wrong answer, 1 after none, 2 after a right one, [B, A]."""
        place = asked.concept.clamp_min(0)
        last = state[1].gather(1, place.flatten(1)).view(place.shape)
        mean = mean_of_known(last, asked.concept)
        return 1 + (mean > 0.5).long() - ((mean < 0.5) & (asked.concept >= 0).any(-1)).long()


class LogisticSum(SimpleRival):
    """Predicts every answer by logistic regression on the learner's and the question's mean.

    logit = w_0 + w_1 logit(learner's mean) + w_2 logit(question's mean); training answers are left out of their own
    question's mean.
    """

    def fit(self, log: Interactions, question: Tensor, correct: Tensor) -> None:
        """Fit the three weights by Newton's method."""
        start = log.offsets[:-1].repeat_interleave(log.lengths)
        place = torch.arange(len(correct)) - start
        total = F.pad(correct.double().cumsum(0), (1, 0))
        before = (total[:-1] - total[start]).float()
        learner = blended(before, place.float(), torch.tensor(self.overall), SMOOTHING[1])
        features = torch.stack([torch.ones_like(correct), _logit(learner), _logit(question)], 1)
        features, weight = features.double(), torch.zeros(3, dtype=torch.float64)
        for _ in range(ITERATIONS):
            chance = (features @ weight).sigmoid()
            curvature = (features * (chance * (1 - chance))[:, None]).T @ features + 1e-6 * torch.eye(3)
            weight = weight + torch.linalg.solve(curvature, features.T @ (correct - chance))
        self.weight = weight.float()

    def chance(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of the regression."""
        own, question = _logit(self.learner_mean(state)), _logit(self.question_mean(asked))
        return (self.weight[0] + self.weight[1] * own + self.weight[2] * question).sigmoid()


def blended(right: Tensor, count: Tensor, towards: Tensor, smoothing: float) -> Tensor:
    """Return rates of right answers, drawn `towards` another rate as by so many answers of it.

    >>> blended(torch.tensor([3.0]), torch.tensor([4.0]), torch.tensor(0.5), 2.0)
    tensor([0.6667])
    """
    return (right + smoothing * towards) / (count + smoothing)


def simple_rivals(num_concepts: int, num_items: int, log: Interactions) -> dict[str, SimpleRival]:
    """Return every rival by its name, fitted on the logs of training learners."""
    kinds: dict[str, type[SimpleRival]] = {
        "learner_mean": LearnerMean,
        "concept_mean": ConceptMean,
        "question_mean": QuestionMean,
        "logistic_sum": LogisticSum,
        "last_answer": LastAnswer,
    }
    return {name: kind(num_concepts, num_items, log).eval() for name, kind in kinds.items()}


def _rates(concept: Tensor, correct: Tensor, num_concepts: int, overall: float) -> Tensor:
    """Return the rate of right answers on each concept, [N]."""
    known = concept >= 0
    right = torch.bincount(concept[known], correct[:, None].expand(concept.shape)[known], num_concepts)
    count = torch.bincount(concept[known], minlength=num_concepts).float()
    return blended(right, count, torch.tensor(overall), SMOOTHING[1])


def _best_smoothing(right: Tensor, count: Tensor, base: Tensor, correct: Tensor) -> float:
    """Return the smoothing under which left-out answers are likeliest."""
    losses = [
        float(F.binary_cross_entropy(blended(right, count, base, one).clamp(1e-4, 1 - 1e-4), correct))
        for one in SMOOTHING
    ]
    return SMOOTHING[min(range(len(losses)), key=losses.__getitem__)]


def _logit(rate: Tensor) -> Tensor:
    return rate.clamp(0.01, 0.99).logit()
