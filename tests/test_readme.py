"""Does the README's example run as it is printed, in fifteen lines?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def blocks(project: Path, language: str) -> list[str]:
    """Return the README's code blocks of one language."""
    text = (project / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_example_runs(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example, safe = blocks(project, "python")
    assert len(example.strip().splitlines()) <= 15
    for one in (example, safe):
        exec(compile(one, "README.md", "exec"), {"__name__": "example"})
    assert list(tmp_path.rglob("metrics.json"))


def test_every_file_that_the_readme_names_is_there(project: Path) -> None:
    text = (project / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:configs|benchmarks)/[\w/]+\.(?:yaml|py)\b", text))
    named |= set(re.findall(r"\]\(([\w./-]+\.md)\)", text))
    assert named
    assert not [name for name in sorted(named) if not (project / name).is_file()]
