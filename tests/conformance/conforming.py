"""What the files that put methods through the checks have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
from cases import GAPS, Case
from checks import CHECKS, Check
from runs import Runs


def runs_of(methods: Sequence[Case]) -> Callable[..., object]:
    """Return a fixture of the runs of each method; tests are put in order by method, so that they share them."""

    @pytest.fixture(scope="session", params=methods, ids=lambda case: case.name)
    def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
        case: Case = request.param
        home = tmp_path_factory.mktemp(case.name)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(home)
            yield Runs(case, home)

    return runs


each_check = pytest.mark.parametrize(
    "check", [pytest.param(one, id=one.name, marks=pytest.mark.timeout(one.limit)) for one in CHECKS]
)


def conforms(runs: Runs, check: Check, request: pytest.FixtureRequest) -> None:
    """Run one check; what a method does not fulfil yet must fail."""
    if reason := GAPS.get((runs.case.name, check.name)):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    check.run(runs)
