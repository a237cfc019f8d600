"""Does `search` find the question, and refuse what is no encoder of questions?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from lpr_lightning import DKT, QuestionContrastive, SmallBert, VectorWriter
from lpr_lightning.callbacks.vector_writer import write_vectors
from lpr_lightning.cli import main
from lpr_lightning.errors import SettingError
from lpr_lightning.question_files import save_questions
from lpr_lightning.questions import Question, Questions

BANK = Questions(
    (Question("q1", "Which fraction is half?", concepts=("halves",)), Question("q2", "Solve for x.", concepts=("x",)))
)


def saved(module: LightningModule, path: Path) -> str:
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=path.parent)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    return str(path)


def test_the_text_itself_is_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    module = QuestionContrastive(SmallBert(width=8, layers=1, heads=2, feed_forward=16, vocabulary=100), pooling="mean")
    module.net.fit_vocabulary([text for one in BANK.questions for text in (one.text, *one.concepts)])
    checkpoint, bank = saved(module, tmp_path / "a.ckpt"), tmp_path / "bank.jsonl"
    save_questions(bank, BANK)
    words = ["search", "--ckpt_path", checkpoint, "--questions", str(bank), "--count", "1"]
    main([*words, "--text", "Solve for x."])
    found = capsys.readouterr().out
    assert "q2" in found
    assert "1.000" in found
    assert "q1" not in found
    write_vectors(tmp_path / "v.safetensors", ["q2", "q1"], module.eval().question_vectors([BANK[0], BANK[1]]))
    main([*words, "--text", "Solve for x.", "--vectors", str(tmp_path / "v.safetensors")])
    assert "q1" in capsys.readouterr().out  # the file says so: its vectors are taken
    main([*words[:-1], "2", "--concept", "halves"])
    assert "q1" in capsys.readouterr().out


def test_a_tracer_encodes_no_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_questions(tmp_path / "bank.jsonl", BANK)
    checkpoint = saved(DKT(3, 4, 4), tmp_path / "a.ckpt")
    with pytest.raises(SystemExit, match="2"):
        main(["search", "--ckpt_path", checkpoint, "--questions", str(tmp_path / "bank.jsonl"), "--text", "x"])
    assert "a checkpoint of QuestionContrastive" in capsys.readouterr().err
    with pytest.raises(SettingError, match=r"ends in \.safetensors"):
        VectorWriter("vectors.bin")
