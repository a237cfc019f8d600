"""Are a concept's targets what the frozen net predicts for its questions, and which weights does the loss reach?"""

from __future__ import annotations

import pytest
import torch

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.nets.question_calibration import QuestionCalibration
from lpr_lightning.nets.question_net import QuestionNet
from lpr_lightning.nets.question_table import QuestionTable
from lpr_lightning.types import InteractionBatch

DRAWS, QUESTIONS = Draws.of(0, 0, torch.arange(3)), Draws.of(0, 1, torch.arange(3))


def net() -> QuestionNet:
    torch.manual_seed(0)
    table = QuestionTable(7, 3, size=4, learned_queries=True)
    table.attach(torch.tensor([[0], [0], [1], [1], [2], [2], [2]]))
    return QuestionNet(table, hidden_size=5, head_size=7)


def logs() -> InteractionBatch:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(6) < torch.tensor([6, 3, 1])[:, None]
    item = torch.randint(7, mask.shape, generator=generator)
    return InteractionBatch(
        concept=torch.where(mask, (item // 2).clamp_max(2), -1)[..., None],
        item=torch.where(mask, item, -1),
        correct=torch.randint(2, mask.shape, generator=generator) * mask.float(),
        mask=mask,
        learner=torch.arange(3),
    )


def calibration(one: QuestionNet, **settings: object) -> QuestionCalibration:
    options: dict[str, object] = {"questions_per_concept": None, "with_replacement": True}
    return QuestionCalibration(one, **options | {"freeze_lstm": True, "joint": True} | settings)  # type: ignore[arg-type]


@torch.no_grad()
def changed(one: QuestionNet) -> QuestionNet:
    for weight in one.parameters():
        weight.add_(0.3)
    return one


@pytest.mark.parametrize("freeze", [True, False])
def test_targets_are_the_frozen_nets_mean_over_questions(freeze: bool) -> None:
    one, batch = net(), logs()
    made = calibration(one, freeze_lstm=freeze)
    hidden = one.trace(batch).hidden[:, :-1][batch.mask[:, 1:]].detach()
    group = torch.arange(len(hidden)) % 3
    with torch.no_grad():
        answers = made.frozen.item_logits((hidden,)).sigmoid()
        now = changed(one).trace(batch).hidden[:, :-1][batch.mask[:, 1:]]
    target = made.targets(batch, hidden if freeze else now, group, QUESTIONS)
    questions = ([0, 1], [2, 3], [4, 5, 6])
    expected = torch.stack([answers[row, questions[g]].mean() for row, g in enumerate(group.tolist())])
    torch.testing.assert_close(target, expected)


def test_the_loss_is_the_cross_entropy_of_drawn_concepts_against_their_targets() -> None:
    one, batch = net(), logs()
    made = calibration(one, questions_per_concept=4)
    changed(one)
    losses = made.losses(one, batch, DRAWS, QUESTIONS)
    following = batch.mask[:, 1:]
    hidden = one.trace(batch).hidden[:, :-1][following]
    concept = one.table.draw(DRAWS, following)
    drawn = one.table.sample(QUESTIONS, 4, True)
    with torch.no_grad():
        every = made.frozen.item_logits((hidden,)).sigmoid()
        mastery = one.mastery((hidden,))
    total = torch.zeros(())
    for row, asked in enumerate(concept.tolist()):
        target, chance = every[row, drawn[asked]].mean(), mastery[row, asked]
        total -= target * chance.log() + (1 - target) * (1 - chance).log()
    torch.testing.assert_close(losses["concepts"].detach(), total / len(concept))
    logit, place = one.next_logits(batch)
    correct = batch.correct[:, 1:].flatten()[place]
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logit, correct)
    torch.testing.assert_close(losses["answers"].detach(), plain.detach())


@pytest.mark.parametrize("freeze", [True, False])
def test_gradients_reach_head_and_queries_and_the_memory_unless_it_is_frozen(freeze: bool) -> None:
    one = net()
    losses = calibration(one, freeze_lstm=freeze).losses(one, logs(), DRAWS, QUESTIONS)
    torch.autograd.backward(losses["concepts"] + losses["answers"])
    parts = one.parts()
    reached = {name for name, weights in parts.items() if any(weight.grad is not None for weight in weights)}
    assert {"head", "queries"} <= reached
    assert ("memory" in reached) is not freeze
    if freeze:
        assert not reached & {"own", "base"}


def test_weights_are_remembered_and_restored() -> None:
    one = net()
    made = calibration(one)
    before = [weight.clone() for weight in one.parameters()]
    made.remember(changed(one))
    after = [weight.clone() for weight in one.parameters()]
    made.restore(changed(one))
    for weight, new, old in zip(one.parameters(), after, before):
        assert torch.equal(weight, new)
        assert not torch.equal(weight, old)
    other = net()
    calibration(other).restore(changed(other))
    assert not any(torch.equal(weight, old) for weight, old in zip(other.parameters(), before))


def test_more_questions_than_there_are_are_refused() -> None:
    names = ["one", "two", "three"]
    calibration(net(), questions_per_concept=2, with_replacement=False).check(names)
    calibration(net(), questions_per_concept=3).check(names)
    with pytest.raises(SettingError, match=r"questions_per_concept=3.*at most 2.*'one'"):
        calibration(net(), questions_per_concept=3, with_replacement=False).check(names)
