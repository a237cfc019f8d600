"""Policies: plain ones to measure against, and searches, which look into a model of the learners."""

from __future__ import annotations

from lpr_lightning.policies.beam import BeamSearch, ChainSearch, GreedySearch, Oracle
from lpr_lightning.policies.candidates import AllActions, Candidates, ClosureActions, TargetActions
from lpr_lightning.policies.exact_greedy import ExactGreedy
from lpr_lightning.policies.gen_al import GenAL, GenALSettings
from lpr_lightning.policies.genetic import GeneticSearch
from lpr_lightning.policies.graph import PrerequisiteGraph
from lpr_lightning.policies.historical import HistoricalAnswers
from lpr_lightning.policies.plain import DKTRec, NearestTarget, RandomPaths, RandomTargets
from lpr_lightning.policies.planned import FixedPaths, Planned, Replan, follow_paths
from lpr_lightning.policies.search import FoundPaths, Search
from lpr_lightning.policies.simple_rules import PrerequisiteRule, TargetsInTurn
from lpr_lightning.policies.values import ChainValue, ExamValue, SearchValue

__all__ = [
    "AllActions",
    "BeamSearch",
    "Candidates",
    "ChainSearch",
    "ChainValue",
    "ClosureActions",
    "DKTRec",
    "ExactGreedy",
    "ExamValue",
    "FixedPaths",
    "FoundPaths",
    "GenAL",
    "GenALSettings",
    "GeneticSearch",
    "GreedySearch",
    "HistoricalAnswers",
    "NearestTarget",
    "Oracle",
    "Planned",
    "PrerequisiteGraph",
    "PrerequisiteRule",
    "RandomPaths",
    "RandomTargets",
    "Replan",
    "Search",
    "SearchValue",
    "TargetActions",
    "TargetsInTurn",
    "follow_paths",
]
