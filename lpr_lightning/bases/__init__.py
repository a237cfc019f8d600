"""Bases of LightningModules: stages of a training, knowledge tracers, policies that learn."""

from __future__ import annotations

from lpr_lightning.bases.agent import Agent
from lpr_lightning.bases.staged import Stage, Staged
from lpr_lightning.bases.tracer import TracerModule

__all__ = ["Agent", "Stage", "Staged", "TracerModule"]
