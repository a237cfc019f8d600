"""Simulators that callbacks may use without changing what the run goes on to draw."""

from __future__ import annotations

import copy
from typing import Protocol, cast

import torch
from lightning.pytorch import LightningModule
from torch import nn

from lpr_lightning.errors import SettingError
from lpr_lightning.types import Simulator


class HasSimulator(Protocol):
    """A module whose learners can be asked to follow other paths."""

    simulator: Simulator


def with_simulator(pl_module: LightningModule, callback: str) -> HasSimulator:
    """Return `pl_module`, or raise if it has no attribute `simulator`."""
    if not hasattr(pl_module, "simulator"):
        raise SettingError(
            "pl_module",
            type(pl_module).__name__,
            "a module with an attribute `simulator` (lpr_lightning.types.Simulator)",
            f"{callback} lets the same learners follow other paths; leave it out where there is no simulator",
        )
    return cast(HasSimulator, pl_module)


def own_simulator(simulator: object, seed: int, device: torch.device) -> Simulator:
    """Return a copy of `simulator` on `device` with random numbers of its own, restarted from `seed`.

    With a copy a callback can never shift the answers that training draws: a run with it and a run without it give
    the same weights.
    """
    if not isinstance(simulator, Simulator):
        raise SettingError("simulator", type(simulator).__name__, "a lpr_lightning.types.Simulator")
    own = copy.deepcopy(simulator)
    if isinstance(own, nn.Module):
        own.to(device)
    own.seed(seed)
    return own
