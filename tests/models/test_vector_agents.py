"""Agents that act by vectors reach known best paths, and lack the faults of released code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ladder_data import RUNGS, Climbs, fitted, path

from lpr_lightning.bases.off_policy import ReplaySettings
from lpr_lightning.bases.replay import Transitions
from lpr_lightning.bases.step_agent import KNOWN
from lpr_lightning.bases.vector_agent import VectorAgent
from lpr_lightning.draws import Draws
from lpr_lightning.errors import NonFiniteError, SettingError
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.models.calibrated_dkt import CalibratedDKT
from lpr_lightning.models.ddpg import DDPG
from lpr_lightning.models.sac import SAC
from lpr_lightning.models.sac_mve import SACwithMVE
from lpr_lightning.models.td3 import TD3
from lpr_lightning.nets.action_nets import Observation
from lpr_lightning.nets.chain_credit import ChainCredit
from lpr_lightning.nets.encoders import Session, TracerState
from lpr_lightning.nets.performance_factors import PerformanceFactorsNet
from lpr_lightning.nets.sphere_actors import ConceptActor, PlainActor, Situation
from lpr_lightning.nets.vector_critics import ModelValue, PlainValue
from lpr_lightning.objectives.step_rewards import AttainableGain
from lpr_lightning.protocols import Environment
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import Rollout

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
    "ddpg": lambda **more: DDPG(**(LADDER | {"exploration": 2.0, "actor_rate": 1e-3, "target_rate": 0.05} | more)),
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
    agent = fitted(made(name), epochs={"sac_mve": 6, "ddpg": 20}.get(name, 15))
    assert path(agent) == list(range(RUNGS))


def played(agent: VectorAgent) -> tuple[Transitions, Observation, Observation]:
    """Return steps drawn from episodes that the agent played, and what was seen before and after them."""
    agent.replay.add(agent.play(Climbs(32).batch(torch.arange(32)))[1])
    drawn = agent.replay.draw(24, Draws.of(0, 0, torch.arange(24)), 1, agent.discount, 0.0)
    both = agent.recalled(agent.replay.episodes, drawn.episode, torch.stack([drawn.place, drawn.end], 1))
    seen, later = (Observation(*(part[:, which] for part in both)) for which in (0, 1))
    return drawn, seen, later


@pytest.mark.parametrize("name", AGENTS)
def test_the_value_of_a_row_is_its_own(name: str) -> None:
    agent = made(name)
    drawn, seen, later = played(agent)
    at, _ = agent.situations(drawn, seen, later)
    vector = agent.taken_vector(drawn.action)
    other = torch.cat([vector[:-1], -vector[-1:]])
    before, after = agent.critics(at, vector), agent.critics(at, other)
    assert torch.equal(before[:, :-1], after[:, :-1])


@pytest.mark.parametrize("name", AGENTS)
def test_targets_take_the_next_state_and_nothing_behind_the_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = made(name)
    drawn, seen, later = played(agent)
    asked: list[tuple[Any, torch.Tensor]] = []
    wanted: list[torch.Tensor] = []
    agent.target.register_forward_hook(lambda net, of, value: asked.append((of[0], value)))
    agent.critics.register_forward_hook(lambda net, of, value: wanted.append(value))

    def descend(part: str, loss: torch.Tensor, retain_graph: bool = False) -> None:
        if part == "critic":
            wanted.append(loss.detach())

    monkeypatch.setattr(agent, "descend_part", descend)
    agent.update(drawn, seen, later, Draws.of(0, 0, torch.zeros(1, dtype=torch.int64)))
    at, value = asked[0]
    assert torch.equal(at.seen.left, seen.left - 1)  # the state one step later, with its own steps left
    assert torch.equal(at.seen.vector, later.vector)
    if agent.model_based:
        own = [one.learner for one in agent.situations(drawn, seen, later)]
        assert all(torch.equal(one, other) for one, other in zip(at.learner, own[1]))
        assert any(not torch.equal(one, other) for one, other in zip(at.learner, own[0]))
    last = seen.left == 1
    assert bool(last.any())
    assert bool((drawn.discount[last] == 0).all())
    assert bool((drawn.discount[~last] == agent.discount).all())
    if name in ("ddpg", "td3"):  # the loss is that of reward + discount * least of the target critics' values
        target = drawn.reward + drawn.discount * value.amin(0)
        torch.testing.assert_close(wanted[1], (wanted[0] - target).square().mean(1).sum().detach())


@pytest.mark.parametrize("name", AGENTS)
def test_exploration_is_on_in_training_and_off_elsewhere(name: str) -> None:
    agent = made(name)
    seen = played(agent)[1]
    allowed = torch.ones(len(seen.left), RUNGS, dtype=torch.bool)
    quiet = [agent.choose(seen, allowed, None).action for _ in range(2)]
    noisy = [agent.choose(seen, allowed, Draws.of(0, step, torch.arange(len(seen.left)))).action for step in (0, 1)]
    assert torch.equal(*quiet)
    assert not torch.equal(*noisy)


@pytest.mark.parametrize("name", ["sac", "td3", "sac_mve"])
def test_twins_differ_before_and_after_training(name: str) -> None:
    agent = made(name)
    for _ in range(2):
        first, second = (torch.cat([weight.flatten() for weight in one.parameters()]) for one in agent.critics)
        assert not torch.allclose(first, second, atol=1e-4)
        fitted(agent, epochs=1)


def test_a_transition_takes_less_than_3_kilobytes() -> None:
    """At the paper's sizes: a state of 2 x 300, 1,377 concepts, 7,652 questions of 768 numbers."""
    tracer = CalibratedDKT(1377, 7652, embedding_size=768, hidden_size=300, head_size=8)
    tracer.net.table.attach(torch.arange(7652)[:, None] % 1377)
    bank = QuestionActions(7652)
    bank.item_concepts = tracer.net.table.item_concepts
    agent = SAC(
        1377,
        KESSimulator(tracer, "bernoulli", actions=bank),
        encoder=TracerState(mastery=False),
        actor=PlainActor(8, 8),
        critic=PlainValue(8, 8),
        replay=ReplaySettings(capacity=8),
    )
    request = Ladder(1377).request([[3]] * 8, 10)
    agent.replay.add(agent.play(request)[1])
    assert agent.replay.nbytes / 80 < 3000


def test_non_finite_actions_are_refused() -> None:
    agent = made("sac")
    with torch.no_grad():
        next(agent.actor.parameters()).fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="an action"):
        agent.play(Climbs(2).batch(torch.arange(2)))


def test_exercises_that_were_asked_can_be_masked() -> None:
    agent = made("sac_mve", repeats=False)
    taught: Rollout = agent.play(Climbs(8).batch(torch.arange(8)))[0]
    assert all(len(set(row)) == RUNGS for row in taught.action.tolist())
    drawn, seen, later = played(agent)
    at, after = agent.situations(drawn, seen, later)
    assert at.allowed is not None
    assert after.allowed is not None
    nearest = agent.nearest(torch.randn(len(seen.left), RUNGS), after)
    going = later.left > 0
    assert bool(after.allowed.gather(1, nearest[:, None])[going].all())
    assert not bool((nearest == drawn.action)[going].any())
    assert bool(agent.critics(at, torch.randn(len(seen.left), RUNGS), climbing=True).isfinite().all())


@pytest.mark.parametrize("name", AGENTS)
def test_shaped_rewards_add_up_to_the_plain_ones(name: str) -> None:
    """With gamma 1 a potential that ends at 0 takes what it was at the start from every return, whatever was done."""
    agent, plain = made(name), made(name, shaping=None)
    taught = agent.play(Climbs(16).batch(torch.arange(16)))[0]
    rows = torch.arange(16)
    shaped, unshaped = (one.remembered(taught, rows).reward.sum(1) for one in (agent, plain))
    taken = shaped - unshaped
    torch.testing.assert_close(taken, taken[:1].expand(16))  # all start alike
    assert float(taken[0]) < 0


@pytest.mark.parametrize("name", ["sac", "sac_mve"])
def test_outside_training_critics_choose_among_the_nearest(name: str) -> None:
    agent = made(name, refined=RUNGS)
    seen = played(agent)[1]
    request = Climbs(1).batch(torch.arange(1))
    taught = agent.teach(request)
    with torch.no_grad():
        environment = Environment(agent.simulator, agent.goal)
        state, concept = agent.begin(environment, request), torch.tensor([[RUNGS - 1]])
        for action in taught.action[0]:
            encoder = agent.encoder
            assert isinstance(encoder, TracerState)
            at = Situation(agent.seen(state, concept), encoder.state_of(state[KNOWN]), concept).repeat(RUNGS)
            value = agent.critics(at, torch.eye(RUNGS)).amin(0)
            assert int(value.argmax()) == int(action)
            state = agent.see(environment, state, action[None], taught.response[0][:1])
    noisy = agent.choose(seen, torch.ones(len(seen.left), RUNGS, dtype=torch.bool), Draws.of(0, 0, seen.left)).action
    assert len(set(noisy.tolist())) > 1


def test_a_model_based_critic_says_what_it_needs() -> None:
    with pytest.raises(SettingError, match="network can be copied"):
        SACwithMVE(RUNGS, Ladder(RUNGS))
    with pytest.raises(SettingError, match="MeanGain"):
        SACwithMVE(RUNGS, net_ladder(), reward=AttainableGain())
    with pytest.raises(SettingError, match="TracerState"):
        SACwithMVE(RUNGS, net_ladder(), encoder=Session())
    with pytest.raises(SettingError, match="simulator"):
        TD3(RUNGS)


def test_a_longer_expansion_climbs_too() -> None:
    agent = fitted(made("sac_mve", critic=ModelValue(horizon=2, candidates=3)), epochs=3)
    assert path(agent) == list(range(RUNGS))
