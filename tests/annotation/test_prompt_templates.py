"""Are templates files that anyone may edit, and is a slip in one told before anything is asked?"""

from __future__ import annotations

from pathlib import Path

import pytest

from lpr_lightning.annotation import Templates
from lpr_lightning.annotation.prompt_templates import FIELDS, copy_templates
from lpr_lightning.errors import DataError, MissingFileError, SettingError

VALUES = {"question": "What is $$x^2$$ {here}?", "answer": "4", "steps": "1. $square", "concepts": "1. Powers"}


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_in_the_template(name: str) -> None:
    words = Templates(language="Hindi", standard="the German Bildungsstandards")
    values = {field: VALUES.get(field, f"<{field}>") for field in FIELDS[name]}
    system, user = words.fill(name, values)
    assert (system.role, user.role) == ("system", "user")
    both = system.content + user.content
    assert [field for field, value in values.items() if value not in both] == []
    assert name in ("mapping", "prerequisites", "mastery") or "Hindi" in both
    assert name != "concepts" or "the German Bildungsstandards" in both


def test_an_own_template_takes_the_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / "steps.txt").write_text("Solve it in $language.\n---\n$question costs $$5\n", encoding="utf-8")
    own = Templates(str(tmp_path))
    system, user = own.fill("steps", VALUES)
    assert (system.content, user.content) == ("Solve it in English.", "What is $$x^2$$ {here}? costs $5")
    assert own.fill("mapping", VALUES) == Templates().fill("mapping", VALUES)


def test_copies_are_ours_and_are_not_written_twice(tmp_path: Path) -> None:
    assert {path.stem for path in copy_templates(tmp_path)} == set(FIELDS)
    (tmp_path / "steps.txt").write_text("mine", encoding="utf-8")
    assert copy_templates(tmp_path) == []
    assert (tmp_path / "steps.txt").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Solve $question", "a line ---"),
        ("Solve.\n---\n", "a line ---"),
        ("Solve.\n---\nNothing", "lacks \\$question"),
        ("Solve.\n---\n$question in $tongue", "nobody fills \\$tongue: expected one of \\$language"),
        ("Solve.\n---\n$question for $5", "write \\$\\$ for a dollar sign"),
    ],
)
def test_a_slip_is_told(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "steps.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=problem):
        Templates(str(tmp_path))


def test_a_misspelt_name_and_a_missing_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="copy_templates"):
        Templates(str(tmp_path / "none"))
    (tmp_path / "step.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="expected one of steps, concepts"):
        Templates(str(tmp_path))
    with pytest.raises(SettingError, match="language"):
        Templates(language=" ")
