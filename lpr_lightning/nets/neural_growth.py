"""Neural levels: an LSTM reads the answers, structured growth says what practice does."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.functional.learning_gain import learning_gain
from lpr_lightning.nets.answer_windows import AnswerWindows
from lpr_lightning.nets.dkt import DKTNet
from lpr_lightning.nets.growth_net import GrowthNet, PrerequisiteGate, known_concepts, mean_of_known
from lpr_lightning.nets.residual_evidence import CONCEPT, OVERALL, SCALE, ResidualEvidence, after_first, before_each
from lpr_lightning.types import Exercise, InteractionBatch, State, keep_rows, repeat_rows

REPEATED = 0.3
"""Scale of how fast repeated practice brings less."""
START: dict[str, float | list[float]] = {
    "growth": -1.0,
    "shape": [0.0, 0.0, -2.0],
    "repeated": -1.0,
    "forgetting": -4.0,
    "within": [0.5, 0.5],
}
"""Where the few numbers that all concepts share start, before softplus."""


class NeuralGrowthNet(GrowthNet):
    """Logits of all concepts by an LSTM over (concept, answer) pairs, and growth by practice on top of them.

    The logit of an answer on concept c is the evidence theta_c plus what practice since then has brought:

        theta_c = head(h)_c + 4 w_1 R_c / (n_c + 2) + 4 w_2 R / (t + 5) + 4 w_3 log(1 + n_c)
        growth_c = softplus(g + d_c) a(theta_c) (1 + n_c)^(-0.3 softplus(nu)) log(1 + m_c)

    with a(z) = 2 sigmoid(s0 + s1 z - softplus(s2) z^2) (`functional.learning_gain`). h is the state of the LSTM after t
    answers, n_c of them on c, R and R_c are sums of their residuals (`ResidualEvidence`): the long memory that an LSTM
    learns badly from few logs. m_c is practice whose answers were not read: every step multiplies it by
    exp(-softplus(phi)), a step on c then adds as far as the prerequisites of c hold (`PrerequisiteGate`).

    `observe` reads an answer: the evidence moves, practice only fades. `practise` moves m. An answer on several
    concepts is one input, practice of each, and predicted by the mean of their logits. Items are ignored.

    State: h and c of the LSTM [B, layers, H] each; theta [B, N]; R and t [B, 2]; R_c, n_c and m_c [B, 3, N].

    Args:
        num_concepts: N.
        embedding_size: width of the embedding of a (concept, answer).
        hidden_size: H.
        num_layers: LSTM layers.
        dropout: on the output of each layer while training, in [0, 1).

    >>> net = NeuralGrowthNet(3, embedding_size=4, hidden_size=5)
    >>> state, asked = net.initial_state(1), Exercise.of_concepts(torch.tensor([1]))
    >>> net.practise(state, asked, torch.ones(1))[4].tolist()
    [[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]
    >>> net.observe(state, asked, torch.ones(1))[4].tolist()
    [[[0.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]
    """

    def __init__(
        self, num_concepts: int, embedding_size: int, hidden_size: int, num_layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.num_concepts = num_concepts
        self.read = DKTNet(num_concepts, embedding_size, hidden_size, num_layers, dropout)
        self.evidence = ResidualEvidence(num_concepts)
        self.concept_growth = nn.Parameter(torch.zeros(num_concepts))
        self.dynamics = nn.ParameterDict({name: torch.tensor(value) for name, value in START.items()})
        self.gate = PrerequisiteGate(num_concepts)

    def asked_weights(self) -> list[nn.Parameter]:
        """Return the weights of growth: what the LSTM says of levels stays in episodes."""
        dynamics = [self.dynamics[name] for name in ("growth", "shape", "repeated", "forgetting")]
        return [self.concept_growth, *dynamics, self.gate.weight]

    @torch.no_grad()
    def start_from(self, rate: Tensor) -> None:
        """Take the base rates; a learner without history is predicted by them."""
        self.evidence.rate.copy_(rate)
        self.read.head.bias.copy_(rate.logit())

    def penalty(self) -> Tensor:
        """Return the sum of squared d_c."""
        return self.concept_growth.square().sum()

    def initial_state(self, batch_size: int) -> State:
        """Return the state before any answer."""
        zeros = self.concept_growth.new_zeros
        sums = zeros(batch_size, 2), zeros(batch_size, 3, self.num_concepts)
        return self._state(self.read.initial_state(batch_size), *sums)

    def encode(self, history: InteractionBatch) -> State:
        """Return the state after whole histories; nothing has been practised since."""
        concept = known_concepts(history)
        added, overall = self.evidence.added(concept, history.correct)
        answers = after_first(concept, added, history.lengths[:, None], self.num_concepts)[:, 0]
        return self._state(self.read.encode(history), overall.sum(1), F.pad(answers, (0, 0, 0, 1)))

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after one answer each; rows without a known concept stay as they are."""
        concept = asked.candidates().concept
        read = self.read.observe(state[:2], asked, correct)
        state, concept = repeat_rows(state, concept.shape[1]), concept.flatten(0, 1)
        added, overall = self.evidence.added(concept, correct.reshape(-1))
        *_, total, answers = state
        index = concept.clamp_min(0)[:, None].expand(-1, 2, -1)
        own, practice = answers[:, :2].scatter_add(2, index, added), answers[:, 2:] * self._left(concept)[..., None]
        return keep_rows(state, self._state(read, total + overall, torch.cat([own, practice], 1)), overall[:, 1] > 0)

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after a step of an episode: practice alone, whatever the answer was."""
        concept = asked.candidates().concept
        state, concept = repeat_rows(state, concept.shape[1]), concept.flatten(0, 1)
        *evidence, answers = state
        needed = self.gate.of(concept)
        held = self.gate(self._level(state, needed.flatten(1)).view(needed.shape), needed)
        practice = self._practised(answers[:, 2], concept, held)
        return *evidence, torch.cat([answers[:, :2], practice[:, None]], 1)

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers, [B] or [B, A]."""
        concept = asked.candidates().concept
        level = self._level(state, concept.flatten(1)).view(concept.shape)
        return mean_of_known(level, concept).view(asked.shape).sigmoid()

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the success probability of every concept [B, N], or of the concepts [B, M] only, [B * G, M]."""
        if concept is not None:
            return self._level(state, concept.repeat_interleave(len(state[0]) // max(len(concept), 1), 0)).sigmoid()
        theta, (_, count, practice) = state[2], state[4].unbind(1)
        return (theta + self._gain(self.concept_growth, theta, count) * practice.log1p()).sigmoid()

    def next_logits(self, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Return the logits [R] of all real next answers, and their places in the flattened answers 1 … T - 1."""
        logit, place = self.read.next_logits(batch)
        return logit + self._said(batch)[place], place

    def training_logits(self, batch: InteractionBatch, windows: AnswerWindows) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits [R] of all real next answers, their places, and the logits [W, K] of windows."""
        hidden, rows = self.read.hidden_before(batch)
        logit = self.read.logits_of(hidden, rows.pack(batch.concept[:, 1:])) + self._said(batch)[rows.place]
        after = F.pad(rows.unpack(hidden), (0, 0, 1, 0)).flatten(0, 1)
        first = torch.arange(len(batch), device=after.device)[:, None] * batch.mask.shape[1]
        start = after.index_select(0, (first + windows.start).flatten())
        head = self.read.head(F.dropout(start, self.read.dropout, self.training))
        concept = known_concepts(batch)
        added, overall = self.evidence.added(concept, batch.correct)
        answers = after_first(concept, added, windows.start, self.num_concepts).flatten(0, 1)
        index = windows.start[..., None].expand(-1, -1, 2)
        theta = head + self.evidence(answers, (overall.cumsum(1) - overall).gather(1, index).flatten(0, 1))
        return logit, rows.place, self.window_logits(theta, answers[:, 1], windows)

    def window_logits(self, theta: Tensor, count: Tensor, windows: AnswerWindows) -> Tensor:
        """Return the logits [W, K] of the answers in windows, from evidence and counts [W, N] at their start.

        The evidence stays that of the start. What a window's own answers say about the learner is added by hand: with
        residuals r = y - (the prediction without this), 4 v_1 sum(r on c) / (number on c + 2) + 4 v_2 sum(r) / (k + 5)
        over the k answers before; else growth by practice would have to explain it. In an episode it is 0.
        """
        needed = self.gate.of(windows.concept)
        read = torch.cat([windows.concept[..., None], needed], 3)  # a concept, then its prerequisites
        index = read.clamp_min(0).flatten(1)
        level = theta.gather(1, index)
        gain = self._gain(self._own_growth(index), level, count.gather(1, index)).view(read.shape)
        level, practice = level.view(read.shape), torch.zeros_like(theta)
        answers, total, logits = theta.new_zeros(len(theta), 2, self.num_concepts), theta.new_zeros(len(theta)), []
        weight = SCALE * self.dynamics["within"]
        for step, (concept, live) in enumerate(zip(windows.concept.unbind(1), windows.live.unbind(1), strict=True)):
            now = practice.gather(1, index.view(read.shape)[:, step].flatten(1)).view(read[:, step].shape)
            now = level[:, step] + gain[:, step] * now.log1p()
            logit = mean_of_known(now[..., 0], concept)
            at = concept.clamp_min(0)[:, None].expand(-1, 2, -1)
            own, times = answers.gather(2, at).unbind(1)
            said = weight[0] * mean_of_known(own / (times + CONCEPT), concept) + weight[1] * total / (step + OVERALL)
            logits.append(logit + said)
            known, residual = (concept >= 0).to(theta), (windows.correct[:, step] - logit.detach().sigmoid()) * live
            answers = answers.scatter_add(2, at, torch.stack([known * residual[:, None], known], 1))
            total = total + residual
            practice = self._practised(practice, concept, self.gate(now[..., 1:], needed[:, step]))
        return torch.stack(logits, 1)

    def _said(self, batch: InteractionBatch) -> Tensor:
        """Return what residuals add to the logits of the answers 1 … T - 1, flattened."""
        concept = known_concepts(batch)
        added, overall = self.evidence.added(concept, batch.correct)
        answers = before_each(concept, added, concept, self.num_concepts)
        return mean_of_known(self.evidence(answers, overall.cumsum(1) - overall), concept)[:, 1:].flatten()

    def _state(self, read: State, overall: Tensor, answers: Tensor) -> State:
        """Return the state of the LSTM's and of sums."""
        theta = self.read.head(read[0][:, -1]) + self.evidence(answers[:, :2], overall)
        return *read, theta, overall, answers

    def _level(self, state: State, concept: Tensor) -> Tensor:
        """Return the logits of concepts [B, M]."""
        theta, (_, count, practice), index = state[2], state[4].unbind(1), concept.clamp_min(0)
        level = theta.gather(1, index)
        gain = self._gain(self._own_growth(index), level, count.gather(1, index))
        return level + gain * practice.gather(1, index).log1p()

    def _own_growth(self, index: Tensor) -> Tensor:
        return F.embedding(index, self.concept_growth[:, None]).squeeze(-1)

    def _gain(self, growth: Tensor, theta: Tensor, count: Tensor) -> Tensor:
        """Return what log(1 + m) is multiplied by, [...], from d_c, evidence and counts [...]."""
        shape = torch.cat([self.dynamics["shape"][:2], F.softplus(self.dynamics["shape"][2:])])
        fading = REPEATED * F.softplus(self.dynamics["repeated"])
        return learning_gain(F.softplus(self.dynamics["growth"] + growth), theta, count, shape, fading)

    def _left(self, concept: Tensor) -> Tensor:
        """Return the share [B, 1] of earlier practice that is left by a step on concepts [B, C]."""
        return torch.exp(-F.softplus(self.dynamics["forgetting"]) * (concept >= 0).any(1, keepdim=True))

    def _practised(self, practice: Tensor, concept: Tensor, held: Tensor) -> Tensor:
        """Return practice [B, N] after a step on concepts [B, C] whose prerequisites hold as far as `held` [B, C]."""
        return (practice * self._left(concept)).scatter_add(1, concept.clamp_min(0), held * (concept >= 0))
