"""Each check of `checks.py` on each configuration in `configs/`; those of agents stand in test_agents.py.

A new method enters by its yaml and at most one line in `cases.py`; what it does not fulfil yet stands in `GAPS` there.
"""

from __future__ import annotations

import pytest
from cases import AGENTS, CONFIGS, GAPS, METHODS, WITHOUT_MODEL
from checks import CHECKS, Check
from conforming import conforms, each_check, runs_of
from runs import Runs

runs = runs_of([case for case in METHODS if case.name not in AGENTS])


@each_check
def test_conformance(runs: Runs, check: Check, request: pytest.FixtureRequest) -> None:
    conforms(runs, check, request)


def test_every_check_has_a_reason() -> None:
    assert all(one.reason.endswith(".") for one in CHECKS)


def test_every_gap_is_one_of_a_method_and_a_check() -> None:
    """A renamed check takes its gaps along."""
    assert {method for method, _ in GAPS} <= {case.name for case in METHODS}
    assert {check for _, check in GAPS} <= {one.name for one in CHECKS}
    assert {case.name for case in METHODS} >= set(AGENTS)
    other = {CONFIGS / f"{name}.yaml" for name in WITHOUT_MODEL}
    assert {case.config for case in METHODS} | other == set(CONFIGS.glob("*.yaml"))
