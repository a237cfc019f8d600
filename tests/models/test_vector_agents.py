"""Agents that act by vectors reach known best paths, and lack the faults of released code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ladder_data import RUNGS, fitted, path

from lpr_lightning.bases.off_policy import ReplaySettings
from lpr_lightning.bases.vector_agent import VectorAgent
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.models.ddpg import DDPG
from lpr_lightning.models.sac import SAC
from lpr_lightning.models.sac_mve import SACwithMVE
from lpr_lightning.models.td3 import TD3
from lpr_lightning.nets.chain_credit import ChainCredit
from lpr_lightning.nets.performance_factors import PerformanceFactorsNet
from lpr_lightning.nets.sphere_actors import ConceptActor
from lpr_lightning.nets.vector_critics import ModelValue, PlainValue
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.ladder import Ladder

SMALL = ReplaySettings(batch_size=64, updates=6)
PLAIN: dict[str, Any] = {
    "num_concepts": RUNGS,
    "goal": Targets(SoftExam()),
    "replay": SMALL,
    "actor": ConceptActor(16, 2, 0),
    "discount": 1.0,
    "actor_rate": 5e-3,
    "critic_rate": 5e-3,
    "target_rate": 0.1,
    "shaping": ChainCredit(),
}


def net_ladder() -> KESSimulator:
    """Return a ladder as a growth tracer: practice counts as far as the rung below is mastered."""
    net = PerformanceFactorsNet(RUNGS)
    net.gate.attach(torch.tensor([[rung, rung + 1] for rung in range(RUNGS - 1)]))
    with torch.no_grad():
        net.ease.fill_(-2.0)
        net.growth.fill_(6.0)
        net.gate.weight.copy_(torch.tensor([8.0, 0.0]))
    return KESSimulator(net, "soft")


LADDER: dict[str, Any] = PLAIN | {"simulator": Ladder(RUNGS), "critic": PlainValue(16, 32, candidates=3)}
MODEL: dict[str, Any] = PLAIN | {"simulator": net_ladder(), "critic": ModelValue(candidates=3)}
AGENTS: dict[str, Callable[..., VectorAgent]] = {
    "sac": lambda **more: SAC(**(LADDER | {"noise": 0.8} | more)),
    "ddpg": lambda **more: DDPG(**(LADDER | {"exploration": 1.5} | more)),
    "td3": lambda **more: TD3(**(LADDER | {"exploration": 1.5} | more)),
    "sac_mve": lambda **more: SACwithMVE(**(MODEL | more)),
}


def made(name: str, **more: Any) -> VectorAgent:
    torch.manual_seed(0)
    agent = AGENTS[name](**more)
    if agent.potential is not None:
        agent.potential.ancestors.copy_(torch.ones(RUNGS, RUNGS).tril(-1).bool())
    return agent


@pytest.mark.parametrize("name", AGENTS)
def test_it_reaches_the_known_optimum(name: str) -> None:
    agent = fitted(made(name), epochs=15 if name != "sac_mve" else 6)
    assert path(agent) == list(range(RUNGS))
