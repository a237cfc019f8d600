"""The script changes code in one place, in a process of its own, and knows whether a test has noticed."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def script(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutation_testing", project / "experiments" / "mutation_testing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutation_testing"] = module
    spec.loader.exec_module(module)
    return module


SOURCE = '''\
"""A file."""
LIMIT = 3

def share(part, whole=2):
    """Return a share."""
    if whole > 0 and not part < 0:
        return part / whole
    raise ValueError(1 + 1)

class Kind:
    size = 4

    @property
    def double(self):
        return -(2 * 5)
'''


def test_every_place_that_a_test_could_tell_is_changed_once(script: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_text(SOURCE)
    found = sorted((mutant.line, mutant.change) for mutant, _ in script.mutants_of(path))
    assert found == [
        (4, "2 to 3"),
        (6, "0 to 1"),
        (6, "0 to 1"),
        (6, "Gt to GtE"),
        (6, "Lt to LtE"),
        (6, "and to or"),
        (6, "other branch"),
        (6, "without Not"),
        (7, "Div to Mult"),
        (15, "2 to 3"),
        (15, "5 to 6"),
        (15, "Mult to Div"),
        (15, "without USub"),
    ]


def test_functions_get_the_code_and_the_defaults_of_the_changed_file(script: ModuleType) -> None:
    module = ModuleType("file")
    exec(compile(SOURCE, "file.py", "exec"), vars(module))
    kept = vars(module)["share"]
    changed = SOURCE.replace("part / whole", "part * whole").replace("whole=2", "whole=3").replace("2 * 5", "2 * 6")
    script.replace_code(module, ast.parse(changed))
    assert kept(4) == 12
    assert vars(module)["Kind"]().double == -12


def test_a_change_that_a_test_notices_is_killed_another_survives(script: ModuleType, tmp_path: Path) -> None:
    module = ModuleType("file")
    exec(compile(SOURCE, "file.py", "exec"), vars(module))
    sys.modules["file_under_change"] = module
    test = tmp_path / "test_file.py"
    test.write_text("import sys\n\ndef test_share():\n    assert sys.modules['file_under_change'].share(4, 2) == 2\n")
    killed = ast.parse(SOURCE.replace("part / whole", "part * whole"))
    survived = ast.parse(SOURCE.replace("2 * 5", "2 * 6"))
    assert script.outcome(module, None, [str(test)]) == "survived"
    assert script.outcome(module, killed, [str(test)]) == "killed"
    assert script.outcome(module, survived, [str(test)]) == "survived"
