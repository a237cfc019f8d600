"""Vectors made of wording fit the tracer that asks for them, and like texts are alike."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lpr_lightning.errors import SettingError
from lpr_lightning.models.calibrated_dkt import CalibratedDKT


@pytest.fixture
def text_vectors(project: Path) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("text_vectors", project / "experiments" / "text_vectors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_equal_texts_get_equal_vectors_and_empty_ones_are_not_zero(text_vectors: ModuleType) -> None:
    texts = ["Select <b>rows</b> of a table", "select rows of a TABLE", "join two tables", "join of two sets", "?"]
    vectors = text_vectors.latent_semantics(texts, 3)
    torch.testing.assert_close(vectors[0], vectors[1])
    assert float((vectors[0] - vectors[2]).norm()) > 0.1
    assert bool((vectors.norm(dim=1) > 0).all())


def test_too_wide_vectors_are_refused(text_vectors: ModuleType) -> None:
    with pytest.raises(SettingError, match="at most 1"):
        text_vectors.latent_semantics(["one word", "one more"], 5)


@pytest.mark.data
def test_the_files_fit_the_tracer(text_vectors: ModuleType, data_root: Path, tmp_path: Path) -> None:
    root = data_root / "dbe_kt22"
    text_vectors.main(["--root", str(root), "--out", str(tmp_path)])
    data = text_vectors.DBEKT22(str(root))
    tracer = CalibratedDKT(
        data.num_concepts,
        data.num_items,
        str(tmp_path / "questions.safetensors"),
        str(tmp_path / "concepts.safetensors"),
        embedding_size=64,
    )
    tracer.connect(data)
    assert tracer.mastery(tracer.initial_state(1)).shape == (1, data.num_concepts)
