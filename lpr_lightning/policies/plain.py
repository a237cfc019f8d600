"""Plain policies that every report is measured against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.policies.candidates import TargetActions
from lpr_lightning.policies.search import success
from lpr_lightning.protocols import Act, Environment
from lpr_lightning.types import PathRequest, State


@dataclass(frozen=True)
class RandomPaths:
    """Recommends actions drawn evenly from all, repeats allowed.

    Args:
        seed: of the draws; the same request gets the same path again, in any batch.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> from lpr_lightning.simulators.rollout import rollout
    >>> ladder = Ladder(3)
    >>> rollout(ladder, Targets(), ladder.request(targets=[[0], [1]], length=4), RandomPaths(seed=1)).action.shape
    torch.Size([2, 4])
    """

    seed: int = 0
    name = "random"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the draws of each request, and the number of the step."""
        return Draws.of(self.seed, 0, request.row).key, torch.zeros_like(request.row)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Draw the next action."""
        return Act(self._draws(state).integers(len(environment.simulator.actions)))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Go on by one step."""
        return state[0], state[1] + 1

    @staticmethod
    def _draws(state: State) -> Draws:
        """Return the draws of the present step; all rows are at the same one."""
        return Draws(state[0]).at(int(state[1][0]) if len(state[1]) else 0)


@dataclass(frozen=True)
class RandomTargets(RandomPaths):
    """Recommends actions drawn evenly from those on the goal's concepts, repeats allowed; from all where it has none.

    Args:
        seed: of the draws; the same request gets the same path again, in any batch.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> from lpr_lightning.simulators.rollout import rollout
    >>> ladder = Ladder(3)
    >>> rollout(ladder, Targets(), ladder.request(targets=[[1]], length=2), RandomTargets()).action
    tensor([[1, 1]])
    """

    name = "random_targets"

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Draw the next action on one of the goal's concepts."""
        allowed = TargetActions().allowed(environment, state, concept)
        return Act(self._draws(state).pick(allowed.float()))


@dataclass(frozen=True)
class DKTRec:
    """Recommends, step by step, the action whose predicted success is nearest to one half.

    Source: the DKTRec baseline of arXiv 2601.14686; the probabilities are those of the model that it may look into,
    after the answers that the learner really gave.
    Differs from the public code, which takes the largest probability below one half.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> from lpr_lightning.simulators.rollout import rollout
    >>> ladder = Ladder(3, gain=0.4)
    >>> rollout(ladder, Targets(), ladder.request(targets=[[2]], length=3), DKTRec()).action
    tensor([[0, 0, 0]])
    """

    name = "dktrec"

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the model's states after the histories."""
        return environment.simulator.start(request)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the action nearest to one half."""
        return Act((success(environment.simulator, state) - 0.5).abs().argmin(1))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Let the model observe the answers."""
        simulator = environment.simulator
        return simulator.observe(state, simulator.actions.at(action), correct)


@dataclass(frozen=True)
class NearestTarget(DKTRec):
    """Recommends, step by step, the action on a target whose predicted success is nearest to a level.

    Differs from `DKTRec` in that it stays with the goal's concepts (all actions where it has none).

    Args:
        level: predicted success that is aimed at.

    Raises:
        SettingError: `level` is not in [0, 1].

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> from lpr_lightning.simulators.rollout import rollout
    >>> ladder = Ladder(3, gain=0.4)
    >>> rollout(ladder, Targets(), ladder.request(targets=[[0, 2]], length=3), NearestTarget()).action
    tensor([[0, 0, 0]])
    """

    level: float = 0.6
    name = "nearest_target"

    def __post_init__(self) -> None:
        if not 0 <= self.level <= 1:
            raise SettingError("level", self.level, "a probability from 0 to 1")

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the action on a target nearest to the level."""
        allowed = TargetActions().allowed(environment, state, concept)
        away = (success(environment.simulator, state) - self.level).abs()
        return Act(away.masked_fill(~allowed, torch.inf).argmin(1))
