"""The knowledge evolution simulator: a knowledge tracer as the learner."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import arguments, built
from lpr_lightning.simulators.rollout import repeat_state
from lpr_lightning.types import KnowledgeTracer, PathRequest, SimulatorState


class KESSimulator(HyperparametersMixin, nn.Module):
    """Lets a knowledge tracer answer as the learner would (Huang et al. 2019, as used in arXiv 2601.14686 sec. 5.1.1).

    Differs from the public implementations:
    1. The state is carried from step to step; no prefix is ever run again.
    2. Learners start from the tracer's zero state (one public version draws it at random).
    3. Random answers come from the simulator's own generator.

    Args:
        tracer: The tracer that is the learner; it is frozen and kept in evaluation mode.
        response: `threshold`: right where the predicted probability reaches `threshold` (GEHRL, DLPR);
            `bernoulli`: drawn with that probability; `soft`: the probability itself is fed back (SRC).
        threshold: For answers and hard exams, in (0, 1). 0.5 in DLPR, 0.75 in GEHRL.
        exam: `hard`: number of targets whose mastery reaches the threshold; `soft`: their summed mastery.
        early_stop: End a path once every target is mastered.

    Raises:
        SettingError: If `threshold` is outside (0, 1) or `tracer` is not a KnowledgeTracer.
    """

    def __init__(
        self,
        tracer: nn.Module,
        response: Literal["threshold", "bernoulli", "soft"] = "threshold",
        threshold: float = 0.5,
        exam: Literal["hard", "soft"] = "hard",
        early_stop: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(tracer := built(tracer), KnowledgeTracer):
            raise SettingError("tracer", type(tracer).__name__, "a KnowledgeTracer", "see lpr_lightning/types.py")
        self.save_hyperparameters(arguments(locals()), logger=False)
        if not 0 < threshold < 1:
            raise SettingError("threshold", threshold, "a number between 0 and 1", "0.5 and 0.75 are in use")
        if response not in ("threshold", "bernoulli", "soft"):
            raise SettingError("response", response, "threshold, bernoulli or soft")
        if exam not in ("hard", "soft"):
            raise SettingError("exam", exam, "hard or soft")
        self.tracer: Any = tracer
        self.response, self.threshold, self.exam_kind, self.early_stop = response, threshold, exam, early_stop
        self.num_concepts: int = tracer.num_concepts
        self._generators: dict[torch.device, torch.Generator] = {}
        self._seed = 0
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> KESSimulator:
        """Stay in evaluation mode whatever the module around it does: a learner has no dropout."""
        return super().train(False)

    def seed(self, seed: int) -> None:
        """Restart the random answers (only `response="bernoulli"` draws any)."""
        self._seed = seed
        self._generators = {}

    @torch.no_grad()
    def start(self, request: PathRequest) -> SimulatorState:
        """Return the learners' states after their histories."""
        state: SimulatorState = self.tracer.encode(request.history)
        return state

    @torch.no_grad()
    def step(self, state: SimulatorState, concept: Tensor) -> tuple[SimulatorState, Tensor, Tensor]:
        """Let each learner answer; rows with concept -1 stay as they are and answer 0."""
        going = concept >= 0
        predicted = self.tracer.predict(state, concept.clamp_min(0))
        predicted = torch.where(going, predicted, 0.0)
        response = torch.where(going, self._answer(predicted), 0.0)
        new = self.tracer.observe(state, concept.clamp_min(0), response)
        kept = tuple(
            torch.where(going.view(-1, *[1] * (part.dim() - 1)), after, part) for part, after in zip(state, new)
        )
        return kept, response, predicted

    @torch.no_grad()
    def lookahead(self, state: SimulatorState, concept: Tensor) -> tuple[SimulatorState, Tensor, Tensor]:
        """Return what each of A answers would lead to: states [B * A, …], answers and probabilities [B, A].

        A tracer with `observe_each` computes the work that all of a learner's candidates share only once.
        """
        mastery = self.tracer.mastery(state).gather(1, concept)
        response = self._answer(mastery)
        if hasattr(self.tracer, "observe_each"):
            return self.tracer.observe_each(state, concept, response), response, mastery
        copies = repeat_state(state, concept.shape[1])
        return self.tracer.observe(copies, concept.flatten(), response.flatten()), response, mastery

    @torch.no_grad()
    def assess(self, state: SimulatorState, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean target mastery, exam score and best score of B * G states, G for each row of `targets` [B, N].

        A tracer with `mastery_of` computes the targets' mastery only.
        """
        count = targets.sum(1)
        copies = state[0].shape[0] // max(len(targets), 1)
        widest = int(count.max()) if len(count) else 0
        target = targets.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :widest]
        if hasattr(self.tracer, "mastery_of"):
            mastery = self.tracer.mastery_of(state, target)
        else:
            mastery = self.tracer.mastery(state).gather(1, target.repeat_interleave(copies, 0))
        known = torch.arange(target.shape[1], device=count.device) < count[:, None]
        mastery, known = mastery.view(len(targets), copies, -1), known[:, None]
        best = count[:, None].expand(-1, copies).float()
        score = self._passed(mastery, known)
        return ((mastery * known).sum(2) / best.clamp_min(1)).flatten(), score.flatten(), best.flatten()

    @torch.no_grad()
    def exam(self, state: SimulatorState, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the exam score on the targets and the best possible one."""
        return self._passed(self.tracer.mastery(state), targets), targets.sum(1).float()

    @torch.no_grad()
    def mastery(self, state: SimulatorState) -> Tensor:
        """Return the predicted success probability of every concept."""
        mastery: Tensor = self.tracer.mastery(state)
        return mastery

    def _passed(self, mastery: Tensor, known: Tensor) -> Tensor:
        """Return the exam score along the last axis."""
        passed = mastery if self.exam_kind == "soft" else (mastery >= self.threshold).float()
        return (passed * known).sum(-1)

    def _answer(self, probability: Tensor) -> Tensor:
        match self.response:
            case "threshold":
                return (probability >= self.threshold).float()
            case "soft":
                return probability
            case _:
                return torch.bernoulli(probability, generator=self._generator(probability.device))

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]
