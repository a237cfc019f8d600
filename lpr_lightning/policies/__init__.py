"""Policies: plain ones to measure against, and searches, which look into a model of the learners."""

from __future__ import annotations

from lpr_lightning.policies.beam import BeamSearch, GreedySearch
from lpr_lightning.policies.genetic import GeneticSearch
from lpr_lightning.policies.plain import DKTRec, RandomPaths, RandomTargets
from lpr_lightning.policies.planned import FixedPaths, Planned, Replan, follow_paths
from lpr_lightning.policies.search import FoundPaths, Search

__all__ = [
    "BeamSearch",
    "DKTRec",
    "FixedPaths",
    "FoundPaths",
    "GeneticSearch",
    "GreedySearch",
    "Planned",
    "RandomPaths",
    "RandomTargets",
    "Replan",
    "Search",
    "follow_paths",
]
