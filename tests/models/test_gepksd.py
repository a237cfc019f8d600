"""GEPKSD learns as one that knows the learner, and ends as one that does not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ladder_data import RUNGS, Climbs, LadderData, fitted, path
from torch import nn

from lpr_lightning.errors import SettingError
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.models.gepksd import GEPKSD
from lpr_lightning.nets.action_nets import ConceptNetwork
from lpr_lightning.nets.encoders import Privileged, Session
from lpr_lightning.protocols import Environment
from lpr_lightning.simulators.ladder import Ladder

CLIMB: dict[str, Any] = {
    "num_concepts": RUNGS,
    "simulator": Ladder(RUNGS),
    "goal": Targets(SoftExam()),
    "net": ConceptNetwork(16, 2, 0),
    "encoder": Session(8, window=2),
    "group_size": 8,
    "learning_rate": 1e-2,
    "critic_learning_rate": 1e-2,
}


def made(**more: Any) -> GEPKSD:
    torch.manual_seed(0)
    return GEPKSD(**(CLIMB | more))


def weights(agent: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in agent.named_parameters()}


def test_the_student_reaches_the_known_optimum_and_every_weight_moves() -> None:
    agent = made(teacher_epochs=5)
    before = weights(agent)
    fitted(agent, 14)
    assert agent.stage_number == 1
    assert path(agent) == [0, 1, 2]
    assert not [name for name, weight in weights(agent).items() if torch.equal(weight, before[name])]


def test_only_the_teacher_stage_moves_what_reads_the_mastery() -> None:
    agent = made(teacher_epochs=1)
    first = weights(fitted(agent, 2, limit_train_batches=1))  # an epoch of each stage
    again = made(teacher_epochs=1)
    fitted(again, 3, limit_train_batches=1)
    after = weights(again)
    moved = {
        name.split(".")[1] for name in after if name.startswith("codes.") and not torch.equal(after[name], first[name])
    }
    assert moved == {"of_answers"}


def test_a_fitted_agent_looks_into_no_learner(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = made(teacher_epochs=1)
    fitted(agent, 2)
    expected = path(agent)

    def looked(*_: object) -> None:
        raise AssertionError("it looks")

    monkeypatch.setattr(Privileged, "begin", looked)
    monkeypatch.setattr(Privileged, "see", looked)
    assert path(agent) == expected
    agent.train()
    with pytest.raises(AssertionError, match="it looks"):
        agent.begin(Environment(agent.simulator, agent.goal), Climbs(1).batch(torch.arange(1)))


def test_codes_of_answers_come_near_to_those_of_the_mastery() -> None:
    distances = {}
    for weight in (0.0, 1.0):
        agent = made(teacher_epochs=1, distil_weight=weight)
        fitted(agent, 12, LadderData())
        agent.train()
        _, episodes = agent.play(Climbs(16).batch(torch.arange(16)))
        place = torch.arange(RUNGS).expand(16, -1)
        seen = agent.recalled(episodes, torch.arange(16), place)
        z = agent.codes.z(seen)
        distances[weight] = float(agent.codes.distance(seen).mean() / z.var())
    assert distances[1.0] < distances[0.0] / 20


@pytest.mark.parametrize(("name", "value"), [("teacher_epochs", 0), ("code_size", 0), ("distil_weight", -1.0)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(SettingError, match=name):
        made(**{name: value})
