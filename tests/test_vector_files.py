"""Are files of vectors read in the data's order, and wrong ones refused with advice?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lpr_lightning.errors import DataError, MissingFileError, SettingError
from lpr_lightning.vector_files import load_clusters, load_vectors

NUMBERS = {"a": 0, "b": 1, "c": 2}
VECTORS = torch.tensor([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
IDS = ["c", "a", "b"]


def write(folder: Path, kind: str, vectors: torch.Tensor = VECTORS, ids: list[str] | None = IDS) -> Path:
    path = folder / f"questions.{'npy' if kind == 'npy' else 'safetensors'}"
    inside = {"ids": json.dumps(ids)} if kind == "metadata" and ids is not None else None
    if kind == "npy":
        np.save(path, vectors.numpy())
    else:
        save_file({"vectors": vectors}, path, metadata=inside)
    if inside is None and ids is not None:
        path.with_suffix(".json" if kind == "side" else ".ids.json").write_text(json.dumps(ids))
    return path


@pytest.mark.parametrize("kind", ["metadata", "side", "npy"])
def test_rows_come_in_the_datas_order(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind)
    plain = load_vectors(path, NUMBERS, 2, normalize=False)
    assert torch.equal(plain, VECTORS[[1, 2, 0]])
    scaled = load_vectors(path, NUMBERS, 2)
    torch.testing.assert_close(scaled.norm(dim=1), torch.full((3,), 2**0.5))
    torch.testing.assert_close(scaled[2], torch.tensor([0.6, 0.8]) * 2**0.5)


def test_two_names_of_one_concept_are_one(tmp_path: Path) -> None:
    path = write(tmp_path, "npy", ids=["c", "A", "b"])
    assert torch.equal(load_vectors(path, {"A": 0, **NUMBERS}, 2, normalize=False), VECTORS[[1, 2, 0]])


def test_two_vectors_of_one_concept_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "npy", ids=["A", "a", "b"])
    with pytest.raises(DataError, match="the same concept"):
        load_vectors(path, {"A": 0, **NUMBERS}, 2, what="concept")


def test_unknown_names_can_be_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, "npy")
    found = load_vectors(path, {"a": 0, "b": 1}, 2, normalize=False, ignore_unknown=True)
    assert torch.equal(found, VECTORS[1:])


def spoiled(row: int, value: float) -> torch.Tensor:
    vectors = VECTORS.clone()
    vectors[row] = value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "ids", "width", "error", "words"),
    [
        (VECTORS, IDS, 3, SettingError, ["embedding_size=3", "--model.embedding_size 2"]),
        (VECTORS, ["c", "a", "x"], 2, DataError, ["'x'", "ignore_unknown"]),
        (VECTORS[:2], ["c", "a"], 2, DataError, ["no vector for questions 'b'"]),
        (VECTORS, ["c", "a", "a"], 2, DataError, ["'a'", "more than once"]),
        (VECTORS, ["c", "a"], 2, DataError, ["2 names", "(3, 2)"]),
        (VECTORS[:, 0].contiguous(), IDS, 2, DataError, ["shape (3,)"]),
        (spoiled(2, 0.0), IDS, 2, DataError, ["'b'", "zero"]),
        (spoiled(0, float("nan")), IDS, 2, DataError, ["'c'", "not finite"]),
        (VECTORS, None, 2, MissingFileError, ["questions.ids.json", "JSON list"]),
    ],
)
def test_wrong_files_are_refused_with_advice(
    vectors: torch.Tensor, ids: list[str] | None, width: int, error: type[Exception], words: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path, "npy", vectors, ids)
    with pytest.raises(error) as caught:
        load_vectors(path, NUMBERS, width)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="learn them by id"):
        load_vectors(tmp_path / "no.npy", NUMBERS, 2)
    with pytest.raises(SettingError, match="safetensors"):
        load_vectors(tmp_path / "no.pt", NUMBERS, 2)
    for name in ("bad.npy", "bad.safetensors"):
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(DataError, match="cannot be read"):
            load_vectors(tmp_path / name, NUMBERS, 2)
    save_file({"other": VECTORS}, tmp_path / "other.safetensors")
    with pytest.raises(DataError, match="vectors"):
        load_vectors(tmp_path / "other.safetensors", NUMBERS, 2)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        load_vectors(tmp_path / "objects.npy", NUMBERS, 2)


def test_clusters_are_groups_by_their_first_concept(tmp_path: Path) -> None:
    path = tmp_path / "clusters.json"
    path.write_text(json.dumps({"0": ["c", "b"], "1": []}))
    assert load_clusters(path, NUMBERS, 3).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"0": ["x"]}', "'x'"), ('{"0": ["a"], "1": ["a"]}', "twice"), ("[1]", "JSON object"), ("{", "not JSON")],
)
def test_wrong_clusters_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "clusters.json"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        load_clusters(path, NUMBERS, 3)
    with pytest.raises(MissingFileError, match="clusters"):
        load_clusters(tmp_path / "none.json", NUMBERS, 3)
