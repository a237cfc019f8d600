"""Agents on a ladder keep the rules of methods: seeds, resumes bit for bit, checkpoints, steps, names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ladder_data import RUNGS, LadderData

from lpr_lightning.bases.off_policy import ReplaySettings
from lpr_lightning.bases.step_agent import StepAgent
from lpr_lightning.checks.method import check_checkpoint, check_global_step, check_logged_names, check_resume
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.models.discrete_sac import DiscreteSAC
from lpr_lightning.models.ppo import PPO
from lpr_lightning.models.rainbow import Rainbow
from lpr_lightning.models.trpo import TRPO
from lpr_lightning.nets.action_nets import ConceptNetwork
from lpr_lightning.nets.encoders import Session
from lpr_lightning.simulators.ladder import Ladder

COMMON: dict[str, Any] = {
    "num_concepts": RUNGS,
    "simulator": Ladder(RUNGS),
    "goal": Targets(SoftExam()),
    "net": ConceptNetwork(4, 2, 0),
}
REPLAY = ReplaySettings(capacity=40, batch_size=8, updates=2, n_step=2, priority=0.5, correction=0.4)
AGENTS: dict[str, type[StepAgent]] = {"rainbow": Rainbow, "discrete_sac": DiscreteSAC, "ppo": PPO, "trpo": TRPO}
SETTINGS: dict[str, dict[str, Any]] = {
    "rainbow": {"replay": REPLAY, "atoms": 5, "target_every": 2},  # the ring goes round within the fit
    "discrete_sac": {"replay": REPLAY, "entropy_share": 0.5, "encoder": Session(4, window=2)},
    "ppo": {"passes": 2, "encoder": Session(4, window=2)},
    "trpo": {"critic_steps": 1},
}


@pytest.mark.parametrize("name", AGENTS)
def test_it_keeps_the_rules_of_methods(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    agent = AGENTS[name](**COMMON, **SETTINGS[name])
    data = LadderData(rows=64, batch_size=16)
    for check in (check_resume, check_checkpoint, check_global_step, check_logged_names):
        check(agent, data, tmp_path / check.__name__)
