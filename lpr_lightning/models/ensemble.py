"""Several tracers as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import arguments, built, load_module
from lpr_lightning.protocols import Tracer
from lpr_lightning.types import Exercise, InteractionBatch, State


class Ensemble(HyperparametersMixin, nn.Module):
    """Trained tracers as one tracer, whose probabilities are the members' mean, or lower where they disagree.

    A search exploits the errors of one model; members of different families (`PerformanceFactors`, `StateSpaceGrowth`,
    `DKT`) err differently, seeds of one family hardly do. `caution` times the standard deviation over the members is
    taken off the mean, so that what only some promise counts less. State: the members' states, one after another.

    Args:
        members: trained tracers on the same concepts: modules, or paths of their checkpoints.
        caution: weight of the members' standard deviation, at least 0.

    Raises:
        SettingError: there are no members, one lacks the calls of a tracer, their concepts differ, or `caution` is
            below 0.
        MissingFileError: a checkpoint is not there.

    >>> from lpr_lightning.models.dkt import DKT
    >>> from lpr_lightning.models.performance_factors import PerformanceFactors
    >>> tracer = Ensemble([PerformanceFactors(3), DKT(3)]).eval()
    >>> len(tracer.initial_state(2)), tracer.mastery(tracer.initial_state(2)).shape
    (5, torch.Size([2, 3]))
    """

    def __init__(self, members: Sequence[nn.Module | str | Mapping[str, object]], caution: float = 0.0) -> None:
        super().__init__()
        modules = [load_module(one) if isinstance(one, str) else built(one, nn.Module) for one in members]
        self.save_hyperparameters(arguments({"members": modules, "caution": caution}), logger=False)
        if not modules:
            raise SettingError("members", members, "at least one tracer")
        if not caution >= 0:
            raise SettingError("caution", caution, "a number of at least 0", "0 is the mean")
        self.members = nn.ModuleList()
        self.tracers: list[Tracer] = []
        for module in modules:
            if not isinstance(module, Tracer) or not isinstance(module, nn.Module):
                advice = "each needs the calls of lpr_lightning.protocols.Tracer"
                raise SettingError("members", type(module).__name__, "tracers that are modules", advice)
            self.members.append(module)
            self.tracers.append(module)
        concepts = [tracer.num_concepts for tracer in self.tracers]
        if len(set(concepts)) > 1:
            raise SettingError("members", concepts, "the same number of concepts", "train them on the same data")
        self.num_concepts, self.caution = concepts[0], caution
        with torch.no_grad():
            self.sizes = [len(tracer.initial_state(1)) for tracer in self.tracers]

    def initial_state(self, batch_size: int) -> State:
        """Return the members' states of learners without history."""
        return tuple(part for tracer in self.tracers for part in tracer.initial_state(batch_size))

    def encode(self, history: InteractionBatch) -> State:
        """Return the members' states after whole histories."""
        return tuple(part for tracer in self.tracers for part in tracer.encode(history))

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the members' states after one answer each."""
        return tuple(part for tracer, own in self._each(state) for part in tracer.observe(own, asked, correct))

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the members' states after a step of an episode, the same answer for all."""
        return tuple(part for tracer, own in self._each(state) for part in tracer.practise(own, asked, correct))

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the success probability of answers, [B] or [B, A]."""
        return self._agreed([tracer.predict(own, asked) for tracer, own in self._each(state)])

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the mastery of every concept [B, N], or of the concepts [B, M] only, [B * G, M]."""
        return self._agreed([tracer.mastery(own, concept) for tracer, own in self._each(state)])

    def _each(self, state: State) -> list[tuple[Tracer, State]]:
        ends = torch.tensor(self.sizes).cumsum(0).tolist()
        return [(one, state[end - size : end]) for one, size, end in zip(self.tracers, self.sizes, ends, strict=True)]

    def _agreed(self, probabilities: list[Tensor]) -> Tensor:
        """Return the mean less caution, at least 0."""
        every = torch.stack(probabilities)
        if not self.caution:
            return every.mean(0)
        return (every.mean(0) - self.caution * every.std(0, correction=0)).clamp_min(0)
