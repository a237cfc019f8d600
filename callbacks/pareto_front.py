"""A picture of what was learnt against how varied the paths were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from lpr_lightning.callbacks.evaluation import RolloutCallback, Stage
from lpr_lightning.callbacks.pictures import INK, MARKERS, OTHERS, POLICY, add_figure, new_figure
from lpr_lightning.errors import checked
from lpr_lightning.functional.diversity import path_diversity
from lpr_lightning.functional.learning_effect import learning_effect, learning_effect_defined
from lpr_lightning.functional.pareto import non_dominated
from lpr_lightning.ranks import gathered
from lpr_lightning.types import PathRequest, Rollout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Point = tuple[float, float]
"""Path diversity and learning effect."""


class ParetoFront(RolloutCallback):
    """Draws learning effect E_p against path diversity (the plane of IB-GRPO, arXiv 2601.14686, fig. 2).

    One faint point for each request, the front of the points that no other dominates, the policy's mean with the way
    it came through earlier validations, and the mean of every other policy whose figures
    `<stage>/<name>/learning_effect` and `<stage>/<name>/path_diversity` are logged, with the front of these means.
    Rows without anything to learn are left out. Goes to TensorBoard as `val/pareto_front` and `test/pareto_front`.

    Args:
        stages: evaluation stages to look at.
        every_n_epochs: while fitting, draw only at every n-th epoch.
        max_points: draw at most that many points, evenly chosen; front and means always use all.

    Raises:
        SettingError: an argument is out of its range.
    """

    def __init__(
        self, stages: Sequence[Stage] = ("val", "test"), every_n_epochs: int = 1, max_points: int = 2000
    ) -> None:
        super().__init__(stages, every_n_epochs)
        self.max_points = checked("max_points", max_points, 1)
        self.trail: list[Point] = []
        self._points: list[Tensor] = []
        self._all_points = torch.empty(0, 2)

    def state_dict(self) -> dict[str, list[list[float]]]:
        """Return the way of the policy's mean so far."""
        return {"trail": [list(point) for point in self.trail]}

    def load_state_dict(self, state_dict: dict[str, list[list[float]]]) -> None:
        """Take up the way of the policy's mean."""
        self.trail = [(float(x), float(y)) for x, y in state_dict["trail"]]

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the last evaluation's points."""
        self._points = []

    def take(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, rollout: Rollout, request: PathRequest | None
    ) -> None:
        """Collect one point for each row with something to learn."""
        defined = learning_effect_defined(rollout.score_before, rollout.score_max)
        effect = learning_effect(rollout.score_before, rollout.score_after, rollout.score_max)
        points = torch.stack([path_diversity(rollout.action).float(), effect.float()], 1)
        self._points.append(points[defined].detach())

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Gather the points of all ranks, and note the mean where the policy is being fitted."""
        own = torch.cat(self._points) if self._points else torch.empty(0, 2)
        self._all_points, self._points = gathered(own, pl_module.device), []
        if stage == "val" and trainer.state.fn == TrainerFn.FITTING and len(self._all_points):
            self.trail.append(_pair(self._all_points.mean(0)))

    def show(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Draw."""
        if len(self._all_points):
            others = means_of_others(trainer.callback_metrics, stage)
            trail = self.trail if stage == "val" else []
            add_figure(trainer, f"{stage}/pareto_front", draw(self._all_points, others, trail, self.max_points))


def means_of_others(logged: Mapping[str, Tensor], stage: str) -> dict[str, Point]:
    """Return the means of the policies that were logged beside the module's own, by name.

    >>> logged = {"val/learning_effect": 0.9, "val/random/learning_effect": 0.25, "val/random/path_diversity": 0.5}
    >>> means_of_others(logged, "val")
    {'random': (0.5, 0.25)}
    """
    means = {}
    for key in logged:
        name, _, figure = key.removeprefix(f"{stage}/").partition("/")
        if key.startswith(f"{stage}/") and figure == "learning_effect":
            diversity = logged.get(f"{stage}/{name}/path_diversity")
            if diversity is not None:
                means[name] = (float(diversity), float(logged[key]))
    return means


def draw(points: Tensor, others: Mapping[str, Point], trail: Sequence[Point], max_points: int = 2000) -> Figure:
    """Return the picture of `points` [B, 2] (diversity, learning effect) and the means."""
    figure, (axis,) = new_figure(6.6, 4.8)
    drawn = points[torch.linspace(0, len(points) - 1, min(len(points), max_points)).round().long()]
    axis.scatter(drawn[:, 0].tolist(), drawn[:, 1].tolist(), s=16, color="#8c9aa8", alpha=0.3, linewidths=0, zorder=2)
    mean = _pair(points.mean(0))
    means = torch.tensor([mean, *others.values()])
    x, y = _front(points)
    axis.plot(
        x,
        y,
        drawstyle="steps-pre",
        color=INK,
        linewidth=1.4,
        marker="o",
        markersize=5,
        zorder=3,
        label="front of single paths",
    )
    if others:
        axis.plot(*_front(means), drawstyle="steps-pre", color=INK, linewidth=1, linestyle=":", label="front of means")
    for number, (name, (diversity, effect)) in enumerate(sorted(others.items())):
        axis.scatter(
            [diversity],
            [effect],
            s=75,
            marker=MARKERS[number % len(MARKERS)],
            color=OTHERS[number % len(OTHERS)],
            edgecolors="white",
            linewidths=1,
            zorder=5,
            label=f"{name}, mean {effect:.2f}",
        )
    if len(trail) > 1:
        x, y = [point[0] for point in trail], [point[1] for point in trail]
        axis.plot(x, y, color=POLICY, linewidth=1.2, alpha=0.55, marker=".", zorder=4, label="its way here")
    axis.scatter(
        [mean[0]],
        [mean[1]],
        s=190,
        marker="*",
        color=POLICY,
        edgecolors="white",
        linewidths=1,
        zorder=6,
        label=f"policy, mean {mean[1]:.2f}",
    )
    hidden = _limit(axis, points, [mean, *others.values(), *trail])
    below = f", {hidden} below the picture" if hidden else ""
    axis.set_title(f"{len(points)} paths{below}", fontsize=10, color=INK, loc="left")
    axis.set_xlabel("path diversity (share of distinct steps)", color=INK)
    axis.set_ylabel("learning effect $E_p$", color=INK)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def _front(points: Tensor) -> tuple[list[float], list[float]]:
    """Return the points that no other dominates, from left to right."""
    front = torch.unique(points[non_dominated(points)], dim=0)
    return front[:, 0].tolist(), front[:, 1].tolist()


def _limit(axis: Axes, points: Tensor, means: Sequence[Point]) -> int:
    """Cut far outliers off at the bottom (E_p has no lower bound); return how many."""
    effect = points[:, 1]
    low = min(float(effect.quantile(0.02)), *(y for _, y in means), 0.0)
    high = max(float(effect.max()), *(y for _, y in means), 0.1)
    margin = 0.06 * (high - low)
    axis.set_ylim(low - margin, high + margin)
    left = min(float(points[:, 0].min()), *(x for x, _ in means))
    axis.set_xlim(left - 0.04, 1.04)
    return int((effect < low - margin).sum())


def _pair(values: Tensor) -> Point:
    return float(values[0]), float(values[1])
