from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.diversity import ngram_jaccard_diversity, path_diversity


def random_paths(rows: int, steps: int, concepts: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    path = torch.randint(0, concepts, (rows, steps), generator=generator)
    length = torch.randint(0, steps + 1, (rows, 1), generator=generator)
    return path.masked_fill(torch.arange(steps) >= length, -1)


def features(path: list[int], n: int) -> set[tuple[int, ...]]:
    path = [concept for concept in path if concept >= 0]
    n = n if len(path) >= n else 1
    return {tuple(path[start : start + n]) for start in range(len(path) - n + 1)}


def slow_diversity(path: Tensor, group_size: int, n: int) -> list[float]:
    sets = [features(row, n) for row in path.tolist()]
    result = []
    for index, own in enumerate(sets):
        first = index // group_size * group_size
        others = [sets[j] for j in range(first, first + group_size) if j != index]
        if not own or not others:
            result.append(0.0)
            continue
        result.append(1 - sum(len(own & other) / len(own | other) for other in others) / len(others))
    return result


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("group_size", [1, 2, 6])
@pytest.mark.parametrize("concepts", [3, 50])
def test_matches_sets(n: int, group_size: int, concepts: int) -> None:
    path = random_paths(24, 7, concepts, seed=n)
    expected = torch.tensor(slow_diversity(path, group_size, n))
    torch.testing.assert_close(ngram_jaccard_diversity(path, group_size, n), expected)


def test_hand_computed_group() -> None:
    path = torch.tensor([[0, 1, 2], [0, 1, 0], [1, -1, -1], [-1, -1, -1]])
    shared = (1 / 3 + 0 + 0) / 3
    torch.testing.assert_close(ngram_jaccard_diversity(path, 4), torch.tensor([1 - shared, 1 - shared, 1.0, 0.0]))


def test_equal_paths_have_none_and_groups_do_not_mix() -> None:
    path = torch.tensor([[1, 2, 3], [1, 2, 3], [4, 5, 6], [4, 6, 5]])
    assert ngram_jaccard_diversity(path, 2).tolist() == [0.0, 0.0, 1.0, 1.0]


def test_padding_changes_nothing() -> None:
    path = random_paths(12, 5, 4, seed=9)
    wide = torch.nn.functional.pad(path, (0, 4), value=-1)
    assert torch.equal(ngram_jaccard_diversity(path, 4), ngram_jaccard_diversity(wide, 4))
    assert torch.equal(path_diversity(path), path_diversity(wide))


def test_many_concepts_and_long_ngrams_do_not_overflow() -> None:
    path = random_paths(8, 12, 2_000_000_000, seed=2)
    torch.testing.assert_close(
        ngram_jaccard_diversity(path, 4, n=9), torch.tensor(slow_diversity(path, 4, 9)), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("path", [torch.empty(0, 3, dtype=torch.int64), torch.empty(4, 0, dtype=torch.int64)])
def test_nothing_in_gives_zeros(path: Tensor) -> None:
    assert ngram_jaccard_diversity(path, 2).tolist() == [0.0] * len(path)
    assert path_diversity(path).tolist() == [0.0] * len(path)


def test_path_diversity_matches_sets() -> None:
    path = random_paths(50, 8, 4, seed=3)
    expected = []
    for row in path.tolist():
        real = [concept for concept in row if concept >= 0]
        expected.append(len(set(real)) / len(real) if real else 0.0)
    torch.testing.assert_close(path_diversity(path), torch.tensor(expected))


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(SettingError, match="group_size"):
        ngram_jaccard_diversity(torch.zeros(5, 2, dtype=torch.int64), 2)
    with pytest.raises(SettingError, match="n=0"):
        ngram_jaccard_diversity(torch.zeros(4, 2, dtype=torch.int64), 2, n=0)
