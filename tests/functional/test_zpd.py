from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.zpd import ZPDBands, concept_difficulty, estimate_zpd, isotonic, zpd_alignment
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


def test_alignment_matches_loops_and_ignores_padding() -> None:
    generator = torch.Generator().manual_seed(1)
    path = torch.randint(0, 6, (20, 5), generator=generator)
    path = path.masked_fill(torch.arange(5) >= torch.randint(0, 6, (20, 1), generator=generator), -1)
    difficulty, centre, width = (
        torch.rand(6, generator=generator),
        torch.rand(20, generator=generator),
        torch.full((20,), 0.2),
    )
    expected = []
    for row, steps in enumerate(path.tolist()):
        kernels = [np.exp(-((float(difficulty[c]) - float(centre[row])) ** 2) / (2 * 0.2**2)) for c in steps if c >= 0]
        expected.append(float(np.mean(kernels)) if kernels else 0.0)
    got = zpd_alignment(path, difficulty, centre, width)
    torch.testing.assert_close(got, torch.tensor(expected))
    wide = torch.nn.functional.pad(path, (0, 3), value=-1)
    torch.testing.assert_close(zpd_alignment(wide, difficulty, centre, width), got)


def trajectories(seed: int, rows: int = 800) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Good paths of learners of proficiency a hold concepts of a difficulty near a."""
    generator = torch.Generator().manual_seed(seed)
    difficulty = torch.linspace(0, 1, 41)
    proficiency = torch.rand(rows, generator=generator)
    near = (proficiency[:, None] + 0.1 * torch.randn(rows, 6, generator=generator)).clamp(0, 1)
    path = (near * 40).round().long()
    path = path.masked_fill(torch.arange(6) >= torch.randint(0, 7, (rows, 1), generator=generator), -1)
    effect = torch.where(torch.rand(rows, generator=generator) < 0.7, 0.95, 0.3)
    return path, effect, proficiency, difficulty


def test_bands_match_loops() -> None:
    path, effect, proficiency, difficulty = trajectories(2)
    bands = estimate_zpd(path, effect, proficiency, difficulty)
    usable = [i for i in range(len(path)) if (path[i] >= 0).any()]
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
        met = [float(difficulty[c]) for i in good for c in path[i].tolist() if c >= 0]
        centres.append(np.mean(met))
        assert bands.width[number].item() == pytest.approx(max(np.std(met), 0.05), abs=1e-5)
    assert centres == sorted(centres)
    np.testing.assert_allclose(bands.centre.numpy(), centres, rtol=1e-5)


def test_thin_bins_take_the_whole() -> None:
    path, effect, proficiency, difficulty = trajectories(3)
    effect = torch.where(proficiency < 0.05, 0.2, effect)
    bands = estimate_zpd(path, effect, proficiency, difficulty, bins=20, min_paths=20)
    assert (bands.centre[1:] >= bands.centre[:-1]).all()
    good = (effect > 0.9).nonzero().squeeze(1)
    met = difficulty[path[good][path[good] >= 0]]
    assert bands.width[0].item() == pytest.approx(met.std(correction=0).item(), abs=1e-5)
    assert bands.centre[0] <= bands.centre[2]


def test_few_good_paths_take_the_best_and_none_take_the_mean() -> None:
    path, _, proficiency, difficulty = trajectories(4)
    effect = torch.linspace(-1, 0.8, len(path))
    bands = estimate_zpd(path, effect, proficiency, difficulty)
    usable = [i for i in range(len(path)) if (path[i] >= 0).any()][-30:]
    met = difficulty[path[usable][path[usable] >= 0]]
    torch.testing.assert_close(bands.centre, met.mean().expand(10))
    none = estimate_zpd(path, -effect.abs(), proficiency, difficulty)
    torch.testing.assert_close(none.centre, torch.full((10,), 0.5))
    torch.testing.assert_close(none.width, torch.full((10,), 0.1))


def test_one_step_alone_takes_the_fallback_width() -> None:
    bands = estimate_zpd(
        torch.tensor([[1, -1]]), torch.ones(1), torch.tensor([0.4]), torch.tensor([0.1, 0.7]), bins=1, min_paths=1
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
