"""Prerequisites that a datamodule is given in the place of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.errors import DataError, MissingFileError, SettingError
from lpr_lightning.policies import PrerequisiteRule


def write(folder: Path, text: str) -> str:
    path = folder / "edges.csv"
    path.write_text(text)
    return str(path)


def made(folder: Path, file: str | None = None, without: bool = False) -> SyntheticLearners:
    return SyntheticLearners(
        num_concepts=10,
        num_learners=20,
        cache_dir=str(folder / "cache"),
        prerequisites_file=file,
        without_prerequisites=without,
    )


def test_a_file_stands_in_the_place_of_the_graph_and_the_learners_follow_their_own(tmp_path: Path) -> None:
    own = made(tmp_path)
    a, b, c = own.concept_names[:3]
    data = made(tmp_path, write(tmp_path, f"strength,needing,needed\n.9,{b},{c}\n.5, {a} ,{c}\n.4,{b},{c}\n"))
    assert data.prerequisites is not None
    assert data.prerequisites.tolist() == [[2, 0], [2, 1]]
    assert own.prerequisites is not None
    assert data.truth.needs.equal(own.truth.needs)
    original = data.with_own_prerequisites()
    assert original.prerequisites is not None
    assert original.prerequisites.equal(own.prerequisites)
    assert original.fingerprint == own.fingerprint
    assert data.prerequisites.tolist() == [[2, 0], [2, 1]]  # the copy left it alone
    assert own.with_own_prerequisites() is own
    rule = PrerequisiteRule()
    rule.connect(data)
    assert rule.prerequisites.edges == ((2, 0), (2, 1))
    assert data.hparams["prerequisites_file"].endswith("edges.csv")


def test_prerequisites_can_be_left_out(tmp_path: Path) -> None:
    data = made(tmp_path, without=True)
    assert data.prerequisites is None
    assert data.truth.prerequisites is not None
    assert data.with_own_prerequisites().prerequisites is not None
    empty = made(tmp_path, write(tmp_path, "needed,needing\n"))
    assert empty.prerequisites is None
    assert empty.fingerprint == data.fingerprint != made(tmp_path).fingerprint


def test_the_fingerprint_is_that_of_the_graph(tmp_path: Path) -> None:
    a, b, c = made(tmp_path).concept_names[:3]
    texts = (f"needed,needing\n{a},{b}\n{b},{c}\n", f"needed,needing\n{b},{c}\n{a},{b}\n", f"needed,needing\n{a},{b}\n")
    first, same, other = (made(tmp_path, write(tmp_path, text)).fingerprint for text in texts)
    assert first == same
    assert len({first, other, made(tmp_path).fingerprint}) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("needed,needing\n{a},{b}\n{b},Arithmetc 1\n", r"edges.csv, row 3, column 'needing': .*'Arithmetc 1'.*closest"),
        ("needed,needing\n{a},\n", "row 2, column 'needing': expected a concept, the cell is empty"),
        ("needed,after\n{a},{b}\n", "column 'needing': the column is missing; there are needed, after"),
        ("needed,needing\n{a},{b}\n{b},{c}\n{c},{a}\n{c},{d}\n", "form a cycle, {a} → {b} → {c} → {a}; leave one"),
        ("needed,needing\n{a},{a}\n", "form a cycle, {a} → {a}; leave one"),
        ("", "the file is empty"),
    ],
)
def test_an_unusable_file_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    names = dict(zip("abcd", made(tmp_path).concept_names, strict=False))
    with pytest.raises(DataError, match=message.format(**names)):
        made(tmp_path, write(tmp_path, text.format(**names)))


def test_a_missing_file_and_two_wishes_at_once(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"--data\.prerequisites_file"):
        made(tmp_path, str(tmp_path / "none.csv"))
    with pytest.raises(SettingError, match="without_prerequisites"):
        made(tmp_path, write(tmp_path, "needed,needing\n"), without=True)
