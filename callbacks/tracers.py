"""The knowledge tracer of a module, and what it says of a learner over time."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.types import InteractionBatch, KnowledgeTracer, QuestionTracer


class TracerSimulator(Protocol):
    """A simulator whose learners are a tracer."""

    tracer: KnowledgeTracer


class HasTracerSimulator(Protocol):
    """A module that has such a simulator."""

    simulator: TracerSimulator


def tracer_of(pl_module: LightningModule, callback: str) -> KnowledgeTracer:
    """Return the module itself where it is a `KnowledgeTracer`, otherwise its `simulator.tracer`.

    Raises:
        SettingError: neither is a knowledge tracer.
    """
    if isinstance(pl_module, KnowledgeTracer):
        return pl_module
    if isinstance(getattr(getattr(pl_module, "simulator", None), "tracer", None), KnowledgeTracer):
        return cast(HasTracerSimulator, pl_module).simulator.tracer
    raise SettingError(
        "pl_module",
        type(pl_module).__name__,
        "a lpr_lightning.types.KnowledgeTracer, or a module with one as `simulator.tracer`",
        f"Leave {callback} out where there is no tracer",
    )


def mastery_over_time(tracer: KnowledgeTracer, history: InteractionBatch) -> Tensor:
    """Return the mastery before any answer and after each, [B, T + 1, N]; NaN behind the end of a history.

    Every answer is observed once, by its question where the tracer tells questions apart.
    """
    state = tracer.initial_state(len(history))
    before = tracer.mastery(state)
    mastery = before.new_full((len(history), history.mask.shape[1] + 1, before.shape[1]), torch.nan)
    mastery[:, 0] = before
    rows = torch.arange(len(history), device=history.mask.device)
    for step in range(history.mask.shape[1]):
        live = history.mask[rows, step]
        state, rows = tuple(part[live] for part in state), rows[live]
        if not len(rows):
            break
        correct = history.correct[rows, step]
        if isinstance(tracer, QuestionTracer):
            state = tracer.observe_item(state, history.item[rows, step], correct)
        else:
            state = tracer.observe(state, history.concept[rows, step], correct)
        mastery[rows, step + 1] = tracer.mastery(state)
    return mastery
