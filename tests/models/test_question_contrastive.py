"""Does QuestionContrastive learn, find questions it never saw, and hand its vectors to CalibratedDKT?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lpr_lightning import QuestionContrastive, QuestionFile, SmallBert, SyntheticLearners, VectorWriter
from lpr_lightning.callbacks.question_map import QuestionMap
from lpr_lightning.errors import SettingError
from lpr_lightning.models.question_contrastive import representatives
from lpr_lightning.question_files import save_questions
from lpr_lightning.questions import Question, Questions
from lpr_lightning.tasks.question_texts import QuestionBatch, QuestionTexts
from lpr_lightning.vector_files import load_vectors

SMALL = SmallBert(width=16, layers=1, heads=2, feed_forward=32, vocabulary=200, dropout=0.0)
TWO = Questions(
    (
        Question("q1", "Which fraction is half?", steps=("Halve it.",), concepts=("halves", "names"), pairs=((0, 0),)),
        Question("q2", "Solve for x.", steps=("Move x.", "Divide."), concepts=("equations",), pairs=((0, 0), (1, 0))),
    )
)


def module(bank: Questions = TWO) -> QuestionContrastive:
    torch.manual_seed(0)
    made = QuestionContrastive(SMALL, pooling="mean", learning_rate=0.01)
    made.net.fit_vocabulary([text for one in bank.questions for text in (one.wording, *one.steps, *one.concepts)])
    return made


def batch(bank: Questions = TWO) -> QuestionBatch:
    return QuestionBatch(torch.arange(len(bank)), bank, torch.arange(len(bank.concept_names)))


def test_one_step_changes_every_parameter_and_two_questions_are_learned() -> None:
    made = module().train()
    before = {name: one.detach().clone() for name, one in made.named_parameters()}
    optimizer = made.configure_optimizers()
    found = []
    for step in range(40):
        losses = made.losses(batch())
        loss = losses["questions"] + losses["steps"]
        found.append(loss.item())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step == 0:
            assert not [name for name, one in made.named_parameters() if torch.equal(one, before[name])]
    assert found[-1] < 0.8 < found[0]  # question 1 has two concepts: its loss is at least ln 2
    figures = made.eval().retrieval_figures(TWO, [0, 1], torch.arange(3))
    assert float(figures["micro_f1"]) == float(figures["mrr"]) == 1.0


@pytest.mark.parametrize("number", [0, 1])
def test_a_batch_of_one_question_is_finite(number: int) -> None:
    made = module()
    losses = made.losses(QuestionBatch(torch.tensor([number]), TWO, torch.arange(3)))
    (losses["questions"] + losses["steps"]).backward()  # type: ignore[no-untyped-call]
    grads = [one.grad for one in made.parameters() if one.grad is not None]
    assert grads
    assert all(bool(one.isfinite().all()) for one in grads)


def test_an_empty_text_is_named() -> None:
    bank = Questions((TWO[0], Question("blank", " ", concepts=("names",))))
    with pytest.raises(SettingError, match="'blank'"):
        module().losses(batch(bank))
    with pytest.raises(SettingError, match="'nothing'"):
        module().question_vectors([Question("nothing", "")])


def test_new_questions_need_no_annotation_and_textless_ones_lie_with_their_concepts() -> None:
    made = module().eval()
    new, textless = Question("n", "Which fraction is half?"), Question("t", "", concepts=("halves", "names"))
    vectors = made.question_vectors([new, textless, TWO[0]])
    assert torch.allclose(vectors[1], made.concept_vectors(["halves", "names"]).mean(0))
    alone = torch.nn.functional.normalize(made([new.text]), dim=-1) * 4
    assert torch.allclose(vectors[0], alone[0], atol=1e-5)
    assert torch.allclose(vectors[[0, 2]].norm(dim=1), torch.tensor(4.0))


def test_a_cluster_is_represented_by_one_of_its_concepts() -> None:
    cluster = torch.tensor([0, 1, 0, 3, 1, 1])
    chosen = representatives(cluster)
    assert sorted(cluster[chosen].tolist()) == [0, 1, 3]
    assert torch.equal(chosen, representatives(cluster))


def trainer(folder: Path, *callbacks: VectorWriter | QuestionMap, epochs: int = 2) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
    )


def test_from_questions_of_learners_to_vectors_that_a_tracer_reads(tmp_path: Path) -> None:
    data = SyntheticLearners(
        num_concepts=6, num_learners=20, answers=(5, 8), task=QuestionTexts(), batch_size=8, cache_dir=str(tmp_path)
    )
    torch.manual_seed(0)
    made = QuestionContrastive(SMALL, learning_rate=0.01)
    run = trainer(tmp_path, VectorWriter(), QuestionMap(png=True), epochs=3)
    run.fit(made, data)
    assert (tmp_path / "question_map.png").is_file()
    run.test(made, data, verbose=False)
    assert 0 <= float(run.callback_metrics["test/micro_f1"]) <= 1
    run.predict(made, data)
    numbers = {name: number for number, name in enumerate(data.item_names)}
    vectors = load_vectors(tmp_path / "questions.safetensors", numbers, 16)
    load_vectors(tmp_path / "concepts.safetensors", data.concept_vocabulary, 16, what="concept")
    expected = made.question_vectors([data.questions[7]])
    assert torch.allclose(vectors[7], expected[0], atol=1e-5)
    assert not (tmp_path / "annotated_concepts.safetensors").exists()


def test_a_file_of_questions_alone(tmp_path: Path) -> None:
    many = [Question(f"q{n}", f"Question {n} on topic {n % 3}.", concepts=(f"topic {n % 3}",)) for n in range(20)]
    save_questions(tmp_path / "bank.jsonl", Questions(tuple(many)))
    data = QuestionFile(str(tmp_path / "bank.jsonl"), batch_size=5)
    made = QuestionContrastive(SMALL)
    run = trainer(tmp_path, VectorWriter())
    run.fit(made, data)
    assert {"val/micro_f1", "val/loss", "val/recall_at_5"} <= set(run.callback_metrics)
    run.predict(made, data)
    assert load_vectors(tmp_path / "questions.safetensors", {f"q{n}": n for n in range(20)}, 16).shape == (20, 16)


def test_a_checkpoint_needs_neither_data_nor_vocabulary(tmp_path: Path) -> None:
    made = module().eval()
    run = trainer(tmp_path)
    run.strategy.connect(made)
    run.save_checkpoint(tmp_path / "a.ckpt")
    assert "tokenizer" not in json.dumps(dict(made.hparams))
    loaded = QuestionContrastive.load_from_checkpoint(tmp_path / "a.ckpt", map_location="cpu").eval()
    assert torch.equal(loaded(["Solve for x."]), made(["Solve for x."]))
