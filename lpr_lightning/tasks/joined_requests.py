"""The requests of several tasks as those of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.protocols import Examples
from lpr_lightning.types import PathRequest


@dataclass(frozen=True)
class JoinedRequests:
    """The requests of several tasks, numbered on from one task to the next.

    Raises:
        SettingError: a task makes something else than requests for paths.
    """

    parts: Sequence[Examples]

    def __post_init__(self) -> None:
        for part in self.parts:
            _request(part, torch.arange(min(len(part.sizes), 1)))

    @property
    def sizes(self) -> Tensor:
        """Number of answers of each history, [E] int64."""
        return torch.cat([part.sizes for part in self.parts])

    def batch(self, index: Tensor) -> PathRequest:
        """Return the requests at `index` [B], histories padded alike; `row` is the number among all."""
        found: list[PathRequest] = []
        places: list[Tensor] = []
        first = 0
        for part in self.parts:
            place = ((index >= first) & (index < first + len(part.sizes))).nonzero().squeeze(1)
            if len(place):
                found.append(_request(part, index[place] - first))
                places.append(place)
            first += len(part.sizes)
        if not found:
            return _request(self.parts[0], index)
        steps, width = (max(one.history.concept.shape[axis] for one in found) for axis in (1, 2))
        alike = [replace(one, history=one.history.padded(steps, width)) for one in found]
        return replace(PathRequest.join(alike).select(torch.cat(places).argsort()), row=index)


def _request(part: Examples, index: Tensor) -> PathRequest:
    batch = part.batch(index)
    if not isinstance(batch, PathRequest):
        allowed = "tasks that make requests, such as PathRequests and GoalsAhead"
        raise SettingError("further_tasks", type(batch).__name__, allowed)
    return batch
