"""What an agent sees of a learner: encoders of the simulator's state, of the answers, or of the truth.

B learners, N concepts, C channels (numbers of each concept), S numbers of a whole vector; E episodes of L steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.functional.concept_features import logit
from lpr_lightning.hparams import arguments
from lpr_lightning.protocols import Environment, HasInitialState, Simulator
from lpr_lightning.types import PAD, InteractionBatch, PathRequest, State, keep_rows

CERTAIN_LOGIT = 4.6
"""Logits of mastery are bounded by this, and divided by it."""


class Memory(NamedTuple):
    """What `Encoder.remember` leaves of E episodes: tensors [E, ...] once each, and [E, L + 1, ...] of each state."""

    once: State
    steps: State


class Encoder(HyperparametersMixin, nn.Module, ABC):
    """Base class of encoders: a policy's state begins with an encoder's, made by `begin` and `see`.

    `forward` makes vectors [B, size] of states while learners are taught, `recall` those of any steps of episodes that
    are remembered, with gradients to the encoder's weights. The first `channels` * N numbers of a vector are numbers of
    each concept, channel after channel. `configure` is called once, before weights are used.
    """

    size: int
    channels: int

    @abstractmethod
    def configure(self, simulator: Simulator) -> None:
        """Take sizes from the simulator, and make the weights."""

    @abstractmethod
    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return what is known before the first step, tensors with the learners first."""

    @abstractmethod
    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Return what is known after answers [B]; rows of action -1 stay as they are."""

    @abstractmethod
    def forward(self, state: State) -> Tensor:
        """Return the vectors [B, size] of states."""

    @abstractmethod
    def remember(self, states: State) -> Memory:
        """Return what must be kept of the states [E, L + 1, ...] of whole episodes."""

    @abstractmethod
    def recall(self, memory: Memory, episode: Tensor, place: Tensor) -> Tensor:
        """Return the vectors [R, P, size] of the states at `place` [R, P] of the episodes [R] that are remembered."""


class TracerState(Encoder):
    """The state of the tracer in the simulator, made to a vector, such as (h, c) of an LSTM; nothing is trained.

    Vectors are kept as they are, so that a model-based critic can go on from them (`state_of`); `forward` and `recall`
    shrink large numbers (sign(x) log(1 + |x|)) and read masteries as log-odds.

    Args:
        state: read the tracer's state.
        mastery: read its mastery of every concept.
        answers: what answers do to the state: `observe`, they are evidence, as real ones are; or `practise`, as the
            simulator does within an episode. The same in most tracers, not in those that tell evidence from growth.

    Raises:
        SettingError: neither is read, or (later) the state's size depends on the history.
    """

    def __init__(
        self, state: bool = True, mastery: bool = True, answers: Literal["observe", "practise"] = "observe"
    ) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        if not state and not mastery:
            raise SettingError("mastery", mastery, "true, or state=true", "an encoder that reads nothing tells nothing")
        if answers not in ("observe", "practise"):
            raise SettingError("answers", answers, "observe or practise")
        self.reads_state, self.reads_mastery, self.answers = state, mastery, answers
        self.shapes: list[torch.Size] = []
        self.by_concept: list[bool] = []
        self.num_concepts = 0

    def configure(self, simulator: Simulator) -> None:
        """Take the shapes of the state."""
        self.num_concepts = count = simulator.num_concepts
        state = blank_state(simulator)
        self.shapes = [part.shape[1:] for part in state]
        read = self.shapes if self.reads_state else []
        self.by_concept = [len(shape) > 0 and shape[-1] == count for shape in read]
        own = [shape.numel() for shape, each in zip(read, self.by_concept, strict=True) if each]
        self.channels = sum(own) // count + self.reads_mastery
        self.size = sum(shape.numel() for shape in read) + count * self.reads_mastery

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the vectors, and the tracer's states."""
        state = environment.simulator.start(request)
        return self._vector(environment.simulator, state), *state

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Return those after the answers."""
        simulator = environment.simulator
        move = simulator.observe if self.answers == "observe" else simulator.practise
        after = move(state[1:], simulator.actions.at(action), correct)
        return self._vector(simulator, after), *after

    def forward(self, state: State) -> Tensor:
        """Return the vectors, channels first."""
        return self._shown(state[0])

    def remember(self, states: State) -> Memory:
        """Keep the vectors."""
        return Memory((), states[:1])

    def recall(self, memory: Memory, episode: Tensor, place: Tensor) -> Tensor:
        """Return the vectors, channels first."""
        return self._shown(self.kept(memory, episode, place))

    def kept(self, memory: Memory, episode: Tensor, place: Tensor) -> Tensor:
        """Return the vectors [R, P, size] as they were kept."""
        return memory.steps[0][episode[:, None], place]

    def state_of(self, vector: Tensor) -> State:
        """Return the tracer's states [B, ...] that kept vectors [B, size] are made of; `state` must be read."""
        if not self.reads_state:
            raise SettingError("state", False, "true", "a model-based critic goes on from the tracer's state")
        sizes = [shape.numel() for shape in self.shapes]
        parts = torch.split(vector[:, : sum(sizes)], sizes, 1)
        return tuple(part.view(len(vector), *shape) for part, shape in zip(parts, self.shapes, strict=True))

    def seen_of(self, simulator: Simulator, state: State) -> Tensor:
        """Return the vectors [B, size], channels first, of states that a model has made of others."""
        return self._shown(self._vector(simulator, state))

    def _vector(self, simulator: Simulator, state: State) -> Tensor:
        if [part.shape[1:] for part in state] != self.shapes:
            allowed = "a tracer whose state has the same size after any history"
            raise SettingError("encoder", [tuple(part.shape[1:]) for part in state], allowed, "Take a Session instead")
        parts = [part.flatten(1).float() for part in state] if self.reads_state else []
        if self.reads_mastery:
            parts.append(simulator.mastery(state).float())
        return torch.cat(parts, 1)

    def _shown(self, vector: Tensor) -> Tensor:
        sizes = [shape.numel() for shape in self.shapes] if self.reads_state else []
        parts = torch.split(vector, [*sizes, *[self.num_concepts] * self.reads_mastery], -1)
        shown = [part.sign() * part.abs().log1p() for part in parts[: len(sizes)]]
        first = [part for part, each in zip(shown, self.by_concept, strict=True) if each]
        rest = [part for part, each in zip(shown, self.by_concept, strict=True) if not each]
        if self.reads_mastery:
            first.append(logit(parts[-1]) / CERTAIN_LOGIT)
        return torch.cat([*first, *rest], -1)


class Privileged(TracerState):
    """The true mastery of every concept of the learner that is taught, which nobody knows outside a simulator.

    For teachers that a policy is distilled from, and for what a policy could be worth if it knew the learner.
    """

    def __init__(self) -> None:
        super().__init__(state=False, mastery=True, answers="practise")
        self.hparams.clear()  # it has none of its own


class Session(Encoder):
    """A GRU over the latest answers of the history and those of the episode, trained with the agent.

    Answers are remembered, not what the GRU made of them: what is recalled is of today's weights. Each concept also has
    two channels, log(1 + number) of right and of wrong answers (soft ones count by their shares).

    Args:
        hidden_size: width of the GRU.
        window: answers of the history that are read, the latest.

    Raises:
        SettingError: an argument is below 1.
    """

    channels = 2

    def __init__(self, hidden_size: int = 32, window: int = 100) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        self.hidden_size, self.window = checked("hidden_size", hidden_size, 1), checked("window", window, 1)
        self.num_concepts = 0

    def configure(self, simulator: Simulator) -> None:
        """Make the weights for the simulator's concepts."""
        self.num_concepts = simulator.num_concepts
        self.size = 2 * self.num_concepts + self.hidden_size
        self.answer = nn.Parameter(torch.randn(2, self.num_concepts, self.hidden_size) * self.hidden_size**-0.5)
        self.gru = nn.GRU(self.hidden_size, self.hidden_size, batch_first=True)

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the history's latest answers, nothing asked, the GRU's state, and the channels."""
        history = request.history
        first = (history.lengths - self.window).clamp_min(0)[:, None] + torch.arange(
            self.window, device=history.mask.device
        )
        real = first < history.lengths[:, None]
        if history.mask.shape[1]:
            index = first.clamp_max(history.mask.shape[1] - 1)
            width = history.concept.shape[2]
            concept = history.concept.gather(1, index[..., None].expand(-1, -1, width))
            correct = history.correct.gather(1, index)
        else:
            concept, correct = first.new_full((*first.shape, 1), PAD), history.correct.new_zeros(first.shape)
        concept = concept.masked_fill(~real[..., None], PAD).to(torch.int32)
        correct = torch.where(real, correct, -1.0)
        asked = environment.simulator.actions.at(torch.full_like(request.row, PAD)).concept.to(torch.int32)
        none = torch.full_like(correct[:, 0], -1.0)
        hidden = self._after(self._run(concept, correct), real.sum(1))
        return concept, correct, asked, none, hidden, self._counts(concept, correct)

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Return what is known after one answer more."""
        concept = environment.simulator.actions.at(action).concept.to(torch.int32)
        going = action != PAD
        right = torch.where(going, correct, -1.0)
        hidden = self.gru(self._inputs(concept[:, None], right[:, None]), state[4][None])[0][:, 0]
        counts = state[5] + self._counts(concept[:, None], right[:, None])
        (hidden,) = keep_rows((state[4],), (hidden.to(state[4]),), going)
        return *state[:2], concept, right, hidden, counts

    def forward(self, state: State) -> Tensor:
        """Return channels and GRU states."""
        return torch.cat([state[5].log1p(), state[4]], 1)

    def remember(self, states: State) -> Memory:
        """Keep the answers alone."""
        concept, correct, asked, right = states[:4]
        width = asked.shape[-1]
        return Memory((concept[:, 0], correct[:, 0]), (asked.reshape(*asked.shape[:2], width), right))

    def recall(self, memory: Memory, episode: Tensor, place: Tensor) -> Tensor:
        """Run the GRU over the answers again."""
        (concept, correct), (asked, right) = (tuple(part[episode] for part in parts) for parts in memory)
        width = max(concept.shape[2], asked.shape[2])
        asked, right = asked[:, 1:], right[:, 1:]
        concept, asked = (F.pad(one, (0, width - one.shape[2]), value=PAD) for one in (concept, asked))
        every, marks = torch.cat([concept, asked], 1), torch.cat([correct, right], 1)
        order = (marks < 0).to(torch.int8).argsort(dim=1, stable=True)
        every = every.gather(1, order[..., None].expand(-1, -1, width))
        marks = marks.gather(1, order)
        answered = F.pad((right >= 0).long().cumsum(1), (1, 0))
        place = (correct >= 0).sum(1)[:, None] + answered.gather(1, place)
        hidden = self._run(every, marks)
        index = (place - 1).clamp_min(0)[..., None].expand(-1, -1, self.hidden_size)
        hidden = torch.where(place[..., None] > 0, hidden.gather(1, index), 0.0)
        places = torch.arange(marks.shape[1], device=marks.device)
        counts = [
            self._counts(every, torch.where(places < place[:, one, None], marks, -1.0)) for one in range(place.shape[1])
        ]
        return torch.cat([torch.stack(counts, 1).log1p().to(hidden), hidden], -1)

    def _run(self, concept: Tensor, correct: Tensor) -> Tensor:
        """Return the GRU's states [B, T, H] after each answer, real ones first."""
        hidden: Tensor = self.gru(self._inputs(concept, correct))[0]
        return hidden

    def _after(self, hidden: Tensor, length: Tensor) -> Tensor:
        index = (length - 1).clamp_min(0)[:, None, None].expand(-1, 1, self.hidden_size)
        return torch.where(length[:, None] > 0, hidden.gather(1, index).squeeze(1), 0.0)

    def _inputs(self, concept: Tensor, correct: Tensor) -> Tensor:
        """Return the sum of the vectors of an answer's concepts, those of right and wrong mixed by the answer."""
        index, real = concept.long().clamp_min(0), (concept >= 0)[..., None]
        wrong, right = ((F.embedding(index, table) * real).sum(-2) for table in self.answer)
        share = correct.clamp_min(0)[..., None]
        return share * right + (1 - share) * wrong

    def _counts(self, concept: Tensor, correct: Tensor) -> Tensor:
        """Return how often each concept was answered rightly, then wrongly, [B, 2 * N]."""
        place = torch.where((concept < 0) | (correct[..., None] < 0), self.num_concepts, concept.long()).flatten(1)
        share = correct.clamp_min(0)[..., None].expand(concept.shape).flatten(1).float()
        zeros = share.new_zeros(len(concept), self.num_concepts + 1)
        counts = [zeros.scatter_add(1, place, one)[:, :-1] for one in (share, 1 - share)]
        return torch.cat(counts, 1)


@torch.no_grad()
def blank_state(simulator: Simulator) -> State:
    """Return the state of one learner without history."""
    if isinstance(simulator, HasInitialState):
        return simulator.initial_state(1)
    unseen = torch.full((1,), PAD)
    targets = torch.zeros(1, simulator.num_concepts, dtype=torch.bool)
    return simulator.start(PathRequest(InteractionBatch.empty(1), targets, torch.ones_like(unseen), unseen, unseen))
