"""Losses of SAC, DDPG and TD3 against loops, hand-computed cases and torchrl."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lpr_lightning.functional.continuous_control import (
    critic_loss,
    deterministic_target,
    smoothed,
    soft_actor_loss,
    soft_target,
    temperature_loss,
)


def test_losses_are_those_of_loops() -> None:
    rng = np.random.default_rng(0)
    value, following = rng.normal(size=(2, 6)), rng.normal(size=(2, 6))
    reward, log_prob, ended = rng.normal(size=6), rng.normal(size=6), np.array([0, 1, 0, 0, 1, 0], bool)
    soft, hard, actor, squared, temperature = [], [], 0.0, 0.0, 0.0
    for row in range(6):
        least = min(following[0, row], following[1, row])
        soft.append(reward[row] + (0.0 if ended[row] else 0.9 * (least - 0.3 * log_prob[row])))
        hard.append(reward[row] + (0.0 if ended[row] else 0.9 * least))
        actor += (0.3 * log_prob[row] - min(value[0, row], value[1, row])) / 6
        squared += ((value[0, row] - soft[row]) ** 2 + (value[1, row] - soft[row]) ** 2) / 6
        temperature += 1.2 * (log_prob[row] + 2.0) / 6
    own = {"reward": reward, "following": following, "log_prob": log_prob, "ended": ended, "value": value}
    of = {name: torch.from_numpy(one) for name, one in own.items()}
    discount = 0.9 * (1 - of["ended"].double())
    target = soft_target(of["reward"], of["following"], of["log_prob"], 0.3, discount)
    np.testing.assert_allclose(target, soft)
    np.testing.assert_allclose(deterministic_target(of["reward"], of["following"], discount), hard)
    assert float(critic_loss(of["value"], target)) == pytest.approx(squared)
    assert float(soft_actor_loss(of["value"], of["log_prob"], 0.3)) == pytest.approx(actor)
    assert float(temperature_loss(torch.tensor(-1.2), of["log_prob"], 2.0)) == pytest.approx(temperature)


def test_the_temperature_rises_where_entropy_is_short() -> None:
    log_temperature = torch.zeros((), requires_grad=True)
    loss = temperature_loss(log_temperature, torch.tensor([5.0]), wanted=-2.0)  # entropy -5, wanted -2
    assert float(torch.autograd.grad(loss, log_temperature)[0]) == -3.0  # descent raises it


def test_smoothing_moves_by_clipped_noise_and_stays_on_the_sphere() -> None:
    direction = torch.nn.functional.normalize(torch.randn(50, 400, generator=torch.Generator().manual_seed(0)), dim=1)
    noise = torch.randn(50, 400, generator=torch.Generator().manual_seed(1))
    moved = smoothed(direction, noise, 0.2, 0.5)
    assert torch.allclose(moved.norm(dim=1), torch.ones(50), atol=1e-5)
    assert float((moved - direction).norm(dim=1).mean()) == pytest.approx(0.2, abs=0.02)
    far = smoothed(direction, 100 * noise, 0.2, 0.5)  # clipped: a coordinate moves by 0.5 / 20
    assert float((far * direction).sum(1).min()) > 0.85


class OneNoise(torch.distributions.Normal):
    """A normal distribution whose samples are one deviation above the mean."""

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        return self.loc + self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        each = -0.5 * ((value - self.loc) / self.scale).square() - self.scale.log() - 0.5 * math.log(2 * math.pi)
        return each.sum(-1)


@pytest.mark.filterwarnings("ignore")
def test_sac_is_torchrls_on_the_same_tensors() -> None:
    torchrl = pytest.importorskip("torchrl.objectives", reason="torchrl is not installed")
    tensordict = pytest.importorskip("tensordict")
    modules = pytest.importorskip("torchrl.modules")
    torch.manual_seed(0)
    size, rows, temperature, gamma = 3, 7, 0.3, 0.9
    spread = nn.Sequential(nn.Linear(4, 2 * size), modules.NormalParamExtractor())
    actor = modules.ProbabilisticActor(
        tensordict.nn.TensorDictModule(spread, ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"],
        distribution_class=OneNoise,
        return_log_prob=True,
    )

    class Critic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4 + size, 1)

        def forward(self, observation: Tensor, action: Tensor) -> Tensor:
            value: Tensor = self.net(torch.cat([observation, action], -1))
            return value

    loss = torchrl.SACLoss(
        actor,
        [modules.ValueOperator(Critic(), in_keys=["observation", "action"]) for _ in range(2)],
        loss_function="l2",
        alpha_init=temperature,
        target_entropy=-float(size),
        num_qvalue_nets=2,
        separate_losses=False,
    )
    loss.make_value_estimator(torchrl.ValueEstimators.TD0, gamma=gamma)
    ended = torch.tensor([True, False, False, True, False, False, False])[:, None]
    observation, action, following = torch.randn(rows, 4), torch.randn(rows, size), torch.randn(rows, 4)
    reward = torch.randn(rows, 1)
    batch = tensordict.TensorDict(
        {
            "observation": observation,
            "action": action,
            "next": {"observation": following, "reward": reward, "done": ended, "terminated": ended},
        },
        [rows],
    )
    theirs = loss(batch)

    def chosen(at: Tensor) -> tuple[Tensor, Tensor]:
        location, scale = spread(at)
        distribution = OneNoise(location, scale)
        return distribution.rsample(), distribution.log_prob(distribution.rsample())

    def values(which: str, at: Tensor, taken: Tensor) -> Tensor:
        weights = getattr(loss, which)  # stacked over critics
        pair = torch.cat([at, taken], -1)
        weight, bias = (weights["module", "net", name].detach() for name in ("weight", "bias"))
        value: Tensor = (torch.einsum("cof,bf->cbo", weight, pair) + bias[:, None]).squeeze(-1)
        return value

    with torch.no_grad():
        later, later_log_prob = chosen(following)
        target = soft_target(
            reward[:, 0],
            values("target_qvalue_network_params", following, later),
            later_log_prob,
            temperature,
            gamma * (1 - ended[:, 0].float()),
        )
        now, log_prob = chosen(observation)
        ours = {
            "loss_qvalue": critic_loss(values("qvalue_network_params", observation, action), target),
            "loss_actor": soft_actor_loss(values("qvalue_network_params", observation, now), log_prob, temperature),
            "loss_alpha": temperature_loss(torch.tensor(temperature).log(), log_prob, -float(size)),
        }
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name].detach().squeeze(), value, rtol=1e-5, atol=1e-6)
