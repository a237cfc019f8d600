"""The script changes code in one place, in a process of its own, and knows whether a test has noticed."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable
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
    found = sorted((mutant.line, mutant.change) for mutant in script.mutants_of(path))
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


def test_a_mutant_is_its_change_and_nothing_else(script: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_text(SOURCE)
    (divided,) = [one for one in script.mutants_of(path) if one.change == "Div to Mult"]
    assert divided.inside == "share"
    assert ast.unparse(script.changed(divided)) == ast.unparse(ast.parse(SOURCE)).replace(
        "part / whole", "part * whole"
    )
    assert {one.inside for one in script.mutants_of(path)} == {"share", "Kind.double"}


class Loop:
    """Does something with the tests that pytest has collected, in the place of running them."""

    def __init__(self, look: Callable[[list[pytest.Item]], None]) -> None:
        self.look = look

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.look(session.items)
        return True


def collected(test: Path, look: Callable[[list[pytest.Item]], None]) -> None:
    """Let pytest collect a test file, and look at its tests."""
    words = [f"--rootdir={test.parent}", "-p", "no:cacheprovider", "--import-mode=importlib", str(test)]
    assert pytest.main(words, plugins=[Loop(look)]) == 0


def test_a_change_that_a_test_notices_is_killed_another_survives(script: ModuleType, tmp_path: Path) -> None:
    module = ModuleType("file")
    exec(compile(SOURCE, "file.py", "exec"), vars(module))
    sys.modules["file_under_change"] = module
    test = tmp_path / "test_file.py"
    test.write_text("import sys\n\ndef test_share():\n    assert sys.modules['file_under_change'].share(4, 2) == 2\n")
    killed = ast.parse(SOURCE.replace("part / whole", "part * whole"))
    survived = ast.parse(SOURCE.replace("2 * 5", "2 * 6"))
    found: list[str] = []
    collected(test, lambda items: found.extend(script.outcome(module, tree, items) for tree in (killed, survived)))
    assert found == ["killed", "survived"]


def test_what_a_test_file_computes_when_it_is_read_meets_the_change_too(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "PROJECT", tmp_path)
    module = ModuleType("file")
    exec(compile(SOURCE, "file.py", "exec"), vars(module))
    sys.modules["file_under_change"] = module
    (tmp_path / "tests").mkdir()
    test = tmp_path / "tests" / "test_early.py"
    early = "import sys\nFOUND = sys.modules['file_under_change'].share(4, 2)\n"
    test.write_text(early + "\ndef test_share():\n    assert FOUND == 2\n")
    killed = ast.parse(SOURCE.replace("part / whole", "part * whole"))
    found: list[str] = []
    collected(test, lambda items: found.append(script.outcome(module, killed, items)))
    assert found == ["survived"]
    assert script.afresh(module, killed, [str(test)]) == "killed"


def test_it_is_known_which_tests_enter_a_function(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "SOURCES", str(tmp_path))
    module = ModuleType("file")
    exec(compile(SOURCE, f"{tmp_path}/functional/file.py", "exec"), vars(module))
    sys.modules["file_under_change"] = module
    test = tmp_path / "test_both.py"
    lines = ["import sys", "FILE = sys.modules['file_under_change']", "def test_a(): FILE.share(4)"]
    test.write_text("\n".join([*lines, "def test_b(): FILE.Kind().double", "def test_c(): pass"]) + "\n")
    recorder = script.Recorder()
    collected(test, lambda items: script.passes(items, recorder.around))
    found = {
        name.partition(":")[2]: tests for name, tests in recorder.tests().items() if name.startswith("/functional")
    }
    assert found == {"share": ["test_both.py::test_a"], "Kind.double": ["test_both.py::test_b"]}


def test_every_change_that_is_said_to_change_nothing_is_one_of_the_code(script: ModuleType, project: Path) -> None:
    reasons = script.equivalent()
    files = {project / "lpr_lightning" / place.partition(":")[0] for place in reasons}
    assert reasons.keys() <= {mutant.place for path in files for mutant in script.mutants_of(path)}
    assert all(reasons.values())
