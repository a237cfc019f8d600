"""How tokens are averaged, against loops."""

from __future__ import annotations

import math

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.aggregation import Aggregation, aggregated, kl_to_reference


@pytest.mark.parametrize("how", ["grpo", "dapo", "dr_grpo"])
def test_matches_loops(how: Aggregation) -> None:
    generator = torch.Generator().manual_seed(0)
    loss = torch.randn(7, 4, generator=generator)
    mask = torch.arange(4) < torch.randint(0, 5, (7, 1), generator=generator)
    mask[0] = False
    paths = [[float(loss[r, t]) for t in range(4) if bool(mask[r, t])] for r in range(7)]
    real = [path for path in paths if path]
    everything = sum(sum(path) for path in real)
    expected = {
        "grpo": sum(sum(path) / len(path) for path in real) / len(real),
        "dapo": everything / sum(len(path) for path in real),
        "dr_grpo": everything / (len(real) * 9),
    }[how]
    total, count = aggregated(loss.masked_fill(~mask, torch.nan), mask, how, 9)
    assert float(total / count) == pytest.approx(expected, rel=1e-5)


def test_they_agree_on_paths_of_the_longest_length() -> None:
    loss, mask = torch.rand(5, 6), torch.ones(5, 6, dtype=torch.bool)
    one, two, three = (torch.div(*aggregated(loss, mask, how, 6)) for how in ("grpo", "dapo", "dr_grpo"))
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(one, three)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(SettingError, match="aggregation"):
        aggregated(torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), "mean", 1)  # type: ignore[arg-type]


def test_divergence_is_the_closed_form_in_expectation() -> None:
    """Summed over what can be sampled, weighted by its probability, it is the Kullback-Leibler divergence."""
    policy, reference = torch.tensor([0.2, 0.5, 0.3]), torch.tensor([0.4, 0.4, 0.2])
    expected = sum(p * math.log(p / q) for p, q in zip(policy.tolist(), reference.tolist()))
    assert float((policy * kl_to_reference(policy.log(), reference.log())).sum()) == pytest.approx(expected, rel=1e-5)
    assert (kl_to_reference(policy.log(), reference.log()) > 0).all()
