"""Encoders: what is recalled is what was seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.goals import Targets
from lpr_lightning.models.dkt import DKT
from lpr_lightning.nets.encoders import Encoder, Privileged, Session, TracerState
from lpr_lightning.protocols import Environment
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.types import Interactions, PathRequest, State

N = 5


def request() -> PathRequest:
    log = Interactions.from_lists([[], [(0, 1)], [(2, 0), (1, 1), (2, 1), (4, 0)]])
    plain = Ladder(N).request([[0, 1], [4], [2]], 3)
    return replace(plain, history=log.batch(torch.arange(3)), learner=log.learner)


def episode(encoder: Encoder, simulator: KESSimulator) -> tuple[list[State], torch.Tensor]:
    """Return an encoder's states over three steps, the last row ending after one, and what it showed, [B, 4, S]."""
    environment = Environment(simulator, Targets())
    state, shown, states = encoder.begin(environment, request()), [], []
    for step, actions in enumerate(([1, 2, 3], [0, 0, -1], [4, 2, -1], None)):
        states.append(state)
        shown.append(encoder(state))
        if actions is not None:
            answer = torch.tensor([1.0, 0.3, float(step % 2)])
            state = encoder.see(environment, state, torch.tensor(actions), answer)
    return states, torch.stack(shown, 1)


@pytest.mark.parametrize("encoder", [TracerState(), TracerState(state=False), Session(6, 3), Session(6), Privileged()])
def test_recalled_is_seen(encoder: Encoder) -> None:
    torch.manual_seed(0)
    simulator = KESSimulator(DKT(N, 4, 6), "soft")
    encoder.configure(simulator)
    states, shown = episode(encoder, simulator)
    memory = encoder.remember(tuple(torch.stack(parts, 1) for parts in zip(*states)))
    assert all(len(part) == 3 for part in memory.once)
    assert all(part.shape[:2] == (3, 4) for part in memory.steps)
    rows, places = torch.tensor([2, 0, 1, 2]), torch.tensor([[0, 3], [1, 2], [3, 0], [1, 1]])
    recalled = encoder.recall(memory, rows, places)
    assert torch.allclose(recalled, shown[rows[:, None], places], atol=1e-6)
    assert recalled.shape[-1] == encoder.size >= encoder.channels * N
    assert torch.allclose(shown[2, 1], shown[2, 3])  # an ended row stays as it is


def test_a_session_is_of_todays_weights() -> None:
    torch.manual_seed(0)
    simulator = KESSimulator(DKT(N, 4, 6), "soft")
    encoder = Session(6)
    encoder.configure(simulator)
    states, _ = episode(encoder, simulator)
    memory = encoder.remember(tuple(torch.stack(parts, 1) for parts in zip(*states)))
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(0.1)
    _, today = episode(encoder, simulator)
    recalled = encoder.recall(memory, torch.arange(3), torch.arange(4).expand(3, -1))
    assert torch.allclose(recalled, today, atol=1e-6)
    gradients = torch.autograd.grad(recalled.sum(), list(encoder.parameters()))
    assert all(bool(gradient.abs().sum() > 0) for gradient in gradients)


def test_a_session_counts_answers() -> None:
    torch.manual_seed(0)
    simulator = KESSimulator(DKT(N, 4, 6), "soft")
    encoder = Session(6)
    encoder.configure(simulator)
    _, shown = episode(encoder, simulator)
    counts = shown[2, 1, : 2 * N].expm1().view(2, N)  # after 2 wrong, 1 right, 2 right, 4 wrong; 3 wrong
    assert counts.tolist() == [pytest.approx([0, 1, 1, 0, 0]), pytest.approx([0, 0, 1, 1, 1])]


def test_the_tracers_state_comes_back() -> None:
    torch.manual_seed(0)
    simulator = KESSimulator(DKT(N, 4, 6), "soft")
    encoder = TracerState(mastery=False)
    encoder.configure(simulator)
    environment = Environment(simulator, Targets())
    state = encoder.begin(environment, request())
    parts = encoder.state_of(state[0])
    assert all(torch.equal(one, other) for one, other in zip(parts, simulator.start(request()), strict=True))


def test_the_privileged_one_reads_mastery() -> None:
    ladder = Ladder(N)
    encoder = Privileged()
    encoder.configure(ladder)
    state = encoder.begin(Environment(ladder, Targets()), request())
    mastery = ladder.mastery(ladder.start(request())).clamp(0.01, 0.99)
    assert torch.allclose(encoder(state), mastery.logit() / 4.6)
    assert encoder.hparams == {}


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(SettingError, match="reads nothing"):
        TracerState(state=False, mastery=False)
    with pytest.raises(SettingError, match="answers"):
        TracerState(answers="ask")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="hidden_size"):
        Session(hidden_size=0)
