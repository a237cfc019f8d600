"""Performance factors: success by residuals, as evidence, and by counts of practice, as growth."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.nets.growth_net import GrowthNet, PrerequisiteGate, known_concepts, mean_of_known
from lpr_lightning.nets.residual_evidence import added_by, before_each, mean_residuals
from lpr_lightning.types import Exercise, InteractionBatch, State, repeat_rows


class PerformanceFactorsNet(GrowthNet):
    """Logistic regression on a learner's earlier answers, in the manner of Pavlik et al. (2009).

    logit_c = b_c + w_1 R / (t + 5) + w_2 R_c / (n_c + 2) + (g + d_c) log(1 + m_c). R and R_c are sums of y - (base rate
    of the concept) over all t answers and the n_c ones on c, the evidence; m_c is the practice, each answer on c
    counting as far as the prerequisites of c hold by these logits. An answer on several concepts counts for each; its
    residual is that from their mean base rate, its prediction the mean of their logits. Items are ignored.

    State: sums R_c and counts n_c [B, 2, N]; R and t [B, 2]; practice m_c [B, N].

    Args:
        num_concepts: N.

    >>> net = PerformanceFactorsNet(3)
    >>> state, asked = net.initial_state(1), Exercise.of_concepts(torch.tensor([1]))
    >>> net.practise(state, asked, torch.ones(1))[2], net.observe(state, asked, torch.ones(1))[1]
    (tensor([[0., 1., 0.]]), tensor([[0.5000, 1.0000]]))
    """

    rate: Tensor

    def __init__(self, num_concepts: int) -> None:
        super().__init__()
        self.num_concepts = num_concepts
        self.register_buffer("rate", torch.full((num_concepts,), 0.5))
        self.ease = nn.Parameter(torch.zeros(num_concepts))
        self.evidence = nn.Parameter(torch.zeros(2))
        self.growth = nn.Parameter(torch.tensor(0.3))
        self.concept_growth = nn.Parameter(torch.zeros(num_concepts))
        self.gate = PrerequisiteGate(num_concepts)

    @torch.no_grad()
    def start_from(self, rate: Tensor) -> None:
        """Take the base rates; an untrained model predicts them."""
        self.rate.copy_(rate)
        self.ease.copy_(rate.logit())

    def penalty(self) -> Tensor:
        """Return the sum of squared d_c."""
        return self.concept_growth.square().sum()

    def initial_state(self, batch_size: int) -> State:
        """Return zeros."""
        zeros = self.ease.new_zeros
        return zeros(batch_size, 2, self.num_concepts), zeros(batch_size, 2), zeros(batch_size, self.num_concepts)

    def encode(self, history: InteractionBatch) -> State:
        """Return the state after whole histories."""
        state, concept = self.initial_state(len(history)), known_concepts(history)
        for step in range(concept.shape[1]):
            state = self.observe(state, Exercise(concept[:, step], history.item[:, step]), history.correct[:, step])
        return state

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each; rows without a known concept stay as they are."""
        concept = asked.candidates().concept
        answers, overall, practice = self.practise(state, asked, correct)
        concept = concept.flatten(0, 1)
        added, every = added_by(concept, correct.reshape(-1), self.rate)
        answers = answers.scatter_add(2, concept.clamp_min(0)[:, None].expand(-1, 2, -1), added)
        return answers, overall + every, practice

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after a step of an episode: practice counts, evidence stays."""
        concept = asked.candidates().concept
        state, concept = repeat_rows(state, concept.shape[1]), concept.flatten(0, 1)
        answers, overall, practice = state
        needed = self.gate.of(concept)
        gate = self.gate(self._level(state, needed.flatten(1)).view(needed.shape), needed)
        return answers, overall, practice.scatter_add(1, concept.clamp_min(0), gate * (concept >= 0))

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers, [B] or [B, A]."""
        concept = asked.candidates().concept
        level = self._level(state, concept.flatten(1)).view(concept.shape)
        return mean_of_known(level, concept).view(asked.shape).sigmoid()

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the success probability of every concept [B, N], or of the concepts [B, M] only, [B * G, M]."""
        if concept is not None:
            return self._level(state, concept.repeat_interleave(len(state[0]) // max(len(concept), 1), 0)).sigmoid()
        answers, overall, practice = state
        rate = self.growth + self.concept_growth
        return (self.ease + self._evidence(answers, overall) + rate * torch.log1p(practice)).sigmoid()

    def next_logits(self, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Return the logits [R] of all real next answers, and their places in the flattened answers 1 … T - 1."""
        place = batch.mask[:, 1:].flatten().nonzero().squeeze(1)
        if not len(place):
            return self.ease.new_zeros(0), place
        concept = known_concepts(batch)
        needed = self.gate.of(concept)
        ease, evidence, count = self._before(batch, concept, torch.cat([concept, needed.flatten(2)], 2))
        asked = concept.shape[2]
        practice = count[..., :asked]
        base = ease + evidence
        rate = self.growth + F.embedding(needed.clamp_min(0).flatten(2), self.concept_growth[:, None]).squeeze(-1)
        if self.gate.active:
            practice = self._gated(concept, needed, base[..., asked:], rate)
        rate = self.growth + F.embedding(concept.clamp_min(0), self.concept_growth[:, None]).squeeze(-1)
        logit = mean_of_known(base[..., :asked] + rate * torch.log1p(practice), concept)
        return logit[:, 1:].flatten()[place], place

    def _before(self, batch: InteractionBatch, concept: Tensor, read: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ease, evidence and counts of the concepts `read` [B, T, D] before each answer, the same shape."""
        added, overall = added_by(concept, batch.correct, self.rate)
        overall = overall.cumsum(1) - overall
        before, index = before_each(concept, added, read, self.num_concepts), read.clamp_min(0)
        ease = F.embedding(index, self.ease[:, None]).squeeze(-1)
        return ease, self._evidence(before, overall), before[:, :, 1]

    def _gated(self, concept: Tensor, needed: Tensor, base: Tensor, rate: Tensor) -> Tensor:
        """Return the practice [B, T, C] before each answer; the prerequisites' logits without it are given."""
        practice, index, place = base.new_zeros(len(base), self.num_concepts), concept.clamp_min(0), needed.clamp_min(0)
        known, seen = (concept >= 0).to(base), []
        for step in range(base.shape[1]):
            seen.append(practice.gather(1, index[:, step]))
            level = base[:, step] + rate[:, step] * torch.log1p(practice.gather(1, place[:, step].flatten(1)))
            gate = self.gate(level.view(needed[:, step].shape), needed[:, step])
            practice = practice.scatter_add(1, index[:, step], gate * known[:, step])
        return torch.stack(seen, 1)

    def _level(self, state: State, concept: Tensor) -> Tensor:
        """Return the logits of concepts [B, M]."""
        answers, overall, practice = state
        index = concept.clamp_min(0)
        table = torch.stack([self.ease, self.growth + self.concept_growth], 1)
        ease, rate = F.embedding(index, table).unbind(-1)
        evidence = self._evidence(answers.gather(2, index[:, None].expand(-1, 2, -1)), overall)
        return ease + evidence + rate * torch.log1p(practice.gather(1, index))

    def _evidence(self, answers: Tensor, overall: Tensor) -> Tensor:
        """Return what answers say [..., M], from sums and counts [..., 2, M] and [..., 2]."""
        own, every = mean_residuals(answers, overall)
        return self.evidence[0] * every + self.evidence[1] * own
