"""The vector environment against roll-outs and against Gymnasium's own manners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.goals import Targets, WeakestConcept
from lpr_lightning.policies import follow_paths
from lpr_lightning.protocols import Goal
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.vector_env import PathVectorEnv
from lpr_lightning.types import PathRequest


def pool() -> PathRequest:
    request = Ladder(4).request(targets=[[0], [0, 1], [2], [], [0, 1, 2, 3]], length=4)
    return replace(request, length=torch.tensor([2, 3, 4, 3, 4]))


Reward = Literal["gain", "last"]


def environment(
    goal: Goal | None = None,
    num_envs: int = 6,
    reward: Reward = "gain",
    early_stop: bool = True,
    observe_mastery: bool = False,
) -> PathVectorEnv:
    return PathVectorEnv(Ladder(4), goal or Targets(), pool(), num_envs, reward, early_stop, observe_mastery)


def played(env: PathVectorEnv, steps: int, seed: int) -> list[tuple[object, ...]]:
    """Return everything that `env` gives in `steps` steps of drawn actions."""
    env.action_space.seed(seed)
    given: list[tuple[object, ...]] = [env.reset(seed=seed)]
    for _ in range(steps):
        action = env.action_space.sample()
        given.append((action, *env.step(action)))
    return given


def test_spaces_and_types_are_as_gymnasium_wants_them() -> None:
    env = environment(observe_mastery=True)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    observation, info = env.reset(seed=3)
    env.action_space.seed(3)
    assert observation in env.observation_space
    assert info == {}
    ends = 0
    for _ in range(12):
        action = env.action_space.sample()
        assert action in env.action_space
        observation, reward, terminated, truncated, info = env.step(action)
        assert observation in env.observation_space
        assert reward.shape == terminated.shape == truncated.shape == (6,)
        assert terminated.dtype == truncated.dtype == np.bool_
        assert not truncated.any()
        assert bool(info) == bool(terminated.any())
        ends += int(terminated.sum())
    assert ends > 0


def test_the_same_seed_gives_the_same_run_and_arrays_are_not_reused() -> None:
    first, second = played(environment(), 10, seed=1), played(environment(), 10, seed=1)
    env = environment()
    played(env, 5, seed=2)
    third = played(env, 10, seed=1)
    assert data_equivalence(first, second)
    assert data_equivalence(first, third)
    assert not data_equivalence(first, played(environment(), 10, seed=2))
    observation, _ = env.reset(seed=1)
    kept = {key: value.copy() for key, value in observation.items()}
    env.step(env.action_space.sample())
    assert data_equivalence(kept, observation)


@pytest.mark.parametrize("kind", ["gain", "last"])
@pytest.mark.parametrize("early_stop", [False, True])
def test_episodes_agree_with_rollouts(kind: Reward, early_stop: bool) -> None:
    env = environment(reward=kind, early_stop=early_stop)
    ladder, requests = Ladder(4), pool()
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    paths: list[list[int]] = [[] for _ in range(6)]
    returns, fresh, finished = np.zeros(6), np.zeros(6, dtype=np.bool_), 0
    for _ in range(40):
        action = env.action_space.sample()
        observation, reward, terminated, _, info = env.step(action)
        assert (reward[fresh] == 0).all()
        assert not terminated[fresh].any()
        assert (observation["answers"][fresh] == 0).all()
        for row in range(6):
            if fresh[row]:
                paths[row], returns[row] = [], 0.0
                continue
            paths[row].append(int(action[row]))
            returns[row] += reward[row]
            assert observation["answers"][row].sum() == len(paths[row])
            if terminated[row]:
                finished += 1
                one = requests.select(torch.tensor([info["row"][row]]))
                result = follow_paths(ladder, Targets(), one, torch.tensor([paths[row]]), early_stop=early_stop)
                effect = learning_effect(result.score_before, result.score_after, result.score_max)
                gain = result.score_after - result.score_before
                assert info["_learning_effect"][row]
                assert info["learning_effect"][row] == pytest.approx(float(effect))
                assert returns[row] == pytest.approx(float(gain if kind == "gain" else effect))
                assert int(result.length) == len(paths[row])
                ended_full = float(result.score_after) >= float(result.score_max)
                assert observation["steps_left"][row, 0] == int(one.length) - len(paths[row])
                assert observation["steps_left"][row, 0] == 0 or (early_stop and ended_full)
        fresh = np.asarray(terminated, dtype=np.bool_)
    assert finished > 20


def test_a_hand_played_episode() -> None:
    ladder = Ladder(3)
    request = ladder.request(targets=[[0, 2]], length=3)
    env = PathVectorEnv(ladder, Targets(), request, num_envs=2, observe_mastery=True)
    env.reset(seed=0)
    rewards = []
    for actions in ([0, 0], [1, 0], [2, 2], [1, 1]):
        observation, reward, terminated, _, info = env.step(np.array(actions))
        rewards.append(reward.tolist())
        if actions == [2, 2]:
            assert terminated.all()
            assert info["learning_effect"].tolist() == [1.0, 0.5]
            np.testing.assert_allclose(observation["mastery"], [[0.5, 0.5, 0.5], [1.0, 0.0, 0.0]])
            np.testing.assert_allclose(observation["answers"][1], [[1, 1], [0, 0], [1, 0]])
    assert rewards == [[1, 1], [0, 0], [1, 0], [0, 0]]
    assert not terminated.any()
    assert observation["steps_left"].tolist() == [[3], [3]]


def test_a_goal_chosen_anew_rewards_what_each_step_was_for() -> None:
    ladder = Ladder(2)
    env = PathVectorEnv(ladder, WeakestConcept(), ladder.request(targets=[[]], length=3), num_envs=1)
    observation, _ = env.reset(seed=0)
    assert observation["targets"].tolist() == [[1, 0]]
    observation, reward, _, _, _ = env.step(np.array([0]))
    assert reward.tolist() == [1]
    assert observation["targets"].tolist() == [[0, 1]]
    _, reward, terminated, _, info = env.step(np.array([1]))
    assert reward.tolist() == [1]
    assert terminated.tolist() == [True]
    assert info["learning_effect"].tolist() == [1.0]


def test_learners_with_nothing_to_learn_are_not_drawn() -> None:
    env = environment(num_envs=200)
    observation, _ = env.reset(seed=0)
    assert set(observation["targets"].sum(1).tolist()) == {1.0, 2.0, 4.0}


def test_works_under_gymnasium_wrappers() -> None:
    env = RecordEpisodeStatistics(environment(early_stop=False))
    env.action_space.seed(0)
    env.reset(seed=0)
    lengths = []
    for _ in range(20):
        *_, info = env.step(env.action_space.sample())
        if "episode" in info:
            lengths += info["episode"]["l"][info["_episode"]].tolist()
    assert lengths
    assert set(lengths) <= {2, 3, 4}


@pytest.mark.parametrize(
    "build",
    [
        lambda: environment(num_envs=0),
        lambda: environment(reward="other"),  # type: ignore[arg-type]
        lambda: PathVectorEnv(Ladder(4), Targets(), pool().select(torch.tensor([3]))),
    ],
)
def test_settings_are_checked(build: Callable[[], PathVectorEnv]) -> None:
    with pytest.raises(SettingError):
        build()
