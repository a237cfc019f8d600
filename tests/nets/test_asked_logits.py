"""The output layer computes what is asked for, the same as the whole layer would."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.nets.asked_logits import asked_logits


def parts(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((600, 4), (7, 4), (7,))
    hidden, weight, bias = (torch.randn(*s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes)
    return hidden, weight, bias


def concepts(several: int) -> Tensor:
    concept = torch.randint(7, (600, several), generator=torch.Generator().manual_seed(1))
    concept[:, 1:][torch.rand(600, several - 1, generator=torch.Generator().manual_seed(2)) < 0.5] = -1
    return concept


@pytest.mark.parametrize("several", [1, 3, 40])
def test_numbers_and_gradients_equal_those_of_the_whole_layer(several: int) -> None:
    hidden, weight, bias = parts()
    concept = concepts(several)
    known = concept >= 0
    whole = F.linear(hidden, weight, bias).gather(1, concept.clamp_min(0))
    plain = (whole * known).sum(1) / known.sum(1)
    ours = asked_logits(hidden, weight, bias, concept)
    torch.testing.assert_close(ours, plain)
    gradients = [torch.autograd.grad(result.sin().sum(), [hidden, weight, bias]) for result in (ours, plain)]
    torch.testing.assert_close(gradients[0], gradients[1])
    with torch.no_grad():
        torch.testing.assert_close(asked_logits(hidden, weight, bias, concept), plain)


def test_without_any_concept_the_logit_is_zero() -> None:
    hidden, weight, bias = parts()
    logit = asked_logits(hidden[:2], weight, bias, torch.tensor([[-1, -1], [3, -1]]))
    assert float(logit[0].detach()) == 0
    assert float(logit[1].detach()) != 0


def test_dropout_keeps_its_share_and_the_mean_and_drops_the_same_on_the_way_back() -> None:
    torch.manual_seed(0)
    hidden = torch.ones(4000, 50, requires_grad=True)
    weight = torch.ones(3, 50, requires_grad=True)
    logit = asked_logits(hidden, weight, torch.zeros(3), torch.zeros(4000, 1, dtype=torch.int64), 0.3)
    d_hidden, d_weight = torch.autograd.grad(logit.sum(), [hidden, weight])
    assert float((d_hidden == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(logit.detach().mean()) == pytest.approx(50, rel=0.01)
    torch.testing.assert_close(d_hidden.sum(1), logit.detach())
    torch.testing.assert_close(d_weight[0], d_hidden.sum(0), rtol=1e-3, atol=0.0)


def test_dropout_repeats_with_the_seed() -> None:
    hidden, weight, bias = parts()
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(asked_logits(hidden, weight, bias, concepts(1), 0.5).detach())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_nothing_asked_is_nothing_answered() -> None:
    hidden, weight, bias = parts()
    for several in (1, 2):
        none = asked_logits(hidden[:0], weight, bias, torch.zeros(0, several, dtype=torch.int64))
        assert none.shape == (0,)
        torch.autograd.backward(none.sum())
