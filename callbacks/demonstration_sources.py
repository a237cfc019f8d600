"""A picture of what demonstrations of each source teach, against how varied they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lpr_lightning.bases.staged import fast_dev_run
from lpr_lightning.callbacks.pictures import INK, MARKERS, OTHERS, add_figure, new_figure
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.functional.diversity import path_diversity
from lpr_lightning.policies.search import FoundPaths

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@runtime_checkable
class HasDemonstrations(Protocol):
    """A module that learns from demonstrations."""

    @property
    def demonstrated(self) -> tuple[FoundPaths | None, list[str]]:
        """The demonstrations of training requests, None before they are there; the source of each request's paths."""
        ...


class DemonstrationSources(Callback):
    """Draws learning effect E_p against path diversity of demonstrations by source (IB-GRPO, arXiv 2601.14686, fig. 2).

    One faint point for each path, and each source's mean with its number of paths. Goes to TensorBoard as
    `train/demonstrations` after the first epoch of a fit; once, also where the fit is resumed.

    Args:
        max_points: draw at most that many points of each source, evenly chosen; means always use all.

    Raises:
        SettingError: `max_points` is below 1, or (when a fit starts) the module has no demonstrations.
    """

    def __init__(self, max_points: int = 1000) -> None:
        self.max_points, self.drawn = checked("max_points", max_points, 1), False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module without demonstrations."""
        if stage == "fit" and not isinstance(pl_module, HasDemonstrations):
            raise SettingError("model", type(pl_module).__name__, "one with demonstrations, such as IBGRPOPolicy")

    def state_dict(self) -> dict[str, bool]:
        """Return whether it was drawn."""
        return {"drawn": self.drawn}

    def load_state_dict(self, state_dict: dict[str, bool]) -> None:
        """Take up whether it was drawn."""
        self.drawn = bool(state_dict["drawn"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, if that is still to be done."""
        if self.drawn or fast_dev_run(trainer) or not isinstance(pl_module, HasDemonstrations):
            return
        found, sources = pl_module.demonstrated
        self.drawn = found is not None
        if found is not None and trainer.is_global_zero:
            add_figure(trainer, "train/demonstrations", draw(by_source(found, sources), self.max_points))


def by_source(found: FoundPaths, sources: Sequence[str]) -> dict[str, Tensor]:
    """Return path diversity and learning effect of each source's paths, [P, 2]; of those that gave any.

    >>> found = FoundPaths(torch.tensor([[[1, 0], [1, 1]]]), torch.tensor([[0.5, -torch.inf]]))
    >>> by_source(found, ["genetic", "CSEAL"])
    {'genetic': tensor([[1.0000, 0.5000]])}
    """
    there = found.effect > -torch.inf
    points = torch.stack([path_diversity(found.path.flatten(0, 1)).view_as(found.effect), found.effect], -1)
    places = {name: [at for at, one in enumerate(sources) if one == name] for name in dict.fromkeys(sources)}
    every = {name: points[:, at][there[:, at]] for name, at in places.items()}
    return {name: one for name, one in every.items() if len(one)}


def draw(points: dict[str, Tensor], max_points: int) -> Figure:
    """Return the picture."""
    figure, (axes,) = new_figure(6, 4.2)
    for number, (name, one) in enumerate(points.items()):
        color, marker = OTHERS[number % len(OTHERS)], MARKERS[number % len(MARKERS)]
        some = one[torch.linspace(0, len(one) - 1, min(len(one), max_points)).round().long()]
        axes.scatter(some[:, 0].tolist(), some[:, 1].tolist(), s=9, color=color, alpha=0.18, linewidths=0)
        x, y = one.mean(0).tolist()
        label = f"{name}: {y:.2f} at {x:.2f} ({len(one)} paths)"
        axes.scatter([x], [y], s=90, color=color, marker=marker, edgecolors="white", zorder=3, label=label)
    axes.set_xlabel("path diversity", color=INK)
    axes.set_ylabel("learning effect", color=INK)
    axes.set_title("demonstrations by source: mean learning effect at mean diversity", fontsize=10, color=INK)
    axes.legend(fontsize=8, frameon=False)
    return figure
