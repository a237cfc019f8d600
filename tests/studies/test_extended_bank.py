"""Questions that enter as vectors only: two tracers, two banks, one table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lpr_lightning.policies.exact_greedy import ExactGreedy
from lpr_lightning.studies.extended_bank import SEED, SHARE, ExtendedBank
from lpr_lightning.studies.tracer_fits import FitFolder, data_description, data_module
from lpr_lightning.tasks.known_items import known_items

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.logger=false", "--trainer.enable_model_summary=false"]
TRACER = """\
model:
  class_path: CalibratedDKT
  init_args: {embedding_size: 6, hidden_size: 5, head_size: 6, calibration_epochs: 1}
data: {class_path: SyntheticLearners, init_args: {batch_size: 16, task: {class_path: NextAnswers}}}
trainer: {max_epochs: 2, accelerator: cpu}
"""


def test_two_thirds_of_the_questions_enter_as_vectors(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "traced.yaml"
    config.write_text(TRACER)
    words = ["--data.num_learners=40", "--data.num_concepts=6"]
    description, _ = data_description(project / "configs" / "grpo.yaml", None, words)
    data = data_module(description)
    torch.manual_seed(0)
    names = {"ids": json.dumps(data.item_names)}
    save_file({"vectors": torch.randn(data.num_items, 6)}, "vectors.safetensors", names)
    fits = FitFolder(tmp_path / "fits", description, data, 0, QUIET)
    banks = ExtendedBank.fitted(fits, config, Path("vectors.safetensors"))
    known = known_items(torch.arange(data.num_items), SHARE, SEED)
    assert {name: len(bank) for name, bank in banks.banks().items()} == {"known": int(known.sum()), "extended": 30}
    for bank in ("known", "extended"):
        part, whole = banks.judges(bank)
        assert len(part.simulator.actions) == len(whole.simulator.actions) == len(banks.banks()[bank])
    files = [[project / "configs" / "exercises" / f"{name}.yaml"] for name in ("exact_greedy", "historical")]
    methods = banks.methods(files, "known")
    assert list(methods) == ["exact_greedy, known"]
    assert isinstance(methods["exact_greedy, known"].policy, ExactGreedy)
    weights = [dict(one.tracer.named_parameters()) for one in (banks.part, banks.whole)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
