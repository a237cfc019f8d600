"""The knowledge evolution simulator: a knowledge tracer as the learner."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn

from lpr_lightning.draws import Draws, drawn_answers
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import arguments, built, load_module
from lpr_lightning.protocols import Tracer
from lpr_lightning.simulators.actions import ActionSet, ConceptActions
from lpr_lightning.types import Exercise, PathRequest, State, keep_rows, repeat_rows

Response = Literal["threshold", "bernoulli", "soft"]


class KESSimulator(HyperparametersMixin, nn.Module):
    """Lets a knowledge tracer answer as the learner would (Huang et al. 2019, as used in arXiv 2601.14686 sec. 5.1.1).

    Differs from the public implementations:
    1. The state is carried from step to step; no prefix is ever run again.
    2. Learners start from the tracer's zero state (one public version draws it at random).
    3. Random answers are drawn for each learner from `Draws`, so that they do not depend on the batch.

    Gradients flow through `predict` and `practise` to an exercise's vector and to soft answers, which a model-based
    critic needs; the tracer's weights get none.

    Args:
        tracer: the tracer that is the learner, frozen and in evaluation mode: a module with the calls of
            `protocols.Tracer`, or the path of a checkpoint of one. On the command line also the path of a
            configuration, which is fitted first on the data of the run. A module that records no hyperparameters is
            named by its class in caches, and must be given again when a checkpoint is loaded.
        response: `threshold`: right where the predicted probability reaches `threshold` (GEHRL, DLPR);
            `bernoulli`: drawn with that probability; `soft`: the probability itself is fed back (SRC).
        threshold: for answers, in (0, 1). 0.5 in DLPR, 0.75 in GEHRL.
        actions: what may be recommended; default the tracer's concepts.

    Raises:
        SettingError: `threshold` or `response` is out of range, or `tracer` lacks calls of a tracer.
        MissingFileError: the checkpoint is not there.
    """

    def __init__(
        self,
        tracer: nn.Module | str,
        response: Response = "threshold",
        threshold: float = 0.5,
        actions: ActionSet | None = None,
    ) -> None:
        super().__init__()
        tracer = load_module(tracer) if isinstance(tracer, str) else built(tracer, nn.Module) or tracer
        actions = built(actions, ActionSet)
        if not isinstance(tracer, Tracer) or not isinstance(tracer, nn.Module):
            advice = "it needs the calls of lpr_lightning.protocols.Tracer"
            raise SettingError("tracer", type(tracer).__name__, "a tracer that is a module", advice)
        self.save_hyperparameters(arguments(locals()), logger=False)
        if not 0 < threshold < 1:
            raise SettingError("threshold", threshold, "a number between 0 and 1", "0.5 and 0.75 are in use")
        if response not in ("threshold", "bernoulli", "soft"):
            raise SettingError("response", response, "threshold, bernoulli or soft")
        self.tracer = tracer
        self.response, self.threshold = response, threshold
        self.num_concepts: int = tracer.num_concepts
        self.action_set: ActionSet = actions or ConceptActions(tracer.num_concepts)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> KESSimulator:
        """Stay in evaluation mode whatever the module around it does: a learner has no dropout."""
        return super().train(False)

    @property
    def actions(self) -> ActionSet:
        """What may be recommended (a property, since protocols overlook submodules from Python 3.12 on)."""
        return self.action_set

    def initial_state(self, batch_size: int) -> State:
        """Return the state of learners without history."""
        return self.tracer.initial_state(batch_size)

    def start(self, request: PathRequest) -> State:
        """Return the learners' states after their histories.

        Raises:
            SettingError: the actions are questions whose concepts are not known.
        """
        if not self.action_set.connected:
            advice = "call connect(data) on it; agents under a trainer and the command line do"
            raise SettingError("actions", type(self.action_set).__name__, "actions that know the data", advice)
        return self.tracer.encode(request.history)

    def predict(self, state: State, asked: Exercise) -> Tensor:
        """Return the probability of success, [B] or [B, A]."""
        return self.tracer.predict(state, _something(asked)[0])

    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        """Return answers of these probabilities [B, …]; without draws a random answer is the likeliest one."""
        match self.response:
            case "threshold":
                return (probability >= self.threshold).to(probability)
            case "soft":
                return probability
            case _:
                return drawn_answers(probability, draws)

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after a step of an episode; rows that are asked nothing stay as they are."""
        exercise, going = _something(asked)
        return _kept(state, self.tracer.practise(state, exercise, correct), going)

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        """Return the state after a real answer; rows that are asked nothing stay as they are."""
        exercise, going = _something(asked)
        return _kept(state, self.tracer.observe(state, exercise, correct), going)

    def mastery(self, state: State, concept: Tensor | None = None) -> Tensor:
        """Return the predicted success probability of every concept [B, N], or of some, [B * G, M]."""
        return self.tracer.mastery(state, concept)


def _something(asked: Exercise) -> tuple[Exercise, Tensor]:
    """Return exercises that ask concept 0 where nothing is asked, and where something is."""
    going = asked.asked
    return replace(asked, concept=torch.where(going[..., None], asked.concept, 0)), going


def _kept(before: State, after: State, going: Tensor) -> State:
    """Return the states [B * A] after exercises [B, A], those before where nothing was asked."""
    if bool(going.all()):
        return after
    count = going.shape[1] if going.dim() > 1 else 1
    return keep_rows(repeat_rows(before, count), after, going.flatten())
