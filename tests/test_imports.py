"""Is `import lpr_lightning` cheap, and does every name that it offers exist?"""

from __future__ import annotations

import subprocess
import sys

import pytest

import lpr_lightning

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


@pytest.mark.parametrize("name", lpr_lightning.__all__)
def test_every_name_can_be_imported(name: str) -> None:
    assert getattr(lpr_lightning, name) is not None
    assert name in dir(lpr_lightning)


def test_unknown_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = lpr_lightning.Nothing
