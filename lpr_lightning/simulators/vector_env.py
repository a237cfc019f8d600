"""A simulator as a vector environment, for agents that speak Gymnasium."""

from __future__ import annotations

from typing import Literal

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.protocols import Goal, Simulator
from lpr_lightning.simulators.rollout import start_episode, step_episode
from lpr_lightning.types import PathRequest

Floats = NDArray[np.float32]
Observation = dict[str, Floats]
Info = dict[str, NDArray[np.generic]]


class PathVectorEnv(VectorEnv[Observation, NDArray[np.int64], NDArray[np.generic]]):
    """Learners drawn from a pool of requests, as many side by side as `num_envs`; an action is the next exercise.

    The episodes are those of `rollout`, one step at a time. Histories of the whole pool are read once, at
    construction. An episode ends (terminated) after the wanted length of its request or, with `early_stop`, once the
    exam is full; nothing is ever truncated, since the steps left are part of the observation. Episodes that have ended
    are reset at the next step (`AutoresetMode.NEXT_STEP`): that step's action is ignored and its reward is 0.

    Observations, float32, of one learner:
        `answers` [A, 2]: wrong and right answers given to each action in this episode (soft ones in shares);
        `targets` [N]: 1 for each concept of the goal;
        `steps_left` [1];
        `mastery` [N], with `observe_mastery` only: the learner's true state, which real ones do not show.

    The info of an episode's last step holds its `learning_effect` (eq. 1) and the `row` of its request, with the
    masks `_learning_effect` and `_row`.

    Args:
        simulator: the learners; their answers are drawn from the seed of `reset(seed=…)`.
        goal: what episodes are for.
        pool: requests to draw from, evenly; those with nothing to learn are left out.
        num_envs: learners side by side.
        reward: `gain`: change of the exam score at each step, on the concepts that it was taken for; `last`: 0, and
            the learning effect at the last step.
        early_stop: end an episode once the exam is full.
        observe_mastery: show the learners' mastery.

    Raises:
        SettingError: `num_envs` is below 1, `reward` is unknown, or the pool holds nothing to learn.

    >>> from lpr_lightning.goals import Targets
    >>> from lpr_lightning.simulators.ladder import Ladder
    >>> ladder = Ladder(3)
    >>> env = PathVectorEnv(ladder, Targets(), ladder.request(targets=[[0, 1]], length=2), num_envs=2)
    >>> observation, _ = env.reset(seed=0)
    >>> observation["targets"].tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]
    >>> env.step(np.array([0, 1]))[1].tolist()
    [1.0, 0.0]
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012

    @torch.no_grad()
    def __init__(
        self,
        simulator: Simulator,
        goal: Goal,
        pool: PathRequest,
        num_envs: int = 16,
        reward: Literal["gain", "last"] = "gain",
        early_stop: bool = True,
        observe_mastery: bool = False,
    ) -> None:
        super().__init__()
        checked("num_envs", num_envs, 1)
        if reward not in ("gain", "last"):
            raise SettingError("reward", reward, "gain or last")
        self.simulator, self.goal, self.num_envs, self.early_stop = simulator, goal, num_envs, early_stop
        self.reward: Literal["gain", "last"] = reward
        starts = start_episode(simulator, goal, pool, pool.length, early_stop)
        left = ((starts.best > starts.score) & (pool.length > 0)).nonzero().squeeze(1)
        if not len(left):
            raise SettingError("pool", f"{len(pool)} requests", "requests with something still to be mastered")
        self._starts = starts.select(left)
        actions, device = len(simulator.actions), left.device
        self.single_observation_space = _observations(actions, simulator.num_concepts, observe_mastery)
        self.single_action_space = gymnasium.spaces.Discrete(actions)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._observe_mastery = observe_mastery
        self._rows = torch.arange(num_envs, device=device)
        self._episode = self._starts.select(torch.zeros_like(self._rows))
        self._before = simulator.mastery(self._episode.state)
        self._answers = torch.zeros(num_envs, actions, 2, device=device)
        self._seed, self._steps = 0, 0

    @torch.no_grad()
    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[Observation, Info]:
        """Draw a new learner for every row; with `seed`, restart the draws of learners and answers."""
        super().reset(seed=seed)
        if seed is not None:
            self._seed, self._steps = seed, 0
        self._renew(self._rows)
        return self._observe(), {}

    @torch.no_grad()
    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observation, NDArray[np.generic], NDArray[np.generic], NDArray[np.generic], Info]:
        """Let every learner answer; rows that had ended begin anew instead."""
        renewed = self._episode.ended
        action = torch.as_tensor(np.asarray(actions), dtype=torch.int64, device=renewed.device)
        draws = Draws.of(self._seed, self._steps, self._rows)
        self._steps += 1
        self._episode, taken = step_episode(
            self.simulator, self.goal, self._episode, action, draws, early_stop=self.early_stop
        )
        right = torch.stack([1 - taken.response, taken.response], 1) * (taken.action >= 0)[:, None]
        self._answers[self._rows, action] += right
        ended = self._episode.ended & ~renewed
        effect = self._effect(ended)
        reward = taken.passed if self.reward == "gain" else effect
        info = self._info(effect, ended)
        self._renew(renewed.nonzero().squeeze(1))
        never = np.zeros(self.num_envs, dtype=np.bool_)
        return self._observe(), _numpy(reward), _numpy(ended), never, info

    def _effect(self, ended: Tensor) -> Tensor:
        """Return the learning effect of the episodes that have just `ended` [B], 0 for others."""
        if not bool(ended.any()):
            return torch.zeros_like(self._episode.score)
        targets, after = self._episode.targets, self.simulator.mastery(self._episode.state)
        before, after = self.goal.mark(self._before, targets), self.goal.mark(after, targets)
        return torch.where(ended, learning_effect(before, after, targets.sum(1).to(after)), 0.0)

    def _renew(self, rows: Tensor) -> None:
        """Put a learner drawn from the pool into every one of `rows`."""
        if not len(rows):
            return
        drawn = torch.as_tensor(self.np_random.integers(len(self._starts), size=len(rows)), device=rows.device)
        fresh = self._starts.select(drawn)
        self._episode = self._episode.put(rows, fresh)
        self._before = self._before.index_copy(0, rows, self.simulator.mastery(fresh.state))
        self._answers = self._answers.index_fill(0, rows, 0.0)

    def _observe(self) -> Observation:
        episode = self._episode
        wanted = torch.zeros_like(episode.targets).float()
        wanted = torch.cat([wanted, wanted[:, :1]], 1).scatter(1, episode.concept % (wanted.shape[1] + 1), 1.0)
        observation: Observation = {
            "answers": _floats(self._answers),
            "targets": _floats(wanted[:, :-1]),
            "steps_left": _floats((episode.limit - episode.taken)[:, None]),
        }
        if self._observe_mastery:
            observation["mastery"] = _floats(self.simulator.mastery(episode.state))
        return observation

    def _info(self, effect: Tensor, ended: Tensor) -> Info:
        if not bool(ended.any()):
            return {}
        row, mask = self._episode.request.row.masked_fill(~ended, 0), _numpy(ended)
        return {"learning_effect": _numpy(effect), "_learning_effect": mask, "row": _numpy(row), "_row": mask.copy()}


def _observations(actions: int, concepts: int, mastery: bool) -> gymnasium.spaces.Dict:
    spaces: dict[str, gymnasium.Space[Floats]] = {
        "answers": gymnasium.spaces.Box(0, np.inf, (actions, 2), np.float32),
        "targets": gymnasium.spaces.Box(0, 1, (concepts,), np.float32),
        "steps_left": gymnasium.spaces.Box(0, np.inf, (1,), np.float32),
    }
    if mastery:
        spaces["mastery"] = gymnasium.spaces.Box(0, 1, (concepts,), np.float32)
    return gymnasium.spaces.Dict(dict(spaces))


def _floats(values: Tensor) -> Floats:
    return values.float().cpu().numpy().copy()


def _numpy(values: Tensor) -> NDArray[np.generic]:
    array: NDArray[np.generic] = values.cpu().numpy().copy()
    return array
