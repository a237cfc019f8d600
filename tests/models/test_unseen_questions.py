"""Questions that no training learner was asked: every tracer asks them by their concepts, in tests and predictions."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from safetensors.torch import load_file

from lpr_lightning import (
    DKT,
    AnswerWriter,
    CalibratedDKT,
    InteractionsCSV,
    MasteryHeatmap,
    MasteryReport,
    MasteryWriter,
    PerformanceFactors,
    ReliabilityDiagram,
    SimpleKT,
    SuccessWriter,
)
from lpr_lightning.bases.tracer import TracerModule
from lpr_lightning.callbacks.mastery_heatmap import panel_of
from lpr_lightning.types import Exercise

MODELS: dict[str, Callable[[InteractionsCSV], TracerModule]] = {
    "dkt": lambda data: DKT(data.num_concepts, 8, 8),
    "simple_kt": lambda data: SimpleKT(data.num_concepts, data.num_items, 8, 1, 2),
    "calibrated_dkt": lambda data: CalibratedDKT(
        data.num_concepts, data.num_items, embedding_size=8, hidden_size=8, head_size=8, calibration_epochs=1
    ),
    "performance_factors": lambda data: PerformanceFactors(data.num_concepts, iterations=2),
}
HEADER = "learner,order,item,concept,correct\n"


def write(path: Path, learners: int, items: int) -> Path:
    """Four questions on each of three concepts; questions from the twelfth on are on these again, one on two."""
    draw, lines = random.Random(items), []
    for one in range(learners):
        for order in range(12):
            item = draw.randrange(items)
            concept = "c0~c2" if item % 12 == 5 else f"c{item % 3}"
            lines.append(f"{path.stem}{one},{order},q{item},{concept},{draw.randrange(2)}\n")
    path.write_text(HEADER + "".join(lines))
    return path


@pytest.mark.parametrize("name", MODELS)
def test_new_questions_and_new_learners(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPR_CACHE", str(tmp_path / "cache"))
    train, test = write(tmp_path / "train.csv", 30, 12), write(tmp_path / "test.csv", 6, 24)
    histories, goals = tmp_path / "histories.csv", tmp_path / "goals.csv"
    histories.write_text("learner,concept,correct,item\nzoe,c1,1,q1\nzoe,c0;c2,0,q999\nann,c2,1,\n")
    goals.write_text("learner,targets,items\nann,c0;c1,q5\nbob,,q5;q0\n")
    options: dict[str, Any] = {"test_root": str(test), "concept_separator": "~", "batch_size": 8}
    data = InteractionsCSV(str(train), predict_histories=str(histories), **options)
    torch.manual_seed(0)
    module = MODELS[name](data)
    looks = [MasteryHeatmap(min_answers=1), MasteryReport(), ReliabilityDiagram(), AnswerWriter()]
    trainer = Trainer(
        default_root_dir=tmp_path,
        logger=False,
        accelerator="cpu",
        max_epochs=2,
        callbacks=[*looks, MasteryWriter(png=True), SuccessWriter()],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    assert len(load_file(tmp_path / "answers.safetensors")["item"]) == 6 * 11
    module.eval()
    log = data.interactions("test").batch(torch.arange(1))
    assert bool((log.item == -1).any())
    assert bool((log.item >= 0).any())
    panel = panel_of(module, log, data.concept_names, 3)
    assert len(panel.right) + len(panel.wrong) == int((log.concept >= 0).sum())
    with torch.no_grad():
        rows = {text.split(" ")[0]: row for row, text in enumerate(panel.names)}
        last = module.mastery(module.encode(log))[0]
        drawn = torch.stack([panel.mastery[rows[one], -1] for one in data.concept_names])
        torch.testing.assert_close(drawn, last, atol=1e-5, rtol=1e-4)

    trainer.predict(module, data, return_predictions=False)
    assert [row["learner"] for row in table(tmp_path / "mastery.csv")] == ["zoe"] * 3 + ["ann"] * 3
    assert [row["answers"] for row in table(tmp_path / "mastery.csv")] == ["1", "1", "1", "0", "0", "1"]
    assert not (tmp_path / "success.csv").exists()
    assert (tmp_path / "mastery.png").exists()
    asked = InteractionsCSV(str(train), predict_histories=str(histories), predict_goals=str(goals), **options)
    trainer.predict(module, asked, return_predictions=False)
    found = table(tmp_path / "success.csv")
    assert [(row["learner"], row["item"], row["concept"]) for row in found] == [
        ("ann", "", "0"),
        ("ann", "", "1"),
        ("ann", "q5", "0;2"),
        ("bob", "q0", "0"),
        ("bob", "q5", "0;2"),
    ]
    with torch.no_grad():
        number = torch.tensor([asked.item_names.index("q0"), asked.item_names.index("q5")])
        bob = module.predict(module.initial_state(1), Exercise(torch.tensor([[[0, -1], [0, 2]]]), number[None]))
    assert [float(row["predicted_success"]) for row in found[3:]] == pytest.approx(bob[0].tolist(), abs=1e-5)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
