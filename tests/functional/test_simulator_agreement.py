"""Agreement of simulators, against ranks counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lpr_lightning.functional.simulator_agreement import mean_agreement, simulator_agreement


def ranks(values: list[float]) -> list[float]:
    return [sum(one < value for one in values) + (values.count(value) - 1) / 2 for value in values]


def test_matches_ranks_counted_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    gain = torch.randint(5, (3, 8, 10), generator=generator).float()
    gain[1, 2] = 1.0  # a learner whose paths one simulator does not tell apart
    found = simulator_agreement(gain)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        values = [
            np.corrcoef(ranks(gain[first, row].tolist()), ranks(gain[second, row].tolist()))[0, 1]
            for row in range(8)
            if not (row == 2 and 1 in (first, second))
        ]
        assert float(found[first, second]) == pytest.approx(np.mean(values), abs=1e-6)
        assert found[first, second] == found[second, first]


def test_by_hand() -> None:
    """Opposite orders disagree wholly; the mean is over the others only."""
    up, down = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])
    found = simulator_agreement(torch.stack([up, down, 10 * up]))
    assert found.tolist() == [[1, -1, 1], [-1, 1, -1], [1, -1, 1]]
    assert mean_agreement(found).tolist() == [0, -1, 0]


def test_alone_there_is_nobody_to_agree_with() -> None:
    assert bool(mean_agreement(simulator_agreement(torch.rand(1, 4, 5))).isnan().all())
