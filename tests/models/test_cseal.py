"""CSEAL takes what is near the last step and leads to a target, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ladder_data import LadderData, fitted, path

from lpr_lightning.errors import SettingError
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.models.cseal import CSEAL
from lpr_lightning.nets.action_nets import ConceptNetwork, Observation
from lpr_lightning.nets.encoders import Session
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout

RUNGS = 8


def navigator(hops: int, edges: list[tuple[int, int]]) -> CSEAL:
    """Return an agent that has seen its data's prerequisites."""
    data = LadderData(8, 8, RUNGS)
    data.prerequisites = torch.tensor(edges, dtype=torch.int64).view(-1, 2)
    settings: dict[str, Any] = {"net": ConceptNetwork(8, 2, 1), "encoder": Session(4, window=2), "hops": hops}
    agent = fitted(CSEAL(RUNGS, Ladder(RUNGS), **settings), 1, data)
    assert isinstance(agent, CSEAL)
    return agent


def candidates(agent: CSEAL, taken: list[int], goal: list[int]) -> list[int]:
    """Return what may follow these steps."""
    wanted = torch.zeros(1, RUNGS, dtype=torch.bool)
    wanted[0, goal] = True
    steps = torch.tensor([[*taken, *[-1] * (5 - len(taken))]])
    seen = Observation(torch.zeros(1, agent.sizes.vector), wanted, torch.tensor([5 - len(taken)]), steps)
    return agent.allowed(seen)[0].nonzero().flatten().tolist()


CHAIN = [(number, number + 1) for number in range(RUNGS - 2)]  # 0 to 6; nothing is known of 7


def test_only_neighbours_that_lead_to_a_target_may_follow() -> None:
    agent = navigator(2, CHAIN)
    assert candidates(agent, [], [5]) == [0, 1, 2, 3, 4, 5]  # 6 and 7 lead nowhere
    assert candidates(agent, [3], [5]) == [1, 2, 3, 4, 5]
    assert candidates(agent, [0], [5]) == [0, 1, 5]  # the target itself, however far
    assert candidates(agent, [0, 2], [2]) == [0, 1, 2]  # the last step counts
    assert candidates(navigator(1, CHAIN), [4], [5]) == [3, 4, 5]


def test_targets_apart_from_each_other_stay_within_reach() -> None:
    agent = navigator(2, CHAIN)
    assert candidates(agent, [2], [2, 7]) == [0, 1, 2, 7]
    assert candidates(agent, [7], [7]) == [7]


def test_episodes_are_played_within_the_neighbourhoods() -> None:
    agent = navigator(1, CHAIN)
    request = Ladder(RUNGS).request([[6]] * 64, 6)
    agent.train()
    taught, _ = agent.play(request)
    assert len(torch.unique(taught.action, dim=0)) > 1
    for before, after in zip(taught.action[:, :-1].flatten().tolist(), taught.action[:, 1:].flatten().tolist()):
        assert after == 6 or after in (before - 1, before, before + 1)
    judged = rollout(agent.simulator, agent.goal, request, agent.eval())
    assert bool((judged.action >= 0).all())


def test_it_climbs_along_the_prerequisites_of_the_ladder() -> None:
    data = LadderData()
    data.prerequisites = torch.tensor([[0, 1], [1, 2]])
    torch.manual_seed(0)
    rates: dict[str, Any] = {"learning_rate": 1e-2, "critic_learning_rate": 1e-2, "group_size": 8}
    own: dict[str, Any] = {"net": ConceptNetwork(16, 2, 1), "encoder": Session(8, window=2), "hops": 1}
    agent = fitted(CSEAL(3, Ladder(3), Targets(SoftExam()), **rates, **own), 10, data)
    assert path(agent) == [0, 1, 2]


def test_without_prerequisites_nothing_is_excluded() -> None:
    assert candidates(navigator(2, []), [3], [5]) == list(range(RUNGS))


def test_hops_below_zero_are_refused() -> None:
    with pytest.raises(SettingError, match="hops"):
        CSEAL(RUNGS, Ladder(RUNGS), hops=-1)
