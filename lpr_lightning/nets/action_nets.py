"""Networks over what an agent sees: numbers of each action, and of the state.

B rows, A actions, N concepts, K numbers of each action, V numbers of the state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.functional.prerequisites import direct_prerequisites
from lpr_lightning.protocols import LearnerData
from lpr_lightning.types import PAD

STEPS = 10.0
"""Steps left are counted in tens."""


class Observation(NamedTuple):
    """What an agent acts on: the encoder's vector [..., S], the goal's concepts [..., N], steps left [...], and the
    actions taken so far [..., L], -1 where none was."""

    vector: Tensor
    goal: Tensor
    left: Tensor
    taken: Tensor


class Sizes(NamedTuple):
    """The sizes of an `Observation`: vector, channels of each concept in it, concepts, actions."""

    vector: int
    channels: int
    concepts: int
    actions: int


def times_taken(taken: Tensor, actions: int) -> Tensor:
    """Return how often each action was taken, [..., A] float32.

    >>> times_taken(torch.tensor([[2, 2, -1]]), 3)
    tensor([[0., 0., 2.]])
    """
    zeros = torch.zeros(*taken.shape[:-1], actions + 1, device=taken.device)
    place = torch.where(taken == PAD, actions, taken)
    return zeros.scatter_add(-1, place, torch.ones_like(place, dtype=zeros.dtype))[..., :-1]


class NoisyLinear(nn.Linear):
    """A linear layer with learned noise on its weights (Fortunato et al. 2018, arXiv 1706.10295, eq. 9, factorised).

    There is noise after `renew(draws)`, and none after `renew(None)`.

    Args:
        inputs: width.
        outputs: width.
        bias: whether there is one, with noise of its own.
        noise: its standard deviation at the start, times the square root of the inputs (paper: 0.5).
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True, noise: float = 0.5) -> None:
        super().__init__(inputs, outputs, bias)
        self.weight_noise = nn.Parameter(torch.full((outputs, inputs), noise * inputs**-0.5))
        self.bias_noise = nn.Parameter(torch.full((outputs,), noise * inputs**-0.5)) if bias else None
        self._into: Tensor | None = None
        self._out: Tensor | None = None

    def renew(self, draws: Draws | None) -> None:
        """Draw other noise, from draws of one row."""
        if draws is None:
            self._into = self._out = None
            return
        both = draws.normal(self.in_features + self.out_features)[0].to(self.weight)
        both = both.sign() * both.abs().sqrt()
        self._into, self._out = both[: self.in_features], both[self.in_features :]

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's outputs."""
        if self._into is None or self._out is None:
            return super().forward(x)
        weight = self.weight + self.weight_noise * self._out[:, None] * self._into
        return F.linear(x, weight, None if self.bias_noise is None else self.bias + self.bias_noise * self._out)


class ActionNet(nn.Module, ABC):
    """Base class: `forward` returns K numbers of each action [..., A, K] and V numbers of the state [..., V]."""

    @abstractmethod
    def forward(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """Return the numbers of each action and of the state."""

    def renew(self, draws: Draws | None) -> None:
        """Draw other noise in every noisy layer; None turns it off."""
        noisy = [layer for layer in self.modules() if isinstance(layer, NoisyLinear)]
        for number, layer in enumerate(noisy):
            layer.renew(None if draws is None else draws.at(number))


class NetSettings(ABC):
    """Base class of the settings of an `ActionNet`."""

    @abstractmethod
    def build(
        self, sizes: Sizes, per_action: int, per_state: int = 0, noisy: bool = False, relative: bool = False
    ) -> ActionNet:
        """Return a network.

        Args:
            sizes: of what is seen.
            per_action: K.
            per_state: V.
            noisy: its last layers are `NoisyLinear`.
            relative: the actions' numbers count by their differences alone, so that a bias that all share is left out.
        """


@dataclass(frozen=True)
class PlainNetwork(NetSettings):
    """Settings of a `PlainActionNet`, for any actions.

    Args:
        hidden_size: width of its two hidden layers.

    Raises:
        SettingError: it is below 1.
    """

    hidden_size: int = 128

    def __post_init__(self) -> None:
        checked("hidden_size", self.hidden_size, 1)

    def build(
        self, sizes: Sizes, per_action: int, per_state: int = 0, noisy: bool = False, relative: bool = False
    ) -> ActionNet:
        """Return the network, in which each action has a bias of its own."""
        return PlainActionNet(sizes, self.hidden_size, per_action, per_state, noisy)


@dataclass(frozen=True)
class ConceptNetwork(NetSettings):
    """Settings of an `ConceptActionNet`, for concepts as actions.

    Args:
        hidden_size: width.
        concept_size: width of the vector learned for each concept; 0 treats all concepts alike.
        rounds: rounds of messages along prerequisites, where the data have them.

    Raises:
        SettingError: a number is out of range.
    """

    hidden_size: int = 48
    concept_size: int = 4
    rounds: int = 2

    def __post_init__(self) -> None:
        for name, least in (("hidden_size", 1), ("concept_size", 0), ("rounds", 0)):
            checked(name, vars(self)[name], least)

    def build(
        self, sizes: Sizes, per_action: int, per_state: int = 0, noisy: bool = False, relative: bool = False
    ) -> ActionNet:
        """Return the network."""
        if sizes.actions != sizes.concepts:
            allowed = "concepts, which are scored one by one"
            raise SettingError("simulator.actions", sizes.actions, allowed, "For questions take net=PlainNetwork")
        return ConceptActionNet(sizes, self, per_action, per_state, noisy, relative)


class PlainActionNet(ActionNet):
    """Two hidden layers over the whole vector, the goal, the steps left and the times of each action."""

    def __init__(self, sizes: Sizes, hidden_size: int, per_action: int, per_state: int, noisy: bool) -> None:
        super().__init__()
        linear = NoisyLinear if noisy else nn.Linear
        self.actions, self.per_action = sizes.actions, per_action
        width = sizes.vector + sizes.concepts + 1 + sizes.actions
        self.first, self.second = nn.Linear(width, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.of_actions = linear(hidden_size, sizes.actions * per_action) if per_action else None
        self.of_state = linear(hidden_size, per_state) if per_state else None

    def forward(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """Return the numbers of each action and of the state."""
        left, times = seen.left[..., None] / STEPS, times_taken(seen.taken, self.actions)
        x = torch.cat([seen.vector, seen.goal.to(seen.vector), left, times], -1)
        hidden = self.second(self.first(x).relu()).relu()
        action = hidden.new_zeros(*hidden.shape[:-1], self.actions, 0)
        if self.of_actions is not None:
            action = self.of_actions(hidden).view(*hidden.shape[:-1], self.actions, self.per_action)
        return action, hidden.new_zeros(*hidden.shape[:-1], 0) if self.of_state is None else self.of_state(hidden)


class ConceptActionNet(ActionNet):
    """One small network over each concept's own numbers, beside what is known of the whole.

    A concept's numbers are its channels of the encoder's vector, whether the goal counts it, how often it was taken,
    the steps left, and a learned vector; the rest of the encoder's vector is read by all. As in `ConceptScorerNet`,
    h_c = relu(W_2 relu(W_1 x_c + U g)), then messages along prerequisites, which come by `connect`; each action reads
    its own h_c, the mean h of the goal's concepts and that of all; the state's numbers read the two means.
    """

    needs: Tensor

    def __init__(
        self, sizes: Sizes, settings: ConceptNetwork, per_action: int, per_state: int, noisy: bool, relative: bool
    ) -> None:
        super().__init__()
        linear = NoisyLinear if noisy else nn.Linear
        self.sizes, hidden = sizes, settings.hidden_size
        rest = sizes.vector - sizes.channels * sizes.concepts
        self.register_buffer("needs", torch.zeros(sizes.concepts, sizes.concepts, dtype=torch.bool))
        self.concept = nn.Embedding(sizes.concepts, settings.concept_size) if settings.concept_size else None
        self.first = nn.Linear(sizes.channels + 4 + settings.concept_size, hidden)
        self.whole = nn.Linear(rest, hidden, bias=False) if rest else None
        self.second = nn.Linear(hidden, hidden)
        self.messages = nn.ModuleList(nn.Linear(hidden, 3 * hidden) for _ in range(settings.rounds))
        self.goal, self.all = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden, bias=False)
        self.own = nn.Linear(hidden, hidden, bias=False) if per_action else None
        self.of_actions = linear(hidden, per_action, bias=not relative) if per_action else None
        self.of_state = linear(hidden, per_state) if per_state else None

    def connect(self, data: LearnerData) -> None:
        """Take the prerequisites from the data; where it has none, no concept has any."""
        edges = data.prerequisites
        self.needs.zero_() if edges is None else self.needs.copy_(direct_prerequisites(edges, self.sizes.concepts))

    def forward(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """Return the numbers of each action and of the state."""
        count, split = self.sizes.concepts, self.sizes.channels * self.sizes.concepts
        shape = (*seen.left.shape, self.sizes.channels, count)
        own = seen.vector[..., :split].reshape(shape).transpose(-1, -2)
        goal, times = seen.goal.to(own), times_taken(seen.taken, count).to(own)
        left = (seen.left / STEPS).to(own)[..., None].expand_as(goal)
        parts = [own, torch.stack([goal, times, left, goal / goal.sum(-1, keepdim=True).clamp_min(1)], -1)]
        if self.concept is not None:
            parts.append(self.concept.weight.to(own).expand(*goal.shape, -1))
        x = self.first(torch.cat(parts, -1))
        if self.whole is not None:
            x = x + self.whole(seen.vector[..., split:])[..., None, :]
        hidden = self.second(x.relu()).relu()
        needed, needing = _shares(self.needs).to(hidden), _shares(self.needs.T).to(hidden)
        for message in self.messages:
            itself, earlier, later = message(hidden).chunk(3, -1)
            hidden = (hidden + itself + needed @ earlier + needing @ later).relu()
        wanted = (goal[..., None, :] / goal.sum(-1)[..., None, None].clamp_min(1)).to(hidden) @ hidden
        around = self.goal(wanted) + self.all(hidden.mean(-2, keepdim=True))
        action, state = hidden.new_zeros(*goal.shape, 0), hidden.new_zeros(*goal.shape[:-1], 0)
        if self.of_actions is not None and self.own is not None:
            action = self.of_actions((self.own(hidden) + around).relu())
        if self.of_state is not None:
            state = self.of_state(around.squeeze(-2).relu())
        return action, state


def _shares(rows: Tensor) -> Tensor:
    """Return rows of marks [..., N] as weights that sum to 1, or to 0 where nothing is marked."""
    return rows.float() / rows.sum(-1, keepdim=True).clamp_min(1)
