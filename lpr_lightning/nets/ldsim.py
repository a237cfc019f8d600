"""The network of LDSim: a question reader with a relation graph, levels, growth by practice, and a response head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.nets.answer_windows import AnswerWindows
from lpr_lightning.nets.fused_lstm import PackedRows
from lpr_lightning.nets.growth_net import known_concepts, mean_of_known
from lpr_lightning.nets.neural_growth import GrowthOnLevels
from lpr_lightning.nets.question_reader import QuestionReader
from lpr_lightning.nets.residual_evidence import after_first, before_each
from lpr_lightning.types import Exercise, InteractionBatch, State


@dataclass(frozen=True)
class Moments:
    """What the net knows after some of each row's answers, W moments: what it takes of hidden states [W, K], evidence
    and counts of all concepts [W, N]."""

    of_state: Tensor
    theta: Tensor
    count: Tensor


@dataclass(frozen=True)
class Readings:
    """All next answers of a batch as the net predicts them, [R]: logits, those by levels and difficulty alone, places
    in the flattened answers 1 … T - 1; and the hidden states that they come from."""

    logit: Tensor
    level: Tensor
    place: Tensor
    hidden: Tensor
    rows: PackedRows


class LDSimNet(GrowthOnLevels):
    """Levels by an LSTM over questions and answers, growth by practice, and a response head (`QuestionReader`).

    The level of a concept, its evidence and its growth are those of `NeuralGrowthNet`, with the LSTM's logits those of
    `QuestionReader`; mastery is sigmoid of the level. The logit of an answer is the mean level of the question's
    concepts, its difficulty, and what the response head adds: a small net of the LSTM's state, the question, the mean
    mastery of its concepts, and that of the concepts that these build on, weighted by attention.

    `practise` moves growth alone; with `own_answers` it reads the answer as `observe` does. State: that of
    `NeuralGrowthNet`.

    Args:
        num_concepts: N.
        read: reads the answers.
        own_answers: whether an episode's answers, which the simulator itself gave, are read as if a learner had.

    >>> net = LDSimNet(3, QuestionReader(3, 4, embedding_size=4, hidden_size=5, head_size=6))
    >>> state, asked = net.initial_state(1), Exercise(torch.tensor([[1]]), torch.tensor([2]))
    >>> net.predict(net.observe(state, asked, torch.ones(1)), asked).shape
    torch.Size([1])
    """

    read: QuestionReader

    def __init__(self, num_concepts: int, read: QuestionReader, own_answers: bool = False) -> None:
        super().__init__(num_concepts, read)
        self.own_answers = own_answers

    @torch.no_grad()
    def start_from(self, rate: Tensor) -> None:
        """Take the base rates; a learner without history is predicted by them."""
        self.evidence.rate.copy_(rate)
        self.read.bias.copy_(rate.logit())

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after a step of an episode."""
        return self.observe(state, asked, correct) if self.own_answers else super().practise(state, asked, correct)

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers, [B] or [B, A]."""
        each = asked.candidates()
        read = self._with_beside(each.concept)
        level = self._level(state, read.flatten(1)).view(read.shape)
        of_state = self.read.of_state(state[0][:, -1])[:, None]
        return self._logit(of_state, each, level)[0].sigmoid().view(asked.shape)

    def next_logits(self, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Return the logits [R] of all real next answers, and their places in the flattened answers 1 … T - 1."""
        found = self.readings(batch)
        return found.logit, found.place

    def readings(self, batch: InteractionBatch) -> Readings:
        """Return all real next answers as they are predicted from those before them."""
        hidden, rows = self.read.hidden_before(batch)
        hidden = F.dropout(hidden, self.read.dropout, self.training)
        concept = known_concepts(batch)
        read = self._with_beside(concept)
        added, overall = self.evidence.added(concept, batch.correct)
        answers = before_each(concept, added, read.flatten(2), self.num_concepts)
        said = self.evidence(answers, overall.cumsum(1) - overall)[:, 1:]
        read, said = rows.pack(read[:, 1:]), rows.pack(said)
        level = (self.read.levels(hidden, read.flatten(1)) + said).view(read.shape)
        asked = Exercise(rows.pack(concept[:, 1:]), rows.pack(batch.item[:, 1:]))
        logit, plain = self._logit(self.read.of_state(hidden), asked, level)
        return Readings(logit, plain, rows.place, hidden, rows)

    def moments(self, batch: InteractionBatch, found: Readings, start: Tensor) -> Moments:
        """Return what is known after the first `start` [B, S] answers of each row, less than all of them."""
        after = F.pad(found.rows.unpack(found.hidden), (0, 0, 1, 0)).flatten(0, 1)
        first = torch.arange(len(batch), device=after.device)[:, None] * batch.mask.shape[1]
        hidden = after.index_select(0, (first + start).flatten())
        concept = known_concepts(batch)
        added, overall = self.evidence.added(concept, batch.correct)
        answers = after_first(concept, added, start, self.num_concepts).flatten(0, 1)
        before = (overall.cumsum(1) - overall).gather(1, start[..., None].expand(-1, -1, 2)).flatten(0, 1)
        theta = self.read.head(hidden) + self.evidence(answers, before)
        return Moments(self.read.of_state(hidden), theta, answers[:, 1])

    def asked_at(self, at: Moments, asked: Exercise) -> Tensor:
        """Return the logits [W, A] of answers to questions [W, A] at moments, before any practice."""
        read = self._with_beside(asked.concept)
        level = at.theta.gather(1, read.clamp_min(0).flatten(1)).view(read.shape)
        return self._logit(at.of_state[:, None], asked, level)[0]

    def practised_at(self, at: Moments, windows: AnswerWindows) -> Tensor:
        """Return the logits [W, K] of the answers in windows that follow moments, evidence being that of the start."""
        return self.window_logits(at.theta, at.count, windows, at.of_state)

    def beside(self, concept: Tensor) -> Tensor:
        """Return the concepts [..., P] that concepts [...] build on in the relation graph, -1 where unused."""
        return self.read.graph.needed[concept.clamp_min(0)].masked_fill(concept[..., None] < 0, -1)

    def window_answer(self, windows: AnswerWindows, step: int, level: Tensor, context: Tensor) -> Tensor:
        """Return the logits [W] of a window's answers at a step; `context` [W, K] is taken of hidden states."""
        return self._logit(context, Exercise(windows.concept[:, step], windows.item[:, step]), level)[0]

    def _with_beside(self, concept: Tensor) -> Tensor:
        """Return concepts [..., C] beside those that each builds on, [..., C, 1 + P]."""
        return torch.cat([concept[..., None], self.beside(concept)], -1)

    def _logit(self, of_state: Tensor, asked: Exercise, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits [...] of answers to questions [...], and those by level and difficulty alone.

        Args:
            of_state: [..., K].
            asked: [...].
            level: of the concepts and those beside them, [..., C, 1 + P].
        """
        concept = asked.concept
        share = F.embedding(concept.clamp_min(0), self.read.tables().share)
        mastery = level.sigmoid()
        needed = mean_of_known((share * mastery[..., 1:]).sum(-1), concept)
        more = self.read.response(of_state, asked, mean_of_known(mastery[..., 0], concept), needed)
        plain = mean_of_known(level[..., 0], concept)
        return plain + more, plain + self.read.difficulties(asked.item)
