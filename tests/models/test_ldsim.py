"""LDSim: what it takes from the data and from files, how it is trained, and what each part adds to the loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.distilled_files import MasteryLabels
from lpr_lightning.draws import Draws
from lpr_lightning.errors import DataError, MissingFileError, SettingError
from lpr_lightning.hparams import load_module
from lpr_lightning.models.ldsim import LDSim
from lpr_lightning.types import Exercise, InteractionBatch, Interactions

SMALL = {"embedding_size": 6, "hidden_size": 7, "head_size": 8, "window_length": 4, "moments": 2, "warm_up_epochs": 0}


def data(folder: Path, prerequisites: bool = True) -> SyntheticLearners:
    return SyntheticLearners(
        num_concepts=10,
        num_learners=60,
        answers=(20, 40),
        batch_size=64,
        cache_dir=str(folder),
        without_prerequisites=not prerequisites,
    )


def small(num_items: int = 50, num_concepts: int = 10, **settings: object) -> LDSim:
    torch.manual_seed(0)
    return LDSim(num_concepts, num_items, **(SMALL | settings))  # type: ignore[arg-type]


def trainer(folder: Path, epochs: int = 1) -> Trainer:
    return Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def labelled(learners: SyntheticLearners, folder: Path) -> Path:
    """Write a label of no mastery of concept 3 after two answers of each training learner, and one of nobody."""
    learners.setup()
    names = {number: name for name, number in learners.concept_vocabulary.items()}
    numbers = learners.interactions("train").learner.tolist()
    rows = [f"{one},2,{names[3]},1,0,0,1" for one in numbers] + [f"{max(numbers) + 9999},2,{names[3]},1,0,0,1"]
    path = folder / "labels.csv"
    path.write_text("\n".join(["learner,step,concept,level_0,level_1,level_2,confidence", *rows]) + "\n")
    return path


@pytest.mark.parametrize("practice", ["growth", "answers"])
def test_a_fit_changes_every_weight_and_a_checkpoint_has_the_graph(practice: str, tmp_path: Path) -> None:
    learners = data(tmp_path)
    learners.setup()
    tracer = small(learners.num_items, practice=practice)
    assert not tracer.connected
    before = {name: weight.clone() for name, weight in tracer.named_parameters()}
    fit = trainer(tmp_path, epochs=4)
    fit.fit(tracer, learners)
    after = dict(tracer.named_parameters())
    assert {name for name in before if torch.equal(before[name], after[name])} == set()
    assert bool(tracer.net.read.graph.known)
    assert bool((tracer.net.read.graph.needed >= 0).any())
    fit.save_checkpoint(tmp_path / "one.ckpt")
    torch.load(tmp_path / "one.ckpt", weights_only=True)
    loaded = load_module(tmp_path / "one.ckpt")
    assert isinstance(loaded, LDSim)
    assert torch.equal(loaded.net.read.graph.weight, tracer.net.read.graph.weight)
    batch = learners.interactions("test").batch(torch.arange(5))
    torch.testing.assert_close(loaded.eval()(batch), tracer.eval()(batch))


def test_without_prerequisites_the_graph_is_that_of_the_answers(tmp_path: Path) -> None:
    learners = data(tmp_path, prerequisites=False)
    learners.setup()
    tracer = small(learners.num_items)
    trainer(tmp_path).fit(tracer, learners)
    weight = tracer.net.read.graph.weight
    assert bool(((weight > 0) & (weight < 1)).any())


def batch_of_two() -> InteractionBatch:
    return Interactions.from_lists(
        [[(c % 4, c % 2) for c in range(9)], [(3, 1), (2, 0), (1, 1), (0, 0), (0, 1)]]
    ).batch(torch.arange(2))


def losses(tracer: LDSim, joint: bool = True) -> dict[str, float]:
    batch = batch_of_two()
    with tracer.net.read.tables_once():
        found = tracer.all_losses(batch, Draws.of(0, 0, batch.learner), joint)
    return {name: float(value.detach()) for name, value in found.items()}


def told(tracer: LDSim) -> LDSim:
    """Return a tracer with one label and four questions, as after the start of a fit."""
    one, half = torch.ones(1), torch.full((1,), 0.5)
    tracer.told = MasteryLabels(torch.tensor([0]), torch.tensor([3]), torch.tensor([2]), one, half)
    tracer.item_concepts = torch.arange(4)[:, None]
    return tracer


def test_each_part_is_a_term_of_the_loss_and_can_be_left_out() -> None:
    every = {"answers", "penalty", "difficulty", "mastery", "reasoning", "roll_out", "pseudo"}
    assert set(losses(told(small(9, 4)))) == every
    for name in ("mastery", "reasoning", "roll_out", "pseudo"):
        assert set(losses(told(small(9, 4, **{f"{name}_weight": 0.0})))) == every - {name}
    assert set(losses(told(small(9, 4, practice="answers")))) == every | {"own_answers"}
    assert set(losses(told(small(9, 4)), joint=False)) == every - {"roll_out", "pseudo"}
    assert small(9, 4, pseudo_weight=0.0).teacher is None
    assert small(9, 4, relations=False).net.read.graph.needed.shape == (4, 0)


def test_the_loss_of_a_label_is_weighted_by_its_confidence_within_the_batch() -> None:
    tracer = told(small(9, 4, item_dropout=0.0, dropout=0.0))
    with torch.no_grad():
        mastery = float(tracer.mastery(tracer.encode(batch_of_two().first(torch.tensor([3, 3]))))[0, 2])
    expected = 0.5 * 0.5 * -torch.tensor(mastery).log()  # weight, confidence; labels count as one at least
    assert losses(tracer)["reasoning"] == pytest.approx(float(expected), rel=1e-4)


def test_two_learners_can_be_learned_by_heart() -> None:
    tracer = told(small(9, 4, embedding_size=16, hidden_size=16, dropout=0.0, item_dropout=0.0, learning_rate=0.02))
    optimizer, batch = tracer.configure_optimizers(), batch_of_two()
    for step in range(120):
        optimizer.zero_grad()
        with tracer.net.read.tables_once():
            found = tracer.all_losses(batch, Draws.of(0, step, batch.learner))
        torch.autograd.backward(torch.stack(list(found.values())).sum())
        optimizer.step()
    assert float(tracer.losses(batch)["answers"].detach()) < 0.1


def test_the_teacher_follows_and_is_not_trained() -> None:
    tracer = told(small(9, 4, teacher_decay=0.5))
    assert tracer.teacher is not None
    optimizer = tracer.configure_optimizers()
    old = tracer.teacher.read.bias.clone()
    batch = batch_of_two()
    with tracer.net.read.tables_once():
        found = tracer.all_losses(batch, Draws.of(0, 0, batch.learner))
    torch.autograd.backward(torch.stack(list(found.values())).sum())
    optimizer.step()
    assert all(one.grad is None for one in tracer.teacher.parameters())
    assert torch.equal(tracer.teacher.read.bias, old)
    tracer.move_teacher()
    torch.testing.assert_close(tracer.teacher.read.bias, (old + tracer.net.read.bias) / 2)


def test_attempted_questions_are_no_pseudo_questions() -> None:
    tracer = told(small(9, 4))
    tracer.item_concepts = torch.tensor([[0]])  # one question, which both learners answered
    assert losses(tracer)["pseudo"] == 0.0


def test_labels_of_a_file_move_mastery_towards_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    learners = data(tmp_path)
    path = labelled(learners, tmp_path)
    torch.manual_seed(0)
    found = []
    for labels in (None, str(path)):
        tracer = small(learners.num_items, labels=labels, reasoning_weight=5.0, learning_rate=0.02)
        caplog.clear()
        with caplog.at_level("INFO"):
            trainer(tmp_path, epochs=4).fit(tracer, learners)
        test = learners.interactions("test").batch(torch.arange(12)).first(torch.full((12,), 2))
        with torch.no_grad():
            found.append(tracer.eval().mastery(tracer.encode(test))[:, 3])
    count = len(learners.interactions("train").learner)
    assert f"{count} of {count + 1} labels" in caplog.text
    assert float(found[1].mean()) < float(found[0].mean()) - 0.1


def test_files_are_refused_before_work_starts(tmp_path: Path) -> None:
    learners = data(tmp_path)
    with pytest.raises(MissingFileError):
        small(learners.num_items, graph=str(tmp_path / "none.csv")).connect(learners)
    path = tmp_path / "graph.csv"
    path.write_text("needed,needing\nalgebra,geometry\n")
    with pytest.raises(DataError, match="algebra"):
        small(learners.num_items, graph=str(path)).connect(learners)
    names = {number: name for name, number in learners.concept_vocabulary.items()}
    path.write_text(f"needed,needing,confidence\n{names[0]},{names[4]},0.8\n{names[1]},{names[4]},0.2\n")
    tracer = small(learners.num_items, graph=str(path))
    tracer.connect(learners)
    assert tracer.net.read.graph.weight.nonzero().tolist() == [[4, 0]]
    with pytest.raises(SettingError, match="num_items"):
        trainer(tmp_path).fit(small(learners.num_items + 1), learners)


def test_unseen_questions_are_asked_by_their_concepts() -> None:
    tracer = small(9, 4).eval()
    state = tracer.initial_state(1)
    known, unknown, none = (
        tracer.predict(state, Exercise(torch.tensor([[2]]), torch.tensor([item]))) for item in (5, 9, -1)
    )
    assert torch.equal(unknown, none)
    with torch.no_grad():
        tracer.net.read.difficulty.weight[5] = 1.0
    assert not torch.equal(tracer.predict(state, Exercise(torch.tensor([[2]]), torch.tensor([5]))), known)


@pytest.mark.parametrize(
    "setting",
    [
        {"embedding_size": 0},
        {"head_size": 0},
        {"neighbours": 0},
        {"dropout": 1.5},
        {"teacher_decay": -0.1},
        {"window_length": 1},
        {"moments": 0},
        {"roll_out_weight": -1.0},
        {"practice": "reading"},
        {"fed": "soft"},
        {"most_fed": 1.5},
        {"warm_up_epochs": -1},
        {"learning_rate": 0.0},
        {"difficulty_decay": -1.0},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(setting: dict[str, object]) -> None:
    (name,) = setting
    with pytest.raises(SettingError, match=name):
        small(9, 4, **setting)


def test_a_graph_that_is_not_used_is_refused() -> None:
    with pytest.raises(SettingError, match="graph"):
        LDSim(3, 4, graph="graph.csv", relations=False)
