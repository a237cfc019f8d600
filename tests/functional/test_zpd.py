from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.zpd import (
    ZPDBands,
    concept_difficulty,
    estimate_zpd,
    isotonic,
    step_difficulty,
    zpd_alignment,
)
from lpr_lightning.types import Interactions


def random_log(seed: int) -> Interactions:
    generator = torch.Generator().manual_seed(seed)
    rows = 200
    concept = torch.randint(0, 8, (rows, 2), generator=generator, dtype=torch.int32)
    concept[:, 1].masked_fill_(torch.rand(rows, generator=generator) < 0.6, -1)
    return Interactions(
        offsets=torch.tensor([0, 120, rows]),
        learner=torch.arange(2),
        item=torch.arange(rows, dtype=torch.int32),
        concept=concept,
        correct=(torch.rand(rows, generator=generator) < 0.7).to(torch.uint8),
    )


@pytest.mark.parametrize("smoothing", [0.0, 5.0])
def test_difficulty_matches_loops(smoothing: float) -> None:
    log = random_log(0)
    rate = float((log.correct == 0).float().mean())
    expected = []
    for concept in range(10):
        answers = [
            1 - int(y)
            for row, y in zip(log.concept.tolist(), log.correct.tolist(), strict=True)
            for c in row
            if c == concept
        ]
        weight = len(answers) + smoothing
        expected.append((sum(answers) + smoothing * rate) / weight if weight else rate)
    torch.testing.assert_close(concept_difficulty(log, 10, smoothing), torch.tensor(expected))


def test_difficulty_of_an_empty_log_is_half() -> None:
    assert concept_difficulty(Interactions.from_lists([[]]), 3).tolist() == [0.5, 0.5, 0.5]


def test_unknown_concepts_are_refused() -> None:
    with pytest.raises(SettingError, match="num_concepts"):
        concept_difficulty(Interactions.from_lists([[(4, 1)]]), 4)


def test_a_step_is_as_hard_as_the_mean_of_its_concepts() -> None:
    generator = torch.Generator().manual_seed(3)
    difficulty = torch.rand(6, generator=generator)
    concept = torch.randint(-1, 6, (8, 5, 3), generator=generator)
    concept[0] = -1
    got, known = step_difficulty(concept, difficulty)
    for row, steps in enumerate(concept.tolist()):
        for place, concepts in enumerate(steps):
            rates = [float(difficulty[c]) for c in concepts if c >= 0]
            assert float(got[row, place]) == pytest.approx(np.mean(rates) if rates else 0.0)
            assert bool(known[row, place]) == bool(rates)


def test_alignment_matches_loops_and_ignores_padding() -> None:
    generator = torch.Generator().manual_seed(1)
    difficulty, centre = torch.rand(20, 5, generator=generator), torch.rand(20, generator=generator)
    mask, width = torch.rand(20, 5, generator=generator) < 0.4, torch.full((20,), 0.2)
    expected = []
    for row, steps in enumerate(difficulty.tolist()):
        kernels = [np.exp(-((d - float(centre[row])) ** 2) / (2 * 0.2**2)) for d, m in zip(steps, mask[row]) if m]
        expected.append(float(np.mean(kernels)) if kernels else 0.0)
    assert 0.0 in expected
    got = zpd_alignment(difficulty, mask, centre, width)
    torch.testing.assert_close(got, torch.tensor(expected))
    dirty = difficulty.masked_fill(~mask, torch.nan)
    torch.testing.assert_close(zpd_alignment(dirty, mask, centre, width), got)


def trajectories(seed: int, rows: int = 800) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Difficulty, mask, effect and proficiency: good paths of learners of proficiency a have a difficulty near a."""
    generator = torch.Generator().manual_seed(seed)
    proficiency = torch.rand(rows, generator=generator)
    difficulty = (proficiency[:, None] + 0.1 * torch.randn(rows, 6, generator=generator)).clamp(0, 1)
    mask = torch.arange(6) < torch.randint(0, 7, (rows, 1), generator=generator)
    effect = torch.where(torch.rand(rows, generator=generator) < 0.7, 0.95, 0.3)
    return difficulty.masked_fill(~mask, torch.nan), mask, effect, proficiency


def test_bands_match_loops() -> None:
    difficulty, mask, effect, proficiency = trajectories(2)
    bands = estimate_zpd(difficulty, mask, effect, proficiency)
    usable = [i for i in range(len(mask)) if mask[i].any()]
    edges = np.quantile(proficiency.double().numpy()[usable], np.arange(1, 10) / 10)
    np.testing.assert_allclose(bands.edges.numpy(), edges, rtol=1e-6)
    centres = []
    for number in range(10):
        good = [
            i
            for i in usable
            if effect[i] > 0.9 and int(np.searchsorted(edges, float(proficiency[i]), "right")) == number
        ]
        assert len(good) >= 30
        met = [value for i in good for value in difficulty[i][mask[i]].tolist()]
        centres.append(np.mean(met))
        assert bands.width[number].item() == pytest.approx(max(np.std(met), 0.05), abs=1e-5)
    assert centres == sorted(centres)
    np.testing.assert_allclose(bands.centre.numpy(), centres, rtol=1e-5)


def test_thin_bins_take_the_whole() -> None:
    difficulty, mask, effect, proficiency = trajectories(3)
    effect = torch.where(proficiency < 0.05, 0.2, effect)
    bands = estimate_zpd(difficulty, mask, effect, proficiency, bins=20, min_paths=20)
    assert (bands.centre[1:] >= bands.centre[:-1]).all()
    good = (effect > 0.9).nonzero().squeeze(1)
    met = difficulty[good][mask[good]]
    assert bands.width[0].item() == pytest.approx(met.std(correction=0).item(), abs=1e-5)
    assert bands.centre[0] <= bands.centre[2]


def test_few_good_paths_take_the_best_and_none_take_the_mean() -> None:
    difficulty, mask, _, proficiency = trajectories(4)
    effect = torch.linspace(-1, 0.8, len(mask))
    bands = estimate_zpd(difficulty, mask, effect, proficiency)
    usable = [i for i in range(len(mask)) if mask[i].any()][-30:]
    met = difficulty[usable][mask[usable]]
    torch.testing.assert_close(bands.centre, met.mean().expand(10))
    none = estimate_zpd(difficulty, mask, -effect.abs(), proficiency, centre_fallback=0.4)
    torch.testing.assert_close(none.centre, torch.full((10,), 0.4))
    torch.testing.assert_close(none.width, torch.full((10,), 0.1))


def test_one_step_alone_takes_the_fallback_width() -> None:
    bands = estimate_zpd(
        torch.tensor([[0.7, 0.1]]),
        torch.tensor([[True, False]]),
        torch.ones(1),
        torch.tensor([0.4]),
        bins=1,
        min_paths=1,
    )
    assert bands.edges.shape == (0,)
    assert bands.centre.tolist() == pytest.approx([0.7])
    assert bands.width.tolist() == pytest.approx([0.1])


def test_bands_are_looked_up_by_proficiency() -> None:
    bands = ZPDBands(torch.tensor([0.3, 0.6]), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.1, 0.2, 0.3]))
    centre, width = bands.at(torch.tensor([0.1, 0.3, 0.9]))
    assert centre.tolist() == [1.0, 2.0, 3.0]
    torch.testing.assert_close(width, torch.tensor([0.1, 0.2, 0.3]))


def slow_isotonic(value: list[float], weight: list[float]) -> list[float]:
    """The min-max formula: the greatest over starts of the least over ends of the weighted mean."""
    size = len(value)

    def mean(first: int, last: int) -> float:
        span = range(first, last + 1)
        return sum(value[i] * weight[i] for i in span) / sum(weight[i] for i in span)

    return [max(min(mean(first, last) for last in range(i, size)) for first in range(i + 1)) for i in range(size)]


def test_isotonic_matches_the_min_max_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        value, weight = torch.rand(2, 9, generator=generator, dtype=torch.float64)
        expected = torch.tensor(slow_isotonic(value.tolist(), weight.tolist()), dtype=torch.float64)
        torch.testing.assert_close(isotonic(value, weight), expected)


def test_isotonic_leaves_sorted_values() -> None:
    value = torch.tensor([0.1, 0.1, 0.4])
    assert torch.equal(isotonic(value, torch.ones(3)), value)


def test_a_path_is_good_above_the_threshold_only() -> None:
    difficulty, mask = torch.tensor([[0.2], [0.6]]), torch.ones(2, 1, dtype=torch.bool)
    bands = estimate_zpd(difficulty, mask, torch.tensor([0.5, 0.75]), torch.rand(2), bins=1, threshold=0.5, min_paths=1)
    assert bands.centre.tolist() == pytest.approx([0.6])
