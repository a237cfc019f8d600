"""Each check of `checks.py` on each agent that chooses step by step: a file of their own, for a worker of their own."""

from __future__ import annotations

import pytest
from cases import AGENTS, METHODS
from checks import Check
from conforming import conforms, each_check, runs_of
from runs import Runs

runs = runs_of([case for case in METHODS if case.name in AGENTS])


@each_check
def test_conformance(runs: Runs, check: Check, request: pytest.FixtureRequest) -> None:
    conforms(runs, check, request)
