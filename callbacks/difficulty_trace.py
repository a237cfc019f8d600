"""A picture of how hard the steps of a path are for the learner who takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeGuard

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lpr_lightning.callbacks.chosen_learners import first_paths, title
from lpr_lightning.callbacks.evaluation import RolloutCallback, Stage
from lpr_lightning.callbacks.module_parts import has_all, objectives_of
from lpr_lightning.callbacks.pictures import BAND, INK, POLICY, add_figure, new_figure
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.functional.learning_effect import learning_effect, learning_effect_defined
from lpr_lightning.functional.zpd import step_difficulty
from lpr_lightning.ranks import gathered_objects
from lpr_lightning.types import PathRequest, Rollout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Bands(Protocol):
    """Zones of proximal development by proficiency."""

    def at(self, proficiency: Tensor) -> tuple[Tensor, Tensor]:
        """Return the centre z(a) and the half width sigma for learners of `proficiency` [B], both [B]."""
        ...


class ZoneObjective(Protocol):
    """An objective that knows each learner's zone of proximal development."""

    difficulty: Tensor
    """How hard each concept is, [N] in [0, 1]."""

    @property
    def bands(self) -> Bands:
        """The zones."""
        ...

    def proficiency(self, rollout: Rollout) -> Tensor:
        """Return a, how able each learner is, [B]."""
        ...


NEEDS = ("difficulty", "bands", "proficiency")


@dataclass(frozen=True)
class Trace:
    """One path to draw: whose, a title, the difficulty of its steps, which were answered right, and the band."""

    learner: int
    title: str
    difficulty: list[float]
    right: list[bool]
    centre: float
    width: float


class DifficultyTrace(RolloutCallback):
    """Draws the difficulty of each step of sample paths against the learner's band (IB-GRPO, 2601.14686, fig. 5).

    The band z(a) ± sigma is that of the first `ZoneObjective` among `pl_module.objectives`. A question on several
    concepts is as hard as these are on average. Shown is the first path of each of the learners with the lowest
    numbers, whatever the batches and processes. Goes to TensorBoard as `val/difficulty_trace` and
    `test/difficulty_trace`.

    Args:
        samples: number of requests, each in a panel of its own.
        stages: evaluation stages to look at.
        every_n_epochs: while fitting, draw only at every n-th epoch.

    Raises:
        SettingError: an argument is out of its range, or (when a run starts) the module has no such objective.
    """

    def __init__(self, samples: int = 4, stages: Sequence[Stage] = ("val", "test"), every_n_epochs: int = 1) -> None:
        super().__init__(stages, every_n_epochs)
        self.samples = checked("samples", samples, 1)
        self._traces: list[Trace] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module has what is needed."""
        if stage != "predict":
            zone_objective(pl_module)

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the last evaluation's paths."""
        self._traces = []

    def take(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, rollout: Rollout, request: PathRequest | None
    ) -> None:
        """Collect the first paths of the learners with the lowest numbers."""
        order = rollout.learner[:: max(rollout.group_size, 1)].argsort(stable=True)[: self.samples]
        paths = replace(rollout.select(order * rollout.group_size), group_size=1)
        found = [trace_of(path, zone_objective(pl_module)) for path in first_paths(paths, self.samples)]
        self._traces = self._lowest([*self._traces, *found])

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose among the learners of all ranks."""
        self._traces = self._lowest([one for of_rank in gathered_objects(self._traces) for one in of_rank])

    def show(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Draw."""
        add_figure(trainer, f"{stage}/difficulty_trace", draw(self._traces))

    def _lowest(self, traces: Sequence[Trace]) -> list[Trace]:
        return sorted(traces, key=lambda trace: trace.learner)[: self.samples]


def zone_objective(pl_module: LightningModule) -> ZoneObjective:
    """Return the module's first objective with a zone."""
    objectives = objectives_of(pl_module)
    for objective in objectives.values():
        if _has_zone(objective):
            return objective
    raise SettingError(
        f"{type(pl_module).__name__}.objectives",
        list(objectives),
        "an objective with " + ", ".join(NEEDS),
        "Add ZPDAlignment to the objectives, or leave DifficultyTrace out",
    )


def trace_of(path: Rollout, objective: ZoneObjective) -> Trace:
    """Return what is drawn of a rollout of one row."""
    taken = path.mask[0]
    defined = bool(learning_effect_defined(path.score_before, path.score_max)[0])
    effect = float(learning_effect(path.score_before, path.score_after, path.score_max)[0])
    difficulty, _ = step_difficulty(path.concept[0][taken], objective.difficulty)
    centre, width = objective.bands.at(objective.proficiency(path))
    return Trace(
        learner=int(path.learner[0]),
        title=f"{title(int(path.learner[0]))}, $E_p$ " + (f"= {effect:.2f}" if defined else "undefined"),
        difficulty=difficulty.tolist(),
        right=(path.response[0][taken] >= 0.5).tolist(),
        centre=float(centre[0]),
        width=float(width[0]),
    )


def _has_zone(objective: object) -> TypeGuard[ZoneObjective]:
    return has_all(objective, *NEEDS)


def draw(traces: Sequence[Trace]) -> Figure:
    """Return the picture of the traces, two panels a row."""
    columns = min(2, len(traces))
    rows = math.ceil(len(traces) / columns)
    figure, axes = new_figure(4.3 * columns + 0.4, 2.5 * rows + 0.7, rows, columns)
    longest = max((len(trace.difficulty) for trace in traces), default=1)
    for axis, trace in zip(axes, traces):
        _panel(axis, trace, max(longest, 1))
    for axis in axes[len(traces) :]:
        axis.set_visible(False)
    figure.supxlabel("step", fontsize=10, color=INK)
    figure.supylabel("concept difficulty", fontsize=10, color=INK)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, fontsize=9, frameon=False)
    return figure


def _panel(axis: Axes, trace: Trace, longest: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.axhspan(
        trace.centre - trace.width,
        trace.centre + trace.width,
        color=BAND,
        alpha=0.35,
        linewidth=0,
        label=r"ZPD band $z(a)\pm\sigma$",
    )
    axis.axhline(trace.centre, color="#3b78ab", linewidth=1, linestyle="--", label="$z(a)$")
    steps = list(range(1, len(trace.difficulty) + 1))
    axis.plot(steps, trace.difficulty, color=POLICY, linewidth=1.6, zorder=3, label="path")
    for right, face, label in ((True, POLICY, "answered right"), (False, "white", "answered wrong")):
        chosen = [(x, y) for x, y, r in zip(steps, trace.difficulty, trace.right) if r is right]
        axis.scatter(
            [x for x, _ in chosen],
            [y for _, y in chosen],
            s=30,
            color=face,
            edgecolors=POLICY,
            linewidths=1.2,
            zorder=4,
            label=label,
        )
    axis.set_title(trace.title, fontsize=10, color=INK, loc="left")
    axis.set_xlim(0.5, longest + 0.5)
    axis.set_ylim(-0.03, 1.03)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
