"""What callbacks ask of a module: learners to teach, a knowledge tracer, objectives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeGuard

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.protocols import HasEpisodes, Tracer
from lpr_lightning.types import InteractionBatch, Rollout, select_rows


class TracerSimulator(Protocol):
    """A simulator whose learners are a tracer."""

    tracer: Tracer


class HasTracerSimulator(Protocol):
    """A module that has such a simulator."""

    simulator: TracerSimulator


class NamedObjectives(Protocol):
    """Objectives by name: `objectives.Objectives`, a `ModuleDict`, a dict."""

    def items(self) -> Iterable[tuple[str, Callable[[Rollout], Tensor]]]:
        """Return names and objectives."""
        ...


class HasObjectives(Protocol):
    """A module whose paths are judged by objectives."""

    objectives: NamedObjectives


def episodes_of(pl_module: LightningModule, callback: str) -> HasEpisodes:
    """Return the module, if its learners can be taught by others too.

    Raises:
        SettingError: they cannot.
    """
    if has_episodes(pl_module):
        return pl_module
    raise SettingError(
        "pl_module",
        type(pl_module).__name__,
        "a module with the attributes simulator, goal and early_stop (lpr_lightning.protocols.HasEpisodes)",
        f"{callback} lets other policies teach the same learners; leave it out where there are none",
    )


def tracer_of(pl_module: LightningModule, callback: str) -> Tracer:
    """Return the module itself where it is a tracer, otherwise its `simulator.tracer`.

    Raises:
        SettingError: neither is a tracer.
    """
    if isinstance(pl_module, Tracer):
        return pl_module
    if _has_tracer_simulator(pl_module) and isinstance(pl_module.simulator.tracer, Tracer):
        return pl_module.simulator.tracer
    raise SettingError(
        "pl_module",
        type(pl_module).__name__,
        "a lpr_lightning.protocols.Tracer, or a module with one as simulator.tracer",
        f"Leave {callback} out where there is no tracer",
    )


def objectives_of(pl_module: LightningModule) -> dict[str, Callable[[Rollout], Tensor]]:
    """Return the module's objectives by name; none where it has none."""
    return dict(pl_module.objectives.items()) if _has_objectives(pl_module) else {}


def mastery_over_time(tracer: Tracer, history: InteractionBatch) -> Tensor:
    """Return the mastery before any answer and after each, [B, T + 1, N]; NaN behind the end of a history.

    Every answer is observed once.
    """
    state = tracer.initial_state(len(history))
    before = tracer.mastery(state)
    mastery = before.new_full((len(history), history.mask.shape[1] + 1, before.shape[1]), torch.nan)
    mastery[:, 0] = before
    rows = torch.arange(len(history), device=history.mask.device)
    for step in range(history.mask.shape[1]):
        live = history.mask[rows, step]
        state, rows = select_rows(state, live), rows[live]
        if not len(rows):
            break
        state = tracer.observe(state, history.asked(step).select(rows), history.correct[rows, step])
        mastery[rows, step + 1] = tracer.mastery(state)
    return mastery


def has_episodes(module: object) -> TypeGuard[HasEpisodes]:
    """Return whether a module has a simulator, a goal and `early_stop`."""
    return has_all(module, "simulator", "goal", "early_stop")


def has_all(value: object, *names: str) -> bool:
    """Return whether an object has all these attributes.

    In place of isinstance with a protocol, which from Python 3.12 on overlooks submodules and buffers: `nn.Module`
    finds these by `__getattr__` alone.
    """
    return all(hasattr(value, name) for name in names)


def _has_tracer_simulator(module: LightningModule) -> TypeGuard[HasTracerSimulator]:
    return has_all(module, "simulator") and has_all(module.simulator, "tracer")


def _has_objectives(module: object) -> TypeGuard[HasObjectives]:
    return has_all(module, "objectives")
