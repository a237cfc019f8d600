"""Do the pinned versions satisfy the project's own lower bounds, and is everything pinned that it names?"""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = Path(__file__).resolve().parent.parent


def pins() -> dict[str, Version]:
    """Return the pinned versions by canonical name."""
    lines = (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def requirements() -> list[Requirement]:
    """Return what the project and its test extra need."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(line) for line in [*project["dependencies"], *project["optional-dependencies"]["test"]]]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_a_pin_satisfies_the_bound(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_bounds_are_lower_bounds(requirement: Requirement) -> None:
    assert {one.operator for one in requirement.specifier} == {">="}


def test_the_tested_set_is_the_promised_one() -> None:
    assert pins()["torch"] == Version("2.13.0")
    assert pins()["lightning"] not in (Version("2.6.2"), Version("2.6.3"))
    assert not any(version.local for version in pins().values())
