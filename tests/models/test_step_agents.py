"""Agents that choose step by step reach the best path of a ladder, and lack the faults of released code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from ladder_data import RUNGS, Climbs, LadderData, fitted, path
from torch import Tensor, nn

from lpr_lightning.bases.off_policy import OffPolicyAgent, ReplaySettings
from lpr_lightning.bases.on_policy import OnPolicyAgent, Played
from lpr_lightning.bases.replay import Transitions
from lpr_lightning.bases.step_agent import StepAgent
from lpr_lightning.bases.value_agent import ValueAgent
from lpr_lightning.draws import Draws
from lpr_lightning.errors import NonFiniteError, SettingError
from lpr_lightning.functional.policy_gradient import divergence
from lpr_lightning.functional.schedules import LinearSchedule
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.models.actor_critic import ActorCritic
from lpr_lightning.models.c51 import C51
from lpr_lightning.models.cseal import CSEAL
from lpr_lightning.models.discrete_sac import DiscreteSAC
from lpr_lightning.models.dqn import DQN
from lpr_lightning.models.ppo import PPO
from lpr_lightning.models.rainbow import Rainbow
from lpr_lightning.models.trpo import TRPO
from lpr_lightning.nets.action_nets import ConceptNetwork, Observation
from lpr_lightning.nets.encoders import Session
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout

SMALL = ReplaySettings(batch_size=64, updates=6)
COMMON: dict[str, Any] = {
    "num_concepts": RUNGS,
    "simulator": Ladder(RUNGS),
    "goal": Targets(SoftExam()),
    "net": ConceptNetwork(16, 2, 0),
}
VALUES: dict[str, Any] = COMMON | {
    "exploration": LinearSchedule(1.0, 0.1, 20),
    "learning_rate": 1e-2,
    "target_every": 2,
    "replay": SMALL,
}
ATOMS: dict[str, Any] = VALUES | {"atoms": 11, "low": 0.0}
RATES: dict[str, Any] = {"learning_rate": 1e-2, "critic_learning_rate": 1e-2}
AGENTS: dict[str, Callable[..., StepAgent]] = {
    "dqn": lambda **more: DQN(**(VALUES | more)),
    "c51": lambda **more: C51(**(ATOMS | more)),
    "rainbow": lambda **more: Rainbow(
        **(ATOMS | {"replay": replace(SMALL, n_step=2, priority=0.5, correction=0.4, correction_batches=20)} | more)
    ),
    "discrete_sac": lambda **more: DiscreteSAC(
        **(COMMON | {"replay": SMALL, "temperature": 0.05, "learning_rate": 5e-3, "follow_rate": 0.1} | more)
    ),
    "ppo": lambda **more: PPO(**(COMMON | RATES | more)),
    "trpo": lambda **more: TRPO(**(COMMON | {"max_divergence": 0.05, "critic_learning_rate": 1e-2} | more)),
    "actor_critic": lambda **more: ActorCritic(**(COMMON | RATES | {"group_size": 8} | more)),
    "cseal": lambda **more: CSEAL(**(COMMON | RATES | {"group_size": 8, "encoder": Session(8, window=2)} | more)),
}
TOP = list(range(RUNGS))


def made(name: str, **more: Any) -> StepAgent:
    torch.manual_seed(0)
    return AGENTS[name](**more)


def observation(agent: StepAgent, rows: int = 4) -> Observation:
    generator = torch.Generator().manual_seed(0)
    goal = torch.zeros(rows, RUNGS, dtype=torch.bool)
    goal[:, -1] = True
    vector = torch.rand(rows, agent.sizes.vector, generator=generator)
    return Observation(vector, goal, torch.full((rows,), RUNGS), torch.full((rows, RUNGS), -1))


@pytest.mark.parametrize("name", AGENTS)
def test_it_reaches_the_known_optimum_and_every_weight_moves(name: str) -> None:
    agent = made(name)
    before = {key: weight.clone() for key, weight in agent.named_parameters() if weight.requires_grad}
    fitted(agent, epochs=10)
    assert path(agent) == TOP
    assert agent.trainer.global_step == 40
    now = dict(agent.named_parameters())
    assert not [key for key, weight in before.items() if torch.equal(weight, now[key])]


@pytest.mark.parametrize("name", ["dqn", "ppo"])
def test_answers_alone_are_enough_to_climb(name: str) -> None:
    agent = made(name, encoder=Session(8, window=2))
    before = {key: weight.clone() for key, weight in agent.encoder.named_parameters()}
    fitted(agent, epochs=10)
    assert path(agent) == TOP
    assert all(not torch.equal(weight, before[key]) for key, weight in agent.encoder.named_parameters())


@pytest.mark.parametrize("name", ["dqn", "c51", "rainbow"])
def test_the_action_of_one_row_changes_no_other_row(name: str) -> None:
    """ExRec's released critic ran the actions of the whole minibatch through every row."""
    agent = made(name)
    assert isinstance(agent, ValueAgent)
    seen = observation(agent)
    before = agent.values(agent.net, seen)
    other = seen._replace(taken=torch.tensor([*[[-1, -1, -1]] * 3, [2, 0, 1]]), vector=seen.vector.clone())
    other.vector[3] += 1
    after = agent.values(agent.net, other)
    assert torch.equal(before[:3], after[:3])
    assert not torch.allclose(before[3], after[3])


@pytest.mark.parametrize("name", AGENTS)
def test_it_explores_while_it_learns_and_not_when_it_is_judged(name: str) -> None:
    """ExRec's released agents learned from greedy episodes."""
    agent = made(name)
    request = Climbs(64).batch(torch.arange(64))
    if isinstance(agent, OffPolicyAgent):
        agent.explore(Draws.of(0, 0, torch.zeros(1, dtype=torch.int64)))
    taught, _ = agent.play(request)
    assert len(torch.unique(taught.action, dim=0)) > 1
    if isinstance(agent, OffPolicyAgent):
        agent.explore(None)
    judged = rollout(agent.simulator, agent.goal, request, agent)
    assert len(torch.unique(judged.action, dim=0)) == 1
    again = rollout(agent.simulator, agent.goal, request, agent)
    assert torch.equal(judged.action, again.action)


def test_noise_explores_without_any_epsilon() -> None:
    agent = made("rainbow", exploration=None)
    assert isinstance(agent, Rainbow)
    seen, values = observation(agent), []
    for step in range(2):
        agent.explore(Draws.of(0, step, torch.zeros(1, dtype=torch.int64)))
        values.append(agent.values(agent.net, seen))
    agent.explore(None)
    values.append(agent.values(agent.net, seen))
    assert not torch.allclose(values[0], values[1])
    assert not torch.allclose(values[1], values[2])


def test_twins_and_targets_differ() -> None:
    """ExRec's twin critics were copies of each other, so that the lesser of the two was either."""
    agent = made("discrete_sac")
    assert isinstance(agent, DiscreteSAC)
    first, second = (dict(critic.named_parameters()) for critic in agent.critics)
    assert all(not torch.equal(first[key], second[key]) for key in first if first[key].dim() > 1)
    fitted(agent, epochs=2)
    pairs = list(zip(agent.critics.parameters(), agent.targets.parameters(), strict=True))
    assert any(not torch.equal(one, other) for one, other in pairs)
    assert all(not other.requires_grad for _, other in pairs)


@pytest.mark.parametrize("name", ["dqn", "c51", "rainbow", "discrete_sac"])
def test_targets_take_the_next_state_and_nothing_behind_the_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ExRec's target combined the next state with the last one's cell and baseline."""
    agent = made(name)
    assert isinstance(agent, OffPolicyAgent)
    losses: list[Tensor] = []
    monkeypatch.setattr(agent, "descend_part", lambda name, loss: losses.append(loss.detach()))
    seen, rows = observation(agent), torch.arange(4)
    for moved, discount in ((0.0, 1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0)):
        later = seen._replace(vector=seen.vector + moved, left=seen.left - 1)
        torch.manual_seed(0)
        drawn = Transitions(
            rows, rows * 0, rows * 0 + 1, torch.full((4,), 0.1), torch.full((4,), discount), rows % RUNGS,
            torch.zeros(4, 0), torch.ones(4),
        )  # fmt: skip
        agent.update(drawn, seen, later, Draws.of(0, 0, torch.zeros(1, dtype=torch.int64)))
    critic = losses[::2] if name == "discrete_sac" else losses  # the actor's are between them
    assert not torch.allclose(critic[0], critic[1])
    assert torch.allclose(critic[2], critic[3], atol=1e-6)


@pytest.mark.parametrize("name", AGENTS)
def test_what_was_taken_can_be_masked(name: str) -> None:
    agent = made(name, repeats=False)
    taught, _ = agent.play(Climbs(64).batch(torch.arange(64)))
    assert all(sorted(row) == TOP for row in taught.action.tolist())
    seen = observation(agent)._replace(taken=torch.tensor([[0, -1, -1], [1, 2, -1], [-1, -1, -1], [0, 1, 2]]))
    allowed = agent.allowed(seen)
    assert allowed.tolist() == [[False, True, True], [True, False, False], [True] * 3, [True] * 3]
    if isinstance(agent, OnPolicyAgent | DiscreteSAC):
        chance = agent.log_prob(seen).exp()
        assert torch.equal(chance > 0, allowed)
        assert torch.allclose(chance.sum(1), torch.ones(4))
    action = agent.choose(seen, allowed, None).action
    assert bool(allowed.gather(1, action[:, None]).all())


def test_candidates_are_targets_or_what_they_build_on() -> None:
    goal = torch.tensor([[False, True, False], [False, False, False]])
    for candidates, wanted in (("targets", [False, True, False]), ("closure", [True, True, False])):
        agent = made("dqn", candidates=candidates)
        data = LadderData()
        data.prerequisites = torch.tensor([[0, 1], [1, 2]])
        fitted(agent, epochs=1, data=data, limit_train_batches=1)
        seen = observation(agent, 2)._replace(goal=goal)
        assert agent.allowed(seen).tolist() == [wanted, [True] * 3]  # where there would be none, all


def test_the_state_counts_the_steps_left_and_the_end_is_terminal() -> None:
    agent = made("dqn")
    taught, episodes = agent.play(Climbs(2).batch(torch.arange(2)))
    seen = agent.recalled(episodes, torch.arange(2), torch.arange(RUNGS + 1).expand(2, -1))
    assert seen.left.tolist() == [[3, 2, 1, 0]] * 2
    assert seen.taken[0, 2].tolist() == [*taught.action[0, :2].tolist(), -1]
    assert isinstance(agent, OffPolicyAgent)
    agent.replay.add(episodes)
    drawn = agent.replay.draw(64, Draws.of(0, 0, torch.arange(64)))
    assert torch.equal(drawn.discount == 0, drawn.place == RUNGS - 1)


@pytest.mark.parametrize("name", AGENTS)
def test_what_is_not_finite_is_refused(name: str) -> None:
    agent = made(name)
    for weight in agent.parameters():
        nn.init.constant_(weight, torch.nan)
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        rollout(agent.simulator, agent.goal, Climbs(2).batch(torch.arange(2)), agent)


def test_a_temperature_is_learned_towards_the_entropy() -> None:
    low, high = (made("discrete_sac", entropy_share=share) for share in (0.1, 0.99))
    for agent in (low, high):
        fitted(agent, epochs=2)
    assert isinstance(low, DiscreteSAC)
    assert isinstance(high, DiscreteSAC)
    assert float(low.log_temperature) < float(high.log_temperature)


def test_a_trust_region_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = made("trpo", max_divergence=0.003)
    assert isinstance(agent, TRPO)
    found: list[float] = []
    learn = agent.learn

    def watched(played: Played) -> dict[str, Tensor]:
        figures = learn(played)
        found.append(float(played.mean(divergence(played.old, agent.log_prob(played.recall()))).detach()))
        return figures

    monkeypatch.setattr(agent, "learn", watched)
    fitted(agent, epochs=2)
    assert max(found) <= 0.003 + 1e-6
    assert max(found) > 0.0005  # it does not stand still


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(SettingError, match="simulator"):
        DQN(3)
    with pytest.raises(SettingError, match="candidates"):
        made("dqn", candidates="some")
    with pytest.raises(SettingError, match="target_every"):
        made("dqn", target_every=0)
    with pytest.raises(SettingError, match="low"):
        made("c51", low=2.0)
    with pytest.raises(SettingError, match="clip"):
        made("ppo", clip=0.0)
    with pytest.raises(SettingError, match="shrink"):
        made("trpo", shrink=1.0)
    with pytest.raises(SettingError, match="entropy_share"):
        made("discrete_sac", entropy_share=1.5)
    with pytest.raises(SettingError, match="updates"):
        ReplaySettings(updates=0)
