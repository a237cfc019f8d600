"""Prerequisites learned from answer logs: performance factors whose growth waits for edges that may or may not be."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.soft_prerequisites import Earlier, soft_gate
from lpr_lightning.nets.residual_evidence import CONCEPT, OVERALL
from lpr_lightning.protocols import Tracer
from lpr_lightning.types import PAD, Interactions

ROWS = 256
"""Learners whose levels are followed at a time."""
SMOOTHING = 2.0
"""Answers that a concept's share of right ones is drawn towards that of all by."""
START = -1.5
"""Logit of an edge's strength before training."""
RATES_PENALTY = 1e-3
"""Weight of the squared differences between the concepts' learning rates."""
LEARNING_RATE, STEPS, EVERY, PATIENCE = 0.05, 200, 5, 12
"""Of Adam: steps at most, steps from one look at the validation learners to the next, looks without improvement."""


class PractisedConcepts(NamedTuple):
    """Answer logs as the concepts that were practised, one entry for each concept of each answer, in order of time.

    `concept`, `answer` [E] int64, and `share` [E], one by the number of the answer's concepts; `evidence` [E, 2]: mean
    residuals of all earlier answers and of those on the concept; `level` [E, K]: of the concept's candidates before
    the answer; `earlier`: sums over the learner's earlier answers on the concept; `correct` [A].
    """

    concept: Tensor
    answer: Tensor
    share: Tensor
    evidence: Tensor
    level: Tensor
    earlier: Earlier
    correct: Tensor

    def mastered(self) -> PractisedConcepts:
        """Return the same without candidates, as if all were mastered: no edge holds anything back."""
        return self._replace(level=self.level[:, :0])


class SoftPrerequisitesNet(nn.Module):
    """Learns how likely each candidate is a prerequisite, from what practice without it was worth.

    logit_c = b_c + w_1 R / (t + 5) + w_2 R_c / (n_c + 2) + (g + d_c) log(1 + m_c), as `PerformanceFactorsNet` has it.
    The practice m_c counts each earlier answer on c as far as `soft_gate` let it, by a tracer's levels at that time.
    Trained on all answers by their likelihood, less a penalty on the sum of all strengths.

    Args:
        candidate: which concept j (column) may be a prerequisite of c (row), [N, N] bool.
        rate: share of right answers on each concept, [N].

    Raises:
        SettingError: `candidate` is no square matrix.

    >>> net = SoftPrerequisitesNet(torch.tensor([[False, False], [True, False]]), torch.full((2,), 0.5))
    >>> net.candidate.tolist(), net.strengths().shape
    ([[-1], [0]], torch.Size([2, 2]))
    """

    candidate: Tensor
    rate: Tensor

    def __init__(self, candidate: Tensor, rate: Tensor) -> None:
        super().__init__()
        if candidate.dim() != 2 or candidate.shape[0] != candidate.shape[1]:
            raise SettingError("candidate", tuple(candidate.shape), "a square matrix of concepts")
        count = len(candidate)
        width = max(int(candidate.sum(1).max()), 1)
        ranked = torch.where(candidate, torch.arange(count), count).sort(1).values[:, :width]
        self.register_buffer("candidate", ranked.masked_fill(ranked == count, PAD))
        self.register_buffer("rate", rate)
        self.ease = nn.Parameter(rate.logit())
        self.evidence = nn.Parameter(torch.zeros(2))
        self.growth = nn.Parameter(torch.tensor(0.3))
        self.concept_growth = nn.Parameter(torch.zeros(count))
        self.strength = nn.Parameter(torch.full((count, width), START))
        self.weight = nn.Parameter(torch.tensor([1.5, 0.0]))

    def edge_strengths(self) -> Tensor:
        """Return the strength of every candidate, [N, K] in [0, 1]; 0 where unused."""
        return torch.sigmoid(self.strength) * (self.candidate != PAD)

    @torch.no_grad()
    def strengths(self) -> Tensor:
        """Return how likely concept c (row) needs concept j (column), [N, N] in [0, 1]."""
        matrix = self.rate.new_zeros(len(self.rate), len(self.rate) + 1)
        return matrix.scatter(1, self.candidate + 1, self.edge_strengths())[:, 1:]

    def read(self, log: Interactions, tracer: Tracer, told: Callable[[str], None]) -> PractisedConcepts:
        """Return what is known before each answer of a log, by a tracer's levels; `told` hears how far it is."""
        learner, count = log.owner, len(self.rate)
        real = log.concept != PAD
        answer, slot = real.nonzero(as_tuple=True)
        concept = log.concept[answer, slot].long()
        known = real.sum(1)
        expected = torch.zeros(len(log)).index_add(0, answer, self.rate[concept]) / known.clamp_min(1)
        correct = log.correct.float()
        residual = (correct - expected) * (known > 0)
        everything, own = Earlier(learner), Earlier(learner[answer] * count + concept)
        overall = everything.sums(residual) / (everything.sums((known > 0).float()) + OVERALL)
        alone = own.sums(residual[answer]) / (own.sums(torch.ones(len(answer))) + CONCEPT)
        return PractisedConcepts(
            concept=concept,
            answer=answer,
            share=1 / known[answer],
            evidence=torch.stack([overall[answer], alone], 1),
            level=levels_before(log, tracer, self.candidate, told)[answer, slot],
            earlier=own,
            correct=correct,
        )

    def forward(self, read: PractisedConcepts) -> Tensor:
        """Return the logits of all answers, [A]."""
        rate = self.growth + F.embedding(read.concept, self.concept_growth[:, None]).squeeze(1)
        ease = F.embedding(read.concept, self.ease[:, None]).squeeze(1)
        strength = self.edge_strengths()[:, : read.level.shape[1]]
        gate = soft_gate(read.level, F.embedding(read.concept, strength), self.weight)
        logit = ease + read.evidence @ self.evidence + rate * torch.log1p(read.earlier.sums(gate).clamp_min(0))
        return torch.zeros_like(read.correct).index_add(0, read.answer, read.share * logit)

    def loss(self, read: PractisedConcepts) -> Tensor:
        """Return the mean negative log-likelihood of the answers."""
        return F.binary_cross_entropy_with_logits(self(read), read.correct)

    @torch.no_grad()
    def losses(self, read: PractisedConcepts) -> Tensor:
        """Return the negative log-likelihood of each answer, [A]."""
        return F.binary_cross_entropy_with_logits(self(read), read.correct, reduction="none")

    def fit_factors(self, train: PractisedConcepts) -> None:
        """Fit everything but the edges, as if there were none, by L-BFGS."""
        trained = [self.ease, self.evidence, self.growth, self.concept_growth]
        optimizer = torch.optim.LBFGS(trained, max_iter=100, line_search_fn="strong_wolfe")
        free = train.mastered()

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self.loss(free) + self._spread()
            torch.autograd.backward(loss)
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]

    def fit_edges(
        self, train: PractisedConcepts, val: PractisedConcepts, penalty: float, told: Callable[[str], None]
    ) -> None:
        """Fit everything by Adam, and keep what was best for validation learners.

        Args:
            train: answers of training learners.
            val: answers of validation learners.
            penalty: lambda, the weight of the sum of all strengths.
            told: hears how far the fit is.
        """
        optimizer = torch.optim.Adam(self.parameters(), LEARNING_RATE)
        best, waited, kept = torch.inf, 0, copy.deepcopy(self.state_dict())
        for number in range(1, STEPS + 1):
            optimizer.zero_grad()
            loss = self.loss(train) + self._spread() + penalty * self.edge_strengths().sum()
            torch.autograd.backward(loss)
            optimizer.step()
            if number % EVERY:
                continue
            reached = float(self.losses(val).mean())
            told(f"penalty {penalty:g}, step {number} of at most {STEPS}, validation loss {reached:.5f}")
            if reached < best:
                best, waited, kept = reached, 0, copy.deepcopy(self.state_dict())
            elif (waited := waited + 1) == PATIENCE:
                break
        self.load_state_dict(kept)

    def _spread(self) -> Tensor:
        return RATES_PENALTY * self.concept_growth.square().sum()


@torch.no_grad()
def levels_before(log: Interactions, tracer: Tracer, candidate: Tensor, told: Callable[[str], None]) -> Tensor:
    """Return a tracer's logits of the candidates of each answer's concepts, before the answer, [A, C, K]."""
    level = torch.zeros(len(log), log.concept.shape[1], candidate.shape[1])
    for begin in range(0, log.num_learners, ROWS):
        some = torch.arange(begin, min(begin + ROWS, log.num_learners))
        batch = log.batch(some)
        state = tracer.initial_state(len(some))
        for step in range(batch.mask.shape[1]):
            there = batch.mask[:, step].nonzero().squeeze(1)
            asked = batch.asked(step)
            mastery = tracer.mastery(state)[there]
            needed = candidate[asked.concept[there].clamp_min(0)]
            seen = mastery.gather(1, needed.clamp_min(0).flatten(1)).view(needed.shape)
            level[log.offsets[some[there]] + step] = seen.logit(1e-4)
            state = tracer.observe(state, asked, batch.correct[:, step])
        told(f"levels of {int(some[-1]) + 1} of {log.num_learners} learners")
    return level
