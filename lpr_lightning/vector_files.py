"""Files of question and concept vectors, and of clusters of concepts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.errors import DataError, MissingFileError, SettingError

TENSOR = "vectors"


def load_vectors(
    path: str | Path,
    numbers: Mapping[str, int],
    width: int,
    normalize: bool = True,
    ignore_unknown: bool = False,
    what: str = "question",
) -> Tensor:
    """Return the vectors of a file in the order of the data's own numbers, [rows, width] float32.

    `X.safetensors` holds a tensor `vectors` [Q, D] and, in its metadata under `ids`, a JSON list of their names;
    `X.npy` holds the array alone. Names may also stand in `X.ids.json` or `X.json`, a JSON list.

    Args:
        path: The file.
        numbers: Number of each name in the data; several names may have the same number.
        width: D that the tracer was made for.
        normalize: Give each vector the length sqrt(D) (eq. 10 of ExRec, as loaded by its code).
        ignore_unknown: Pass over vectors whose names the data do not have.
        what: What the vectors belong to, for messages.

    Raises:
        MissingFileError: The file or its names are not there.
        DataError: The file does not fit the data, or holds vectors that cannot be used.
        SettingError: The vectors have another width.
    """
    path = Path(path)
    ids, vectors = _read(path, what)
    if vectors.dim() != 2 or len(ids) != len(vectors):
        raise DataError(path, f"{len(ids)} names stand beside vectors of shape {tuple(vectors.shape)}")
    if vectors.shape[1] != width:
        allowed = f"{vectors.shape[1]}, the width of the vectors in {path}"
        raise SettingError("embedding_size", width, allowed, f"Set --model.embedding_size {vectors.shape[1]}")
    rows = _rows(path, ids, numbers, ignore_unknown, what)
    vectors = vectors.float()[rows]
    for wrong, problem in ((~vectors.isfinite().all(1), "not finite"), ((vectors == 0).all(1), "zero")):
        if bool(wrong.any()):
            which = [ids[rows[place]] for place in wrong.nonzero().squeeze(1).tolist()]
            raise DataError(path, f"vectors of {_some(which)} are {problem}; make them again")
    return F.normalize(vectors, dim=1) * width**0.5 if normalize else vectors


def load_clusters(path: str | Path, numbers: Mapping[str, int], size: int) -> Tensor:
    """Return the group of each concept, [size] int64, from a JSON file `{cluster: [concept names]}`.

    Concepts in no cluster are groups of their own. Groups are numbered by their first concept.

    Raises:
        MissingFileError: The file is not there.
        DataError: It is no such file, names unknown concepts, or a concept twice.
    """
    path = Path(path)
    clusters = _json(path, "clusters", "give --model.clusters a JSON file {cluster: [concept names]}")
    if not isinstance(clusters, dict) or not all(isinstance(names, list) for names in clusters.values()):
        raise DataError(path, "expected a JSON object of lists: {cluster: [concept names]}")
    unknown = [str(name) for names in clusters.values() for name in names if str(name) not in numbers]
    if unknown:
        raise DataError(path, f"{_some(unknown)} are no concepts of the data; use the names in data.concept_names")
    group = torch.arange(size)
    seen: set[int] = set()
    for names in clusters.values():
        members = [numbers[str(name)] for name in names]
        for name, member in zip(names, members):
            if member in seen:
                raise DataError(path, f"concept {name!r} stands in it twice; a concept belongs to one cluster")
            seen.add(member)
        if members:
            group[members] = min(members)
    return group


def _read(path: Path, what: str) -> tuple[list[str], Tensor]:
    """Return the names and the tensor of a file."""
    advice = f"give a .safetensors or .npy file of {what} vectors, or null to learn them by id"
    if path.suffix not in (".safetensors", ".npy"):
        raise SettingError("embeddings", str(path), "a .safetensors or a .npy file")
    if not path.is_file():
        raise MissingFileError(path.name, path.parent, advice)
    ids: object = None
    try:
        if path.suffix == ".npy":
            vectors = torch.from_numpy(np.ascontiguousarray(np.load(path, allow_pickle=False)))
        else:
            with safe_open(path, "pt") as file:
                names = file.keys()
                if TENSOR not in names:
                    raise DataError(path, f"there is no tensor named {TENSOR!r}")
                vectors = file.get_tensor(TENSOR)
                text = (file.metadata() or {}).get("ids")
                ids = None if text is None else json.loads(text)
        ids = _side_file(path) if ids is None else ids
    except (SafetensorError, ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(path, f"it cannot be read ({error})") from error
    if not isinstance(ids, list):
        raise DataError(path, "its names are not a JSON list")
    return [str(one) for one in ids], vectors


def _side_file(path: Path) -> object:
    for suffix in (".ids.json", ".json"):
        if path.with_suffix(suffix).is_file():
            return _json(path.with_suffix(suffix), "names", "")
    advice = "write the names of the vectors, in their order, into it as a JSON list"
    raise MissingFileError(path.with_suffix(".ids.json").name, path.parent, advice)


def _json(path: Path, what: str, advice: str) -> object:
    if not path.is_file():
        raise MissingFileError(path.name, path.parent, advice)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(path, f"its {what} are not JSON ({error})") from error


def _rows(path: Path, ids: list[str], numbers: Mapping[str, int], ignore_unknown: bool, what: str) -> Tensor:
    """Return the file's row of each number of the data."""
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = [name for name in ids if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
        raise DataError(path, f"{_some(twice)} stand in it more than once")
    unknown = [name for name in ids if name not in numbers]
    if unknown and not ignore_unknown:
        raise DataError(
            path,
            f"{_some(unknown)} are no {what}s of the data; use the data's own names, "
            "or pass over them with --model.ignore_unknown true",
        )
    names = {number: name for name, number in reversed(list(numbers.items()))}
    row = {numbers[name]: place for place, name in enumerate(ids) if name in numbers}
    if len(row) < len(ids) - len(unknown):
        raise DataError(path, f"several of its names stand for the same {what}; give each {what} one vector")
    missing = [names[number] for number in names if number not in row]
    if missing:
        raise DataError(path, f"there is no vector for {what}s {_some(missing)}; the file must cover the whole data")
    return torch.tensor([row[number] for number in range(len(names))], dtype=torch.int64)


def _some(names: list[str]) -> str:
    """Return a few names, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
