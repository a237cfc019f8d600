"""The potential of shaped rewards, against a loop and against what searches are guided by."""

from __future__ import annotations

import math

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.nets.chain_credit import ChainCredit
from lpr_lightning.policies import ChainValue, PrerequisiteGraph
from lpr_lightning.protocols import Environment
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.tensors import listed

EDGES = [(0, 1), (1, 2), (0, 3)]
ANCESTORS = [[], [0], [0, 1], [0]]


def test_it_is_the_credit_of_a_loop_and_of_searches() -> None:
    torch.manual_seed(0)
    mastery, goal = torch.rand(6, 4), torch.rand(6, 4) > 0.4
    goal[:, 0] = True
    potential = ChainCredit(credit=0.4, steepness=5.0, level=0.6).build(4)
    for concept, behind in enumerate(ANCESTORS):
        potential.ancestors[concept, behind] = True
    found = potential(mastery, goal)
    for row in range(6):
        parts = []
        for target in goal[row].nonzero().flatten().tolist():
            chain = math.prod(1 / (1 + math.exp(-5.0 * (float(mastery[row, a]) - 0.6))) for a in ANCESTORS[target])
            parts.append(0.4 * (1 - float(mastery[row, target])) * math.sqrt(chain))
        assert float(found[row]) == pytest.approx(sum(parts) / len(parts), abs=1e-6)
    value = ChainValue(credit=0.4, steepness=5.0, level=0.6, prerequisites=PrerequisiteGraph(EDGES))
    guide = value.guide(Environment(Ladder(4), Targets(SoftExam())), (mastery,), listed(goal))
    own = (mastery * goal).sum(1) / goal.sum(1)
    torch.testing.assert_close(found + own, guide, rtol=0, atol=1e-5)


def test_numbers_out_of_range_are_refused() -> None:
    for wrong in ({"credit": 1.5}, {"steepness": 0.0}, {"level": -0.1}):
        with pytest.raises(SettingError):
            ChainCredit(**wrong)
