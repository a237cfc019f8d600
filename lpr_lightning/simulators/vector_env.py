"""A simulator as a vector environment, for agents that speak Gymnasium."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.types import PAD, PathRequest, Simulator, SimulatorState

Observation = dict[str, NDArray[np.float32]]


class PathVectorEnv(VectorEnv[Observation, NDArray[np.int64], NDArray[Any]]):
    """Learners drawn from a pool of requests, as many side by side as `num_envs`; an action is the next concept.

    Histories of the whole pool are read once, at construction. An episode ends (terminated) after the wanted length
    of its request or, with `early_stop`, once every target is mastered; nothing is ever truncated, since the steps
    left are part of the observation. Episodes that have ended are reset at the next step
    (`AutoresetMode.NEXT_STEP`): that step's action is ignored and its reward is 0.

    Observations, float32, of one learner:
        `answers` [N, 2]: wrong and right answers given to each concept in this episode (soft ones in shares);
        `targets` [N]: 1 for each target;
        `steps_left` [1];
        `mastery` [N], with `observe_mastery` only: the learner's true state, which real ones do not show.

    The info of an episode's last step holds its `learning_effect` (eq. 1) and the `row` of its request, with the
    masks `_learning_effect` and `_row`.

    Args:
        simulator: The learners; seeded by `reset(seed=…)`.
        pool: Requests to draw from, evenly; those with nothing to learn are left out.
        num_envs: Learners side by side.
        reward: `gain`: change of the exam score at each step; `last`: 0, and the learning effect at the last step.
        early_stop: End an episode once every target is mastered.
        observe_mastery: Show the learners' mastery.

    Raises:
        SettingError: If `num_envs` is below 1, `reward` is unknown, or the pool holds nothing to learn.

    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3)
    >>> env = PathVectorEnv(ladder, ladder.request(targets=[[0, 1]], length=2), num_envs=2)
    >>> observation, _ = env.reset(seed=0)
    >>> observation["targets"].tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
    >>> env.step(np.array([0, 1]))[1].tolist()
    [1.0, 0.0]
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        simulator: Simulator,
        pool: PathRequest,
        num_envs: int = 16,
        reward: Literal["gain", "last"] = "gain",
        early_stop: bool = True,
        observe_mastery: bool = False,
    ) -> None:
        super().__init__()
        if num_envs < 1:
            raise SettingError("num_envs", num_envs, "a whole number above 0")
        if reward not in ("gain", "last"):
            raise SettingError("reward", reward, "gain or last")
        self.simulator, self.num_envs, self.early_stop = simulator, num_envs, early_stop
        self.reward: Literal["gain", "last"] = reward
        state = simulator.start(pool)
        before, best = simulator.exam(state, pool.targets)
        keep = ((best > before) & (pool.length > 0)).nonzero().squeeze(1)
        if not len(keep):
            raise SettingError("pool", f"{len(pool)} requests", "requests with targets still to be mastered")
        self._pool, self._pool_state, self._pool_score = pool.select(keep), _rows(state, keep), before[keep]
        self.single_observation_space = _observations(simulator.num_concepts, observe_mastery)
        self.single_action_space = gymnasium.spaces.Discrete(simulator.num_concepts)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._observe_mastery = observe_mastery
        self._drawn, self._left = keep.new_zeros(num_envs), keep.new_zeros(num_envs)
        self._state = _rows(self._pool_state, self._drawn)
        self._before = self._score = before.new_zeros(num_envs)
        self._answers = torch.zeros(num_envs, simulator.num_concepts, 2, device=keep.device)
        self._ended = torch.ones_like(self._drawn, dtype=torch.bool)

    @torch.no_grad()
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw a new learner for every row; with `seed`, restart the draws and the simulator."""
        super().reset(seed=seed)
        if seed is not None:
            self.simulator.seed(int(self.np_random.integers(2**31)))
        self._begin(torch.ones_like(self._ended))
        self._ended = torch.zeros_like(self._ended)
        return self._observe(), {}

    @torch.no_grad()
    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observation, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Let every learner answer its concept; rows that had ended begin anew instead."""
        renewed = self._ended
        concept = torch.as_tensor(np.asarray(actions), dtype=torch.int64, device=renewed.device)
        self._state, answer, _ = self.simulator.step(self._state, torch.where(renewed, PAD, concept))
        self._answers[torch.arange(self.num_envs, device=concept.device), concept] += torch.stack(
            [1 - answer, answer], 1
        )
        self._left = self._left - 1
        score, best = self.simulator.exam(self._state, self._pool.targets[self._drawn])
        self._ended = ~renewed & ((self._left == 0) | ((score >= best) & self.early_stop))
        effect = learning_effect(self._before, score, best)
        reward = score - self._score if self.reward == "gain" else torch.where(self._ended, effect, 0.0)
        self._score = score
        info = self._info(effect)
        self._begin(renewed)
        reward, never = torch.where(renewed, 0.0, reward), np.zeros(self.num_envs, dtype=np.bool_)
        return self._observe(), _numpy(reward), _numpy(self._ended), never, info

    def _begin(self, where: Tensor) -> None:
        """Put a learner drawn from the pool into every row of `where` [num_envs]."""
        rows = where.nonzero().squeeze(1)
        if not len(rows):
            return
        drawn = torch.as_tensor(self.np_random.integers(len(self._pool), size=len(rows)), device=rows.device)
        fresh = _rows(self._pool_state, drawn)
        self._drawn = self._drawn.index_copy(0, rows, drawn)
        self._state = tuple(part.index_copy(0, rows, new) for part, new in zip(self._state, fresh))
        self._left = self._left.index_copy(0, rows, self._pool.length[drawn])
        self._before = self._before.index_copy(0, rows, self._pool_score[drawn])
        self._score = self._score.index_copy(0, rows, self._pool_score[drawn])
        self._answers = self._answers.index_fill(0, rows, 0.0)

    def _observe(self) -> Observation:
        observation = {
            "answers": _numpy(self._answers),
            "targets": _numpy(self._pool.targets[self._drawn].float()),
            "steps_left": _numpy(self._left[:, None].float()),
        }
        if self._observe_mastery:
            observation["mastery"] = _numpy(self.simulator.mastery(self._state).float())
        return observation

    def _info(self, effect: Tensor) -> dict[str, Any]:
        if not bool(self._ended.any()):
            return {}
        effect = torch.where(self._ended, effect, 0.0)
        row = torch.where(self._ended, self._pool.row[self._drawn], 0)
        mask = _numpy(self._ended)
        return {"learning_effect": _numpy(effect), "_learning_effect": mask, "row": _numpy(row), "_row": mask.copy()}


def _observations(count: int, mastery: bool) -> gymnasium.spaces.Dict:
    spaces: dict[str, gymnasium.Space[Any]] = {
        "answers": gymnasium.spaces.Box(0, np.inf, (count, 2), np.float32),
        "targets": gymnasium.spaces.Box(0, 1, (count,), np.float32),
        "steps_left": gymnasium.spaces.Box(0, np.inf, (1,), np.float32),
    }
    if mastery:
        spaces["mastery"] = gymnasium.spaces.Box(0, 1, (count,), np.float32)
    return gymnasium.spaces.Dict(spaces)


def _rows(state: SimulatorState, index: Tensor) -> SimulatorState:
    return tuple(part.index_select(0, index) for part in state)


def _numpy(values: Tensor) -> NDArray[Any]:
    return values.cpu().numpy().copy()
