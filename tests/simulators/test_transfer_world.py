"""Growth transfers along the graph, towards a ceiling, and prerequisites halve it at most."""

from __future__ import annotations

import math

import pytest
import torch

from lpr_lightning.simulators.transfer_world import TransferLearners, TransferWorld
from lpr_lightning.types import Exercise

TOPIC = TransferLearners(num_concepts=5, num_items=10, num_learners=3)  # one topic: 0 - 1 - 2 - 3 - 4


def test_a_step_by_hand() -> None:
    kind, ability = TOPIC.kind, TOPIC.difficulty + torch.tensor([[1.0, 0.0, -0.5, 3.5, 0.0]])
    after = TOPIC.practise((ability,), Exercise.of_concepts(torch.tensor([1])), torch.ones(1))[0] - ability
    gate = 1 - kind.gate * (1 - 1 / (1 + math.exp(-kind.steepness * 1.0)))
    moved = kind.rate * gate
    far, near = kind.transfer**3, kind.transfer
    left = [kind.ceiling - 1.0, kind.ceiling, kind.ceiling + 0.5, 0.0, kind.ceiling]
    expected = [moved * share * one for share, one in zip([near, 1.0, near, near**2, far], left)]
    assert after[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_wrong_answer_teaches_a_share_and_growth_shrinks_towards_the_ceiling() -> None:
    state, asked = (TOPIC.difficulty[None],), Exercise.of_concepts(torch.tensor([0]))
    right, wrong = (TOPIC.practise(state, asked, torch.tensor([one]))[0][0, 0] - state[0][0, 0] for one in (1.0, 0.0))
    assert float(wrong / right) == pytest.approx(TOPIC.kind.wrong_share, abs=1e-5)
    for _ in range(60):
        state = (TOPIC.practise(state, asked, torch.ones(1))[0],)
    assert float(state[0][0, 0]) == pytest.approx(float(TOPIC.difficulty[0]) + TOPIC.kind.ceiling, abs=1e-4)


def test_prerequisites_take_half_of_the_growth_at_most() -> None:
    ability = TOPIC.difficulty + torch.tensor([[20.0, 0, 0, 0, 0], [-20.0, 0, 0, 0, 0], [0.0, -20.0, 0, 0, 0]])
    gate = TOPIC.gate(ability, torch.tensor([1, 1, 0]))
    assert gate.tolist() == pytest.approx([1.0, 1 - TOPIC.kind.gate, 1.0], abs=1e-5)


def test_without_transfer_only_what_is_practised_grows() -> None:
    alone = TransferLearners(5, 10, 3, kind=TransferWorld(transfer=0.0))
    state = alone.begin(torch.arange(3))
    grown = alone.practise(state, Exercise.of_concepts(torch.tensor([2, 2, 2])), torch.ones(3))[0] > state[0]
    assert grown.tolist() == [[False, False, True, False, False]] * 3


def test_nothing_transfers_between_topics_that_no_edge_joins() -> None:
    wide = TransferLearners(num_concepts=30, num_items=30, num_learners=1)
    reached = torch.eye(30, dtype=torch.bool)
    for _ in range(30):
        reached |= (reached.float() @ (wide.needs | wide.needs.T).float()) > 0
    assert torch.equal(wide.share > 0, reached)
    assert torch.equal(wide.share, wide.share.T)
    edges = wide.share[wide.needs]
    torch.testing.assert_close(edges, torch.full_like(edges, wide.kind.transfer))
