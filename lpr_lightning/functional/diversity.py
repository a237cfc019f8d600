"""How different paths are from one another, and their steps within one path."""

from __future__ import annotations

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.types import PAD


def ngram_jaccard_diversity(path: Tensor, group_size: int, n: int = 2) -> Tensor:
    """Return 1 minus the mean Jaccard similarity of each path's n-grams to those of its group, [B * K] in [0, 1].

    IB-GRPO (arXiv 2601.14686), eq. 4 and 5, over the set of contiguous n-grams.

    Differs from the paper, which leaves it open:
        1. A path of fewer than n steps is described by its single steps; these equal no n-gram of a longer path.
        2. An empty path has diversity 0, and nothing in common with the others.
        3. A group of one has nothing to differ from: 0.

    Args:
        path: concepts or questions by number, [B * K, L] int64, -1 after each path's end; paths of a group stand side
            by side.
        group_size: K.
        n: length of the n-grams.

    Raises:
        SettingError: `n` is below 1, or the paths are not in groups of `group_size`.

    >>> ngram_jaccard_diversity(torch.tensor([[0, 1, 2], [0, 1, 3], [0, 1, 2]]), group_size=3)
    tensor([0.3333, 0.6667, 0.3333])
    """
    checked("n", n, 1)
    rows, steps = path.shape
    if group_size < 1 or rows % group_size:
        raise SettingError("group_size", group_size, f"a divisor of the number of paths, {rows}")
    result = torch.zeros(rows, device=path.device)
    if group_size == 1 or rows == 0 or steps == 0:
        return result
    seen_BKF = _feature_sets(path, group_size, n)
    shared = seen_BKF @ seen_BKF.transpose(1, 2)
    size = seen_BKF.sum(2)
    union = size[:, :, None] + size[:, None, :] - shared
    similarity = (shared / union.clamp_min(1)).masked_fill(_diagonal(group_size, path.device), 0.0)
    diversity = (1 - similarity.sum(2) / (group_size - 1)).flatten()
    return torch.where((path != PAD).any(1), diversity, 0.0)


def path_diversity(path: Tensor) -> Tensor:
    """Return the share of distinct steps in each path, [B] in [0, 1].

    IB-GRPO (arXiv 2601.14686), eq. 14. The paper divides by the L of fixed-length paths; here each path's own length
    counts, so that stopping early is not taken for repetition. 0 for an empty path.

    Args:
        path: concepts or questions by number, [B, L] int64, -1 after each path's end.

    >>> path_diversity(torch.tensor([[3, 3, 4, -1], [1, 2, 3, 4]]))
    tensor([0.6667, 1.0000])
    """
    length = (path != PAD).sum(1)
    if path.shape[1] == 0:
        return length.to(torch.get_default_dtype())
    ordered = path.sort(1).values
    fresh = torch.cat([torch.ones_like(ordered[:, :1], dtype=torch.bool), ordered[:, 1:] != ordered[:, :-1]], 1)
    distinct = (fresh & (ordered != PAD)).sum(1)
    return distinct / length.clamp_min(1)


def _diagonal(size: int, device: torch.device) -> Tensor:
    return torch.eye(size, dtype=torch.bool, device=device)


def _feature_sets(path: Tensor, group_size: int, n: int) -> Tensor:
    """Return which n-grams each path has, [B, K, F] of 0 and 1, F numbered anew in each group."""
    rows, steps = path.shape
    number = torch.arange(rows, device=path.device)
    length = (path != PAD).sum(1, keepdim=True)
    position = torch.arange(steps, device=path.device)
    short = length < n
    begins = position < torch.where(short, length, length - n + 1)
    padded = torch.nn.functional.pad(path, (0, n - 1), value=PAD)
    base = path.max() + 2
    code = (number // group_size)[:, None].expand(rows, steps)[begins]
    for offset in range(n):
        column = padded[:, offset : offset + steps]
        column = column if offset == 0 else column.masked_fill(short, PAD)
        code = torch.unique(code * base + column[begins] + 1, return_inverse=True)[1]
    owner = number[:, None].expand(rows, steps)[begins]
    group = owner // group_size
    first = torch.full((rows // group_size,), code.numel(), device=path.device).scatter_reduce(0, group, code, "amin")
    local = code - first[group]
    width = int(local.max()) + 1 if local.numel() else 0
    seen = torch.zeros(rows, width, device=path.device)
    seen[owner, local] = 1.0
    return seen.view(rows // group_size, group_size, width)
