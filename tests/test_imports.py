"""Is `import lpr_lightning` cheap, and does every name that it offers exist?"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lpr_lightning
from lpr_lightning.cli import main

HEAVY = ("torch", "lightning", "transformers", "pandas", "matplotlib", "numpy", "jsonargparse")


@pytest.mark.parametrize(
    "statement",
    [
        "import lpr_lightning",
        "from lpr_lightning.cli import main; main(['--help'])",
        "from lpr_lightning.cli import main; main(['--version'])",
    ],
)
def test_nothing_heavy_is_imported(statement: str) -> None:
    code = f"{statement}; import sys; print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_nothing_heavy_is_imported_for_help_that_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPR_CACHE", str(tmp_path))
    main(["fit", "--help"])
    test_nothing_heavy_is_imported("from lpr_lightning.cli import main; main(['fit', '--help'])")


@pytest.mark.parametrize("name", lpr_lightning.__all__)
def test_every_name_can_be_imported(name: str) -> None:
    assert getattr(lpr_lightning, name) is not None
    assert name in dir(lpr_lightning)


def test_tools_are_told_the_same_names_and_modules(project: Path) -> None:
    tree = ast.parse((project / "lpr_lightning" / "__init__.py").read_text(encoding="utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    told = {one.name: str(node.module) for node in found for one in node.names if one.asname == one.name}
    assert told == {name: f"lpr_lightning.{module}" for name, module in lpr_lightning._MODULES.items()}


def test_unknown_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = lpr_lightning.Nothing
