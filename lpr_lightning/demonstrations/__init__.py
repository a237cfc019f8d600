"""Policies that look into the simulator: searches for the best paths, and plain ones to measure against."""

from __future__ import annotations

from lpr_lightning.demonstrations.baselines import DKTRec, RandomPaths, RandomTargets
from lpr_lightning.demonstrations.beam import BeamSearch, GreedySearch
from lpr_lightning.demonstrations.demonstrator import Demonstrations, Demonstrator
from lpr_lightning.demonstrations.genetic import GeneticSearch

__all__ = [
    "BeamSearch",
    "DKTRec",
    "Demonstrations",
    "Demonstrator",
    "GeneticSearch",
    "GreedySearch",
    "RandomPaths",
    "RandomTargets",
]
