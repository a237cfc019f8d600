"""Files of what a language model said offline: labels of mastery, and relations between concepts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lpr_lightning.errors import DataError, MissingFileError, SettingError
from lpr_lightning.types import InteractionBatch, TensorData

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".parquet", ".jsonl", ".csv")
_FAR = 2**32


@dataclass(frozen=True)
class MasteryLabels(TensorData):
    """How well learners master concepts at some time, as somebody judged it, L labels.

    `learner` [L] int64: number in the data set; `step` [L] int64: answers that had been given, from 1 on; `concept` [L]
    int64; `mastery` and `confidence` [L] in [0, 1].
    """

    learner: Tensor
    step: Tensor
    concept: Tensor
    mastery: Tensor
    confidence: Tensor

    def __len__(self) -> int:
        return self.learner.shape[0]

    def ordered(self) -> MasteryLabels:
        """Return the labels by learner, step and concept."""
        _, order = torch.unique(torch.stack([self.learner, self.step, self.concept], 1), dim=0, return_inverse=True)
        return self.select(order.argsort(stable=True))

    def within(self, batch: InteractionBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Return which labels belong to states within rows of a batch, for ordered labels.

        A row has states after one of its answers and before its last one: after the last nothing is predicted there.

        Returns:
            The label's number, its row, and how many of the row's answers lie before it, [M] int64 each.

        >>> from lpr_lightning.types import Interactions
        >>> one, batch = torch.ones(2), Interactions.from_lists([[(0, 1)] * 3, [(0, 1)] * 4]).batch(torch.arange(2))
        >>> labels = MasteryLabels(torch.tensor([1, 1]), torch.tensor([3, 4]), torch.tensor([0, 0]), one, one)
        >>> labels.within(batch)
        (tensor([0]), tensor([1]), tensor([3]))
        """
        first = torch.zeros_like(batch.learner) if batch.start is None else batch.start
        key = self.learner * _FAR + self.step
        low = torch.searchsorted(key, batch.learner * _FAR + first + 1)
        high = torch.searchsorted(key, batch.learner * _FAR + first + batch.lengths.clamp_min(1))
        count = (high - low).clamp_min(0)
        row = torch.arange(len(batch), device=key.device).repeat_interleave(count)
        place = torch.arange(len(row), device=key.device) - (count.cumsum(0) - count)[row]
        number = low[row] + place
        return number, row, self.step[number] - first[row]


def mastery_of_levels(share: Tensor) -> tuple[Tensor, Tensor]:
    """Return mastery and confidence [L] of distributions over K levels [L, K], none to full.

    Mastery is the mean level, sum_l l / (K - 1) p(l); confidence 1 less the entropy over its largest value, log K.

    >>> mastery_of_levels(torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]))
    (tensor([1.0000, 0.5000]), tensor([1., 0.]))
    """
    share = share / share.sum(1, keepdim=True)
    level = torch.linspace(0, 1, share.shape[1])
    entropy = -torch.special.xlogy(share, share).sum(1) / math.log(share.shape[1])
    return share @ level, (1 - entropy).clamp(0, 1)


def load_mastery_labels(path: str | Path, concepts: Mapping[str, int]) -> MasteryLabels:
    """Return the labels of a file (`.parquet`, `.jsonl` or `.csv`), ordered.

    Columns: `learner`, the number in the data set; `step`, answers that had been given, from 1 on; `concept`, a name
    of the data; then either `mastery` in [0, 1] or `level_0`, `level_1`, …, the probabilities of each level (they need
    not sum to 1); and, where it is not to come from these, `confidence` in [0, 1]. Labels with `mastery` alone have
    confidence 1.

    Args:
        path: the file.
        concepts: number of each concept by its names.

    Raises:
        MissingFileError: the file is not there.
        SettingError: it is of another kind.
        DataError: a column is missing, a value is out of range, a concept is unknown, or a label stands there twice.
    """
    table = _table(Path(path), ("learner", "step", "concept"), "labels")
    learner, step = (_whole(path, table, name, least) for name, least in (("learner", 0), ("step", 1)))
    concept = _concepts(path, table, "concept", concepts)
    levels = sorted((name for name in table.columns if name.startswith("level_")), key=lambda name: (len(name), name))
    if levels:
        if len(levels) < 2 or levels != [f"level_{place}" for place in range(len(levels))]:
            raise DataError(
                path, f"its levels are {', '.join(levels)}; expected level_0, level_1 and so on, two or more"
            )
        share = torch.stack([_shares(path, table, name, math.inf) for name in levels], 1)
        none = share.sum(1) <= 0
        if bool(none.any()):
            raise DataError(path, "its levels are all 0", row=int(none.nonzero()[0]) + 1)
        mastery, confidence = mastery_of_levels(share)
    elif "mastery" in table.columns:
        mastery = _shares(path, table, "mastery")
        confidence = torch.ones_like(mastery)
    else:
        raise DataError(path, "it has neither a column 'mastery' nor columns 'level_0', 'level_1', …")
    if "confidence" in table.columns:
        confidence = _shares(path, table, "confidence")
    keys = torch.stack([learner, step, concept], 1)
    _, place, times = torch.unique(keys, dim=0, return_inverse=True, return_counts=True)
    if bool((times > 1).any()):
        row = int((times[place] > 1).nonzero()[-1]) + 1
        raise DataError(path, "a learner, step and concept stand in it twice; give each one label", row=row)
    return MasteryLabels(learner, step, concept, mastery, confidence).ordered()


def load_concept_relations(path: str | Path, concepts: Mapping[str, int], count: int, least: float = 0.5) -> Tensor:
    """Return how surely each concept builds on each other one, [N, N] in [0, 1], row `needing` on column `needed`.

    Columns: `needed`, `needing`, names of the data, and `confidence` in [0, 1], 1 where it is missing. Pairs below
    `least` are left out; of a pair that stands there twice the surer one counts.

    Args:
        path: the file (`.parquet`, `.jsonl` or `.csv`).
        concepts: number of each concept by its names.
        count: N.
        least: confidence that a pair must have.

    Raises:
        MissingFileError: the file is not there.
        SettingError: it is of another kind.
        DataError: a column is missing, a value is out of range, or a concept is unknown.
    """
    table = _table(Path(path), ("needed", "needing"), "relations")
    needed, needing = (_concepts(path, table, name, concepts) for name in ("needed", "needing"))
    sure = _shares(path, table, "confidence") if "confidence" in table.columns else torch.ones(len(needed))
    weight = torch.zeros(count * count)
    weight.scatter_reduce_(0, needing * count + needed, sure * (sure >= least), "amax")
    return weight.view(count, count)


def _table(path: Path, columns: tuple[str, ...], what: str) -> pd.DataFrame:
    """Return the table of a file, every name as text."""
    import pandas as pd

    if path.suffix not in SUFFIXES:
        raise SettingError(what, str(path), f"a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file")
    if not path.is_file():
        raise MissingFileError(path.name, path.parent, f"give a file of {what}, or null to go without")
    try:
        match path.suffix:
            case ".parquet":
                table = pd.read_parquet(path)
            case ".jsonl":
                table = pd.read_json(path, lines=True, dtype=False)
            case _:
                table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise DataError(path, f"it cannot be read ({error})") from error
    if missing := [name for name in columns if name not in table.columns]:
        raise DataError(
            path, f"there is no column {', '.join(map(repr, missing))}; it has {', '.join(map(str, table))}"
        )
    return table


def _numbers(path: str | Path, table: pd.DataFrame, name: str) -> Tensor:
    import pandas as pd

    value = pd.to_numeric(table[name], errors="coerce")
    wrong = value.isna()
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise DataError(path, f"expected a number, got {table[name].iloc[row]!r}", row=row + 1, column=name)
    return torch.tensor(value.to_numpy(dtype="float64"))


def _whole(path: str | Path, table: pd.DataFrame, name: str, least: int) -> Tensor:
    value = _numbers(path, table, name)
    wrong = (value != value.round()) | (value < least) | (value >= _FAR // 2)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise DataError(
            path, f"expected a whole number from {least}, got {float(value[row])}", row=row + 1, column=name
        )
    return value.long()


def _shares(path: str | Path, table: pd.DataFrame, name: str, most: float = 1.0) -> Tensor:
    value = _numbers(path, table, name)
    wrong = (value < 0) | (value > most) | ~value.isfinite()
    if bool(wrong.any()):
        row, allowed = int(wrong.nonzero()[0]), "0 or more" if math.isinf(most) else f"from 0 to {most:g}"
        raise DataError(path, f"expected a number {allowed}, got {float(value[row])}", row=row + 1, column=name)
    return value.float()


def _concepts(path: str | Path, table: pd.DataFrame, name: str, concepts: Mapping[str, int]) -> Tensor:
    names = [str(one) for one in table[name]]
    for row, one in enumerate(names):
        if one not in concepts:
            raise DataError(path, f"{one!r} is no concept of the data", row=row + 1, column=name)
    return torch.tensor([concepts[one] for one in names], dtype=torch.int64)
