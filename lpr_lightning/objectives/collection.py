"""The objectives of one policy, by name."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView

from torch import Tensor, nn

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import built_each
from lpr_lightning.objectives.base import Objective
from lpr_lightning.types import Interactions, Rollout


class Objectives(nn.Module):
    """Scores rollouts by several objectives, in their order and under unique names.

    Each objective goes by its `name`; of several of one name the second is called `name_2`, and so on. The state dict
    has the same names. Access is that of a mapping from names to objectives.

    Args:
        objectives: the objectives, or their plain descriptions (`class_path` and `init_args`).

    Raises:
        SettingError: one is no objective, or its name is not usable.

    >>> from lpr_lightning.objectives import LengthReward, ZPDAlignment
    >>> objectives = Objectives([ZPDAlignment(bins=2), LengthReward(), ZPDAlignment(bins=5)])
    >>> objectives.names
    ['zpd', 'length', 'zpd_2']
    >>> objectives["zpd_2"].hparams["bins"]
    5
    >>> next(iter(objectives.state_dict()))
    'zpd.edges'
    """

    def __init__(self, objectives: Sequence[Objective | Mapping[str, object]]) -> None:
        super().__init__()
        self._named: dict[str, Objective] = {}
        for objective in built_each(objectives, Objective):
            name = self._unused(objective.name)
            try:
                self.add_module(name, objective)
            except KeyError as error:
                allowed = "a word without dots that is no attribute of a module"
                raise SettingError("name", name, allowed, f"rename {type(objective).__name__}.name") from error
            self._named[name] = objective

    @property
    def names(self) -> list[str]:
        """The names, in order."""
        return list(self._named)

    def items(self) -> ItemsView[str, Objective]:
        """Return names and objectives, in order."""
        return self._named.items()

    def values(self) -> ValuesView[Objective]:
        """Return the objectives, in order."""
        return self._named.values()

    def __getitem__(self, name: str) -> Objective:
        return self._named[name]

    def __contains__(self, name: object) -> bool:
        return name in self._named

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def configure(self, num_concepts: int) -> None:
        """Register the buffers whose size depends on the number of concepts; called once, before anything else."""
        for objective in self.values():
            objective.configure(num_concepts)

    def fit(self, log: Interactions) -> None:
        """Fit what depends on the answer logs of training learners."""
        for objective in self.values():
            objective.fit(log)

    def fit_paths(self, rollout: Rollout) -> None:
        """Fit what depends on paths that training learners followed; call `fit` first."""
        for objective in self.values():
            objective.fit_paths(rollout)

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the value of each path in each objective, [B] by name."""
        return {name: objective(rollout) for name, objective in self.items()}

    def _unused(self, name: str) -> str:
        """Return `name`, or the first of name_2, name_3, … that no objective has yet."""
        number, free = 1, name
        while free in self._named:
            number += 1
            free = f"{name}_{number}"
        return free
