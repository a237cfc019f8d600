"""One command learns prerequisites, writes what a datamodule reads, draws it, and says how right it is."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lpr_lightning.datamodules.synthetic import SyntheticLearners

SMALL = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]


@pytest.fixture
def script(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("learn_prerequisites", project / "experiments/learn_prerequisites.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(project: Path, out: Path, *words: str) -> list[str]:
    return [
        "--config",
        str(project / "configs/performance_factors.yaml"),
        "--out",
        str(out),
        "--penalties=1e-5",
        *words,
    ]


def test_what_is_written_is_read_and_drawn(
    script: ModuleType, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, sizes = tmp_path / "out", ["--data.num_learners=60", "--data.num_concepts=10"]
    script.main([*command(project, out, "--threshold=0.1"), "--", *SMALL, *sizes])
    shown = capsys.readouterr().out
    assert (out / "prerequisites.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads((out / "prerequisites.json").read_text())
    own = SyntheticLearners(num_learners=60, num_concepts=10)
    file = str(out / "prerequisites.csv")
    data = SyntheticLearners(num_learners=60, num_concepts=10, prerequisites_file=file)
    edges = data.prerequisites
    assert result["edges"] == (0 if edges is None else len(edges))
    assert own.prerequisites is not None
    true = {tuple(edge) for edge in own.prerequisites.tolist()}
    hits = 0 if edges is None else len(true & {tuple(edge) for edge in edges.tolist()})
    assert result["figures"]["learned"]["hits"] == hits
    assert result["figures"]["random pairs"]["precision"] == pytest.approx(len(true) / 90)
    for rival in ("order alone", "correlation of answers"):
        assert result["figures"][rival]["edges"] == min(result["edges"], result["candidates"])
        assert f"| {rival} |" in shown
    assert list(out.glob("logs/*/version_0/checkpoints/best.ckpt"))


def test_a_world_without_prerequisites_is_said_to_have_none(
    script: ModuleType, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, sizes = tmp_path / "out", ["--data.num_learners=40", "--data.num_concepts=5", "--data.world=SelectiveWorld"]
    script.main([*command(project, out), "--", *SMALL, *sizes])
    assert "(0 known)" in capsys.readouterr().out
    assert (out / "prerequisites.csv").read_text().startswith("needed,needing,strength\n")


def test_of_relations_without_direction_either_counts(script: ModuleType) -> None:
    related = torch.zeros(3, 3, dtype=torch.bool)
    related[0, 1] = related[1, 0] = related[1, 2] = related[2, 1] = True
    chosen = torch.zeros(3, 3, dtype=torch.bool)
    chosen[0, 1] = chosen[2, 0] = True
    assert script.Reference(related, False).figures(chosen) == {"edges": 2, "hits": 1, "precision": 0.5, "recall": 0.5}
    assert script.Reference(related, True).figures(chosen)["recall"] == 0.25


def test_relations_are_found_by_raw_id(script: ModuleType, project: Path, tmp_path: Path) -> None:
    data = SyntheticLearners(num_learners=20, num_concepts=5)
    names, path = data.concept_names, tmp_path / "relations.csv"
    path.write_text(f"id,a,b\n1,{names[0]},{names[2]}\n2,{names[2]},{names[0]}\n3,{names[1]},{names[1]}\n")
    words = command(project, tmp_path, "--relations", str(path), "--relation_columns", "a", "b")
    reference = script.reference_of(script.options_of(words), data)
    assert reference.related.nonzero().tolist() == [[0, 2], [2, 0]]
    assert (reference.size, reference.directed) == (1, False)
    path.write_text("a,b\nnobody,x\n")
    with pytest.raises(ValueError, match=r"row 2, column 'a'.*nobody"):
        script.reference_of(script.options_of(words), data)


def test_names_with_commas_stay_whole(script: ModuleType, tmp_path: Path) -> None:
    from lpr_lightning.bases.learned_prerequisites import LearnedPrerequisites
    from lpr_lightning.datamodules.prerequisites import read_edges
    from lpr_lightning.functional.course_order import course_order
    from lpr_lightning.types import Interactions

    strength = torch.tensor([[0.0, 0.0], [0.9, 0.0]])
    order = course_order(Interactions.from_lists([[(0, 1), (1, 1)]]), 2)
    learned = LearnedPrerequisites(strength, strength > 0, order, {}, 1.0)
    names = ['sums, and "more"', "b"]
    script.written(tmp_path, learned, names, 0.3)
    assert read_edges(str(tmp_path / "prerequisites.csv"), {names[0]: 0, names[1]: 1}).tolist() == [[0, 1]]


def test_help_says_what_goes_in_and_comes_out(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        script.main(["--help"])
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    assert "prerequisites_file" in shown
    assert "--relations" in shown


def test_a_policy_is_no_tracer(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        script.main(["--relations", str(tmp_path / "none.csv")])


def test_experts_relations_of_dbe_kt22(
    script: ModuleType, project: Path, data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = data_root / "dbe_kt22"
    if not (root / "KC_Relationships.csv").is_file():
        pytest.skip(f"no KC_Relationships.csv in {root}")
    words = ["--data", str(project / "configs/data/dbe_kt22.yaml"), "--root", str(root)]
    words = command(project, tmp_path / "out", *words, "--relations", str(root / "KC_Relationships.csv"))
    script.main([*words, "--", *SMALL, "--data.max_learners=60"])
    assert "(101 known)" in capsys.readouterr().out
