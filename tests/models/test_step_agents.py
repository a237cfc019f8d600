"""Agents that choose step by step reach the best path of a ladder, and lack the faults of released code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from ladder_data import RUNGS, fitted, path

from lpr_lightning.bases.off_policy import ReplaySettings
from lpr_lightning.bases.step_agent import StepAgent
from lpr_lightning.functional.schedules import LinearSchedule
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.models.actor_critic import ActorCritic
from lpr_lightning.models.c51 import C51
from lpr_lightning.models.discrete_sac import DiscreteSAC
from lpr_lightning.models.dqn import DQN
from lpr_lightning.models.ppo import PPO
from lpr_lightning.models.rainbow import Rainbow
from lpr_lightning.models.trpo import TRPO
from lpr_lightning.nets.action_nets import ConceptNetwork
from lpr_lightning.simulators.ladder import Ladder

SMALL = ReplaySettings(batch_size=64, updates=6)
COMMON = {
    "num_concepts": RUNGS,
    "simulator": Ladder(RUNGS),
    "goal": Targets(SoftExam()),
    "net": ConceptNetwork(16, 2, 0),
}
EXPLORED = LinearSchedule(1.0, 0.1, 20)
AGENTS: dict[str, Callable[[], StepAgent]] = {
    "dqn": lambda: DQN(**COMMON, replay=SMALL, exploration=EXPLORED, learning_rate=1e-2, target_every=2),
    "c51": lambda: C51(
        **COMMON, replay=SMALL, exploration=EXPLORED, learning_rate=1e-2, target_every=2, atoms=11, low=0.0
    ),
    "rainbow": lambda: Rainbow(
        **COMMON, replay=replace(SMALL, n_step=2, priority=0.5, correction=0.4), exploration=EXPLORED,
        learning_rate=1e-2, target_every=2, atoms=11, low=0.0,
    ),
    "discrete_sac": lambda: DiscreteSAC(
        **COMMON, replay=SMALL, temperature=0.05, learning_rate=5e-3, follow_rate=0.1, max_grad_norm=1.0
    ),
    "ppo": lambda: PPO(**COMMON, learning_rate=1e-2, critic_learning_rate=1e-2),
    "trpo": lambda: TRPO(**COMMON, max_divergence=0.05, critic_learning_rate=1e-2),
    "actor_critic": lambda: ActorCritic(**COMMON, group_size=8, learning_rate=1e-2, critic_learning_rate=1e-2),
}  # fmt: skip


def made(name: str) -> StepAgent:
    torch.manual_seed(0)
    return AGENTS[name]()


@pytest.mark.parametrize("name", AGENTS)
def test_it_reaches_the_known_optimum(name: str) -> None:
    agent = fitted(made(name), epochs=10)
    assert path(agent) == list(range(RUNGS))
