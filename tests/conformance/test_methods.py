"""Each check of `checks.py` on each configuration in `configs/`.

A new method enters by its yaml and at most one line in `cases.py`; what it does not fulfil yet stands in `GAPS` there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cases import CONFIGS, GAPS, METHODS, WITHOUT_MODEL, Case
from checks import CHECKS, Check
from runs import Runs


@pytest.fixture(scope="session", params=METHODS, ids=lambda case: case.name)
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """The runs of one method; tests are put in order by method, so that they share them."""
    case: Case = request.param
    home = tmp_path_factory.mktemp(case.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        yield Runs(case, home)


@pytest.mark.parametrize(
    "check", [pytest.param(one, id=one.name, marks=pytest.mark.timeout(one.limit)) for one in CHECKS]
)
def test_conformance(runs: Runs, check: Check, request: pytest.FixtureRequest) -> None:
    if reason := GAPS.get((runs.case.name, check.name)):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    check.run(runs)


def test_every_check_has_a_reason() -> None:
    assert all(one.reason.endswith(".") for one in CHECKS)


def test_every_gap_is_one_of_a_method_and_a_check() -> None:
    """A renamed check takes its gaps along."""
    assert {method for method, _ in GAPS} <= {case.name for case in METHODS}
    assert {check for _, check in GAPS} <= {one.name for one in CHECKS}
    other = {CONFIGS / f"{name}.yaml" for name in WITHOUT_MODEL}
    assert {case.config for case in METHODS} | other == set(CONFIGS.glob("*.yaml"))
