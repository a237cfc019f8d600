"""Which concepts a path is for: a request's targets, all, or one chosen by the learner's history or state."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn

from lpr_lightning.errors import checked
from lpr_lightning.goals.exams import Exam, HardExam
from lpr_lightning.hparams import arguments, built
from lpr_lightning.protocols import Learner, Standing
from lpr_lightning.types import PAD, Interactions, PathRequest, State


class ConceptGoal(HyperparametersMixin, nn.Module, ABC):
    """Base class of goals: a subclass chooses concepts, the `exam` marks them; what is fitted lives in buffers.

    A subclass with arguments of its own begins its constructor with

        super().__init__(exam)
        self.save_hyperparameters(arguments(locals()), logger=False)

    Args:
        exam: how mastery of the concepts is marked.
    """

    every_step = False

    def __init__(self, exam: Exam | None = None) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        self.exam: Exam = built(exam, Exam) or HardExam()

    @abstractmethod
    def choose(self, learner: Learner, state: State, request: PathRequest) -> Tensor:
        """Return the concepts that count now, [B, M] int64, -1 where unused; M is at least 1."""

    def assess(self, learner: Learner, state: State, concept: Tensor) -> Standing:
        """Return where B * G states stand on the concepts [B, M], G states for each row of these."""
        mastery = learner.mastery(state, concept.clamp_min(0))
        counted = (concept >= 0).repeat_interleave(len(mastery) // max(len(concept), 1), 0)
        best = counted.sum(1).to(mastery)
        return Standing((mastery * counted).sum(1) / best.clamp_min(1), self.mark(mastery, counted), best)

    def mark(self, mastery: Tensor, counted: Tensor) -> Tensor:
        """Return the exam score [...] of mastery [..., N] on the concepts `counted` [..., N] bool."""
        return (self.exam.passed(mastery) * counted).sum(-1)

    def fit(self, log: Interactions) -> None:
        """Fit what depends on the answer logs of training learners; nothing here."""


class Targets(ConceptGoal):
    """The targets of each request (the KES protocol).

    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3)
    >>> request = ladder.request(targets=[[0, 2], [1]], length=2)
    >>> Targets().choose(ladder, ladder.start(request), request)
    tensor([[ 0,  2],
            [ 1, -1]])
    """

    def choose(self, learner: Learner, state: State, request: PathRequest) -> Tensor:
        """Return the targets in the order of their numbers."""
        count = request.targets.sum(1)
        widest = max(int(count.max()) if len(count) else 0, 1)
        target = request.targets.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :widest]
        return target.masked_fill(torch.arange(widest, device=count.device) >= count[:, None], PAD)


class AllConcepts(ConceptGoal):
    """Every concept there is (task 1 of ExRec; its code takes one of each cluster)."""

    def choose(self, learner: Learner, state: State, request: PathRequest) -> Tensor:
        """Return all concepts."""
        return torch.arange(learner.num_concepts, device=request.length.device).expand(len(request), -1)

    def assess(self, learner: Learner, state: State, concept: Tensor) -> Standing:
        """Return where states stand on all concepts, read as a grid instead of pair by pair."""
        mastery = learner.mastery(state)
        counted = torch.ones_like(mastery, dtype=torch.bool)
        return Standing(mastery.mean(1), self.mark(mastery, counted), counted.sum(1).to(mastery))


class PractisedConcept(ConceptGoal):
    """The concept that the learner practised most among the last answers (task 2 of ExRec).

    Of several the one with the lowest number; nothing for learners without history.

    Args:
        recent: answers that count (ExRec: 10).
        exam: how its mastery is marked.

    Raises:
        SettingError: `recent` is below 1.
    """

    def __init__(self, recent: int = 10, exam: Exam | None = None) -> None:
        super().__init__(exam)
        self.save_hyperparameters(arguments(locals()), logger=False)
        self.recent = checked("recent", recent, 1)

    def choose(self, learner: Learner, state: State, request: PathRequest) -> Tensor:
        """Return one concept for each learner, [B, 1]."""
        history = request.history
        place = torch.arange(history.mask.shape[1], device=history.mask.device)
        recent = history.mask & (place >= history.lengths[:, None] - self.recent)
        count = _counted(history.concept, recent, learner.num_concepts)
        return torch.where(count.amax(1) > 0, count.argmax(1), PAD)[:, None]


class UpcomingConcept(ConceptGoal):
    """The concept that learners most often turned to after the concepts met so far (task 3 of ExRec).

    With P the transitions between the concepts of consecutive answers in the training logs, row-normalised, it is the
    argmax of sum_c pi(c) P(c, ·), pi uniform over the concepts of the history.

    Differs from the paper: it draws the concept from this distribution; here it is the likeliest one. Its code reads
    the row of one concept only.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        exam: how its mastery is marked.
    """

    transitions: Tensor

    def __init__(self, num_concepts: int | None = None, exam: Exam | None = None) -> None:
        super().__init__(exam)
        self.save_hyperparameters(arguments(locals()), logger=False)
        num_concepts = checked("num_concepts", num_concepts, 1)
        self.register_buffer("transitions", torch.zeros(num_concepts, num_concepts))

    def fit(self, log: Interactions) -> None:
        """Count the transitions of the training logs."""
        first = torch.ones(len(log), dtype=torch.bool, device=log.concept.device)
        first[log.offsets[:-1][log.lengths > 0]] = False
        later = first.nonzero().squeeze(1)
        pairs = log.concept[later - 1].long()[:, :, None], log.concept[later].long()[:, None, :]
        known = (pairs[0] >= 0) & (pairs[1] >= 0)
        count = len(self.transitions)
        number = (pairs[0] * count + pairs[1])[known]
        counted = torch.bincount(number, minlength=count * count).view(count, count).to(self.transitions)
        self.transitions.copy_(counted / counted.sum(1, keepdim=True).clamp_min(1))

    def choose(self, learner: Learner, state: State, request: PathRequest) -> Tensor:
        """Return one concept for each learner, [B, 1]; the commonest successor of all where nothing was met."""
        met = _counted(request.history.concept, request.history.mask, learner.num_concepts) > 0
        met = met | ~met.any(1, keepdim=True)
        return (met.to(self.transitions) @ self.transitions).argmax(1, keepdim=True)


class WeakestConcept(ConceptGoal):
    """The concept that the learner masters least, chosen anew before each step (task 4 of ExRec)."""

    every_step = True

    def choose(self, learner: Learner, state: State, request: PathRequest) -> Tensor:
        """Return one concept for each learner, [B, 1]."""
        return learner.mastery(state).argmin(1, keepdim=True)


def _counted(concept: Tensor, counted: Tensor, num_concepts: int) -> Tensor:
    """Return how often each concept occurs in the answers [B, T, C] that are `counted` [B, T], [B, N]."""
    used = (counted[..., None] & (concept >= 0)).flatten(1)
    count = torch.zeros(len(concept), num_concepts, device=concept.device)
    return count.scatter_add(1, concept.clamp_min(0).flatten(1), used.float())
