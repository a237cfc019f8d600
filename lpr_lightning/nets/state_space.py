"""A Gaussian state space of a learner's levels, in which practice grows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.functional.learning_gain import learning_gain
from lpr_lightning.functional.level_filter import Belief, bounded_success, narrowing, sharpened
from lpr_lightning.nets.fused_lstm import PackedRows
from lpr_lightning.nets.growth_net import GrowthNet, PrerequisiteGate, mean_of_known
from lpr_lightning.types import Exercise, InteractionBatch, State, repeat_rows, select_rows

LEAST = 0.5
"""Chances of success without any level and of failure with all of it stay below this."""
START: dict[str, float | list[float]] = {
    "bounds": [-3.0, -3.0],
    "growth": -1.0,
    "shape": [0.0, 0.0, -2.0],
    "repeated": 0.0,
    "outcome": 0.0,
    "forgetting": -5.0,
    "doubt": -4.0,
}
"""Where the few numbers that all concepts share start, before softplus or sigmoid, and what they are drawn to: logs
alone hardly tell growth from doubt about the level, and a free fit explains one by the other."""


class _Asked(NamedTuple):
    """One concept each with its prerequisites behind it, -1 where unused: `concept` [B, 1 + K].

    Of each of these the loadings [B, 1 + K, R] and the prior mean [B, 1 + K]; of the concept the learning rate, after
    the answer, what growth of others is left by it, and how much of an answer falls to it, [B] each, 0, 1 and 0 where
    there is no concept.
    """

    concept: Tensor
    loading: Tensor
    prior: Tensor
    rate: Tensor
    left: Tensor
    share: Tensor


class _Constants(NamedTuple):
    """Weights as the equations have them: bounds [2], shape [3], fading of repeated practice, doubt."""

    bounds: Tensor
    shape: Tensor
    fading: Tensor
    doubt: Tensor


class StateSpaceNet(GrowthNet):
    """Levels of all concepts, normal with prior mean mu and covariance U U' + diag d, filtered answer by answer.

    Success follows the level plus growth G_c (`functional.level_filter.success`). An answer sharpens the belief about
    the levels (`sharpened`) and leaves a little doubt, q, on what was practised; then G_c grows by `learning_gain`,
    as far as the prerequisites of c hold, while the other concepts' growth fades. In an episode G and the counts move,
    the belief stays. An answer on several concepts counts as a share of an answer on each and as practice of each; it
    is predicted by the mean of their scaled levels. Items are ignored.

    The posterior is held exactly in R^2 + R + 3 N numbers, so that a step costs O(R^2 + N) for any number of concepts.

    State: factor means [B, R] and covariances [B, R, R]; own means, shares explained and variances [B, 3, N] (see
    `Belief`); growth and counts [B, 2, N].

    Args:
        num_concepts: N.
        factors: R.

    >>> net = StateSpaceNet(3, factors=2)
    >>> state, asked = net.initial_state(1), Exercise.of_concepts(torch.tensor([1]))
    >>> [part.shape[1:] for part in net.observe(state, asked, torch.ones(1))]
    [torch.Size([2]), torch.Size([2, 2]), torch.Size([3, 3]), torch.Size([2, 3])]
    """

    def __init__(self, num_concepts: int, factors: int = 6) -> None:
        super().__init__()
        self.num_concepts, self.factors = num_concepts, factors
        self.prior = nn.Parameter(torch.zeros(num_concepts))
        self.loading = nn.Parameter(0.3 * torch.randn(num_concepts, factors))
        with torch.no_grad():
            self.loading[:, 0] = 0.8
        self.variance = nn.Parameter(torch.full((num_concepts,), -0.5))
        self.concept_growth = nn.Parameter(torch.zeros(num_concepts))
        self.dynamics = nn.ParameterDict({name: torch.tensor(value) for name, value in START.items()})
        self.gate = PrerequisiteGate(num_concepts)

    def asked_weights(self) -> list[nn.Parameter]:
        """Return all weights but those of the belief, which stays in episodes."""
        dynamics = [self.dynamics[name] for name in ("bounds", "growth", "shape", "repeated", "outcome", "forgetting")]
        return [self.prior, self.loading, self.concept_growth, *dynamics, self.gate.weight]

    @torch.no_grad()
    def start_from(self, rate: Tensor) -> None:
        """Start the prior means from the base rates."""
        self.prior.copy_(rate.logit())

    def penalty(self) -> Tensor:
        """Return squared differences: between the concepts' weights, and of the shared numbers from their start."""
        concepts = [weight - weight.mean(0) for weight in (self.loading, self.variance)]
        shared = [self.dynamics[name] - self.prior.new_tensor(start) for name, start in START.items()]
        return torch.stack([part.square().sum() for part in (self.concept_growth, *concepts, *shared)]).sum()

    def initial_state(self, batch_size: int) -> State:
        """Return the prior."""
        zeros = self.prior.new_zeros
        own = F.pad(F.softplus(self.variance)[None], (0, 0, 2, 0)).expand(batch_size, -1, -1)
        factors = torch.eye(self.factors).to(self.prior).expand(batch_size, -1, -1)
        return zeros(batch_size, self.factors), factors, own, zeros(batch_size, 2, self.num_concepts)

    def encode(self, history: InteractionBatch) -> State:
        """Return the state after whole histories; only real steps are computed."""
        return self._run(history)[1]

    def next_logits(self, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Return the logits [R] of all real next answers, and their places in the flattened answers 1 … T - 1."""
        scaled = self._run(batch)[0][1:]
        chance, failure = self._chances(torch.cat(scaled) if scaled else self.prior.new_zeros(0))
        return chance.log() - failure.log(), PackedRows.of(batch.mask[:, 1:]).place

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each; rows without a known concept stay as they are."""
        concept, correct = asked.candidates().concept, correct.reshape(-1)
        state = repeat_rows(state, concept.shape[1])
        every = self._asked(concept.flatten(0, 1), correct)
        return self._answered(state, every, correct, self._constants())[1]

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after a step of an episode: growth and counts, the belief stays."""
        concept, constants = asked.candidates().concept, self._constants()
        state = repeat_rows(state, concept.shape[1])
        for one in self._asked(concept.flatten(0, 1), correct.reshape(-1)):
            level = self._level(state, one.concept, one.loading, one.prior)
            state = *state[:3], self._grown(state[3], one, level, level[:, 0], constants)
        return state

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers, [B] or [B, A]."""
        concept = asked.candidates().concept
        scaled = self._scaled(state, concept.flatten(1)).view(concept.shape)
        return self._chances(mean_of_known(scaled, concept))[0].view(asked.shape)

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the success probability of every concept [B, N], or of the concepts [B, M] only, [B * G, M]."""
        if concept is not None:
            concept = concept.repeat_interleave(len(state[0]) // max(len(concept), 1), 0)
            return self._chances(self._scaled(state, concept))[0]
        mean, covariance, own, practice = state
        rest, squares = 1 - own[:, 1], (self.loading[:, :, None] * self.loading[:, None]).flatten(1)
        variance = rest.square() * F.linear(covariance.flatten(1), squares) + own[:, 2]
        level = self.prior + own[:, 0] + rest * F.linear(mean, self.loading) + practice[:, 0]
        return self._chances(level * narrowing(variance))[0]

    def _run(self, batch: InteractionBatch) -> tuple[list[Tensor], State]:
        """Return the scaled levels of what was asked, longest row first, step by step, and the states at the end."""
        rows, state, constants = PackedRows.of(batch.mask), self.initial_state(len(batch)), self._constants()
        sizes, answers = rows.batch_sizes, rows.pack(batch.correct)
        asked = self._asked(rows.pack(batch.concept), answers)
        slots = [zip(*(part.split_with_sizes(sizes) for part in one), strict=True) for one in asked]
        scaled, ended = [], []
        for size, correct, *now in zip(sizes, answers.split_with_sizes(sizes), *slots, strict=True):
            if size < len(state[0]):
                ended.append(tuple(part[size:] for part in state))
                state = tuple(part[:size] for part in state)
            before, state = self._answered(state, [_Asked(*one) for one in now], correct, constants)
            scaled.append(before)
        ended.append(state)
        whole = tuple(torch.cat(parts) for parts in zip(*reversed(ended), strict=True))
        return scaled, select_rows(whole, rows.back)

    def _asked(self, concept: Tensor, correct: Tensor) -> list[_Asked]:
        """Return what is needed of the concepts [B, C] of exercises, one after another, given the answers [B]."""
        known = (concept >= 0).to(self.prior)
        share = known / known.sum(1, keepdim=True).clamp_min(1)
        table = torch.cat([self.loading, self.prior[:, None]], 1)
        rates = F.softplus(self.dynamics["growth"] + self.concept_growth)[:, None]
        outcome = 1 + torch.tanh(self.dynamics["outcome"]) * (2 * correct - 1)
        left = torch.exp(share * F.logsigmoid(-self.dynamics["forgetting"]))
        asked = []
        for slot, one in enumerate(concept.unbind(1)):
            every = torch.cat([one[:, None], self.gate.of(one)], 1)
            values = F.embedding(every.clamp_min(0), table)
            rate = F.embedding(one.clamp_min(0), rates)[:, 0] * outcome * known[:, slot]
            asked.append(_Asked(every, values[..., :-1], values[..., -1], rate, left[:, slot], share[:, slot]))
        return asked

    def _answered(
        self, state: State, asked: Sequence[_Asked], correct: Tensor, constants: _Constants
    ) -> tuple[Tensor, State]:
        """Return the mean scaled level of what was asked, and the state after the answers [B]."""
        before = None
        if len(asked) > 1:
            before = torch.stack([self._scaled(state, one.concept[:, :1])[:, 0] * one.share for one in asked]).sum(0)
        for one in asked:
            mean, covariance, own, practice = state
            index = one.concept[:, :1, None].clamp_min(0)
            belief = Belief(mean, covariance, *own.gather(2, index.expand(-1, 3, -1)).squeeze(2).unbind(1))
            level = self._level(state, one.concept, one.loading, one.prior)
            base = one.prior[:, 0] + practice[:, 0].gather(1, index[:, 0])[:, 0]
            scaled, after, belief = sharpened(belief, one.loading[:, 0], base, correct, one.share, constants.bounds)
            before = scaled * one.share if before is None else before
            sharper = [belief.own, belief.shared, belief.variance + constants.doubt * (one.share > 0)]
            own = own.scatter(2, index.expand(-1, 3, -1), torch.stack(sharper, 1)[..., None])
            practice = self._grown(practice, one, level, after, constants)
            state = belief.mean, belief.covariance, own, practice
        return self.prior.new_zeros(len(correct)) if before is None else before, state

    def _grown(self, practice: Tensor, one: _Asked, level: Tensor, own: Tensor, constants: _Constants) -> Tensor:
        """Return growth and counts after a step, from the levels [B, 1 + K] before it and the concept's `own` [B]."""
        index = one.concept[:, :1, None].clamp_min(0).expand(-1, 2, -1)
        growth, count = practice.gather(2, index).squeeze(2).unbind(1)
        gain = learning_gain(one.rate, own, count, constants.shape, constants.fading)
        if self.gate.active:
            gain = gain * self.gate(level[:, 1:], one.concept[:, 1:])
        faded = practice * torch.stack([one.left, torch.ones_like(one.left)], 1)[..., None]
        return faded.scatter(2, index, torch.stack([growth + gain, count + (one.share > 0)], 1)[..., None])

    def _level(self, state: State, concept: Tensor, loading: Tensor, prior: Tensor) -> Tensor:
        """Return the means of levels with growth, [B, M]."""
        mean, _, own, practice = state
        index = concept.clamp_min(0)[:, None]
        alone, shared = own[:, :2].gather(2, index.expand(-1, 2, -1)).unbind(1)
        growth = practice[:, 0].gather(1, index[:, 0])
        return prior + alone + (1 - shared) * (loading * mean[:, None]).sum(2) + growth

    def _scaled(self, state: State, concept: Tensor) -> Tensor:
        """Return the levels of concepts [B, M], narrowed by what is not known of them."""
        _, covariance, own, _ = state
        index = concept.clamp_min(0)
        loading, prior = F.embedding(index, self.loading), F.embedding(index, self.prior[:, None]).squeeze(-1)
        shared, alone = own[:, 1:].gather(2, index[:, None].expand(-1, 2, -1)).unbind(1)
        variance = (1 - shared).square() * (loading @ covariance * loading).sum(2) + alone
        return self._level(state, concept, loading, prior) * narrowing(variance)

    def _chances(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        return bounded_success(scaled, LEAST * torch.sigmoid(self.dynamics["bounds"]))

    def _constants(self) -> _Constants:
        shape = torch.cat([self.dynamics["shape"][:2], F.softplus(self.dynamics["shape"][2:])])
        fading, doubt = F.softplus(self.dynamics["repeated"]), F.softplus(self.dynamics["doubt"])
        return _Constants(LEAST * torch.sigmoid(self.dynamics["bounds"]), shape, fading, doubt)
