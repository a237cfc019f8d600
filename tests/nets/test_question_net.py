"""Is the whole log run as nn.LSTM would, and as single steps would?"""

from __future__ import annotations

from dataclasses import replace

import torch

from lpr_lightning.nets.question_net import QuestionNet
from lpr_lightning.nets.question_table import QuestionTable
from lpr_lightning.types import InteractionBatch, TracerState


def net() -> QuestionNet:
    torch.manual_seed(0)
    table = QuestionTable(6, 3, size=4)
    table.attach(torch.tensor([[0], [0], [1], [1], [2], [2]]))
    return QuestionNet(table, hidden_size=5, head_size=7).double()


def batch(soft: bool = False) -> InteractionBatch:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(7) < torch.tensor([4, 7, 0, 1])[:, None]
    item = torch.randint(6, mask.shape, generator=generator)
    correct = torch.rand(mask.shape, generator=generator, dtype=torch.float64)
    return InteractionBatch(
        concept=torch.where(mask, item // 2, -1)[..., None],
        item=torch.where(mask, item, -1),
        correct=torch.where(mask, correct if soft else correct.round(), 0.0),
        mask=mask,
        learner=torch.arange(4),
    )


def test_the_lookup_is_the_lstm() -> None:
    one, logs = net(), batch()
    trace = one(logs, with_state=True)
    inputs = trace.vectors[trace.row] + one.answer.weight[logs.correct.long()]
    for with_state in (False, True):
        hidden, state = one._by_lstm(inputs, logs.mask, with_state)
        torch.testing.assert_close(hidden[logs.mask], trace.hidden[logs.mask])
    torch.testing.assert_close(state, trace.state)
    assert not bool(trace.state[0][2].any())


def test_steps_equal_the_whole_log() -> None:
    one = net()
    for soft in (False, True):
        logs = batch(soft)
        trace = one(logs, with_state=True)
        state: TracerState = one.initial_state(1)
        with torch.no_grad():
            for step in range(7):
                state = one.observe_items(state, logs.item[1:2, step, None], logs.correct[1:2, step, None])
                torch.testing.assert_close(state[0], trace.hidden[1:2, step])
        torch.testing.assert_close(state, tuple(part[1:2] for part in trace.state))


def test_concepts_and_questions_are_asked_alike() -> None:
    one, logs = net(), batch()
    with torch.no_grad():
        state = one(logs, with_state=True).state
        concepts, items = one.concept_logits(state), one.item_logits(state)
        everything = torch.arange(6).expand(4, -1)
        for item in range(6):
            torch.testing.assert_close(one.item_pairs(state, everything[:, item]), items[:, item])
        torch.testing.assert_close(one.concept_pairs(state, torch.arange(3).expand(4, -1)), concepts)
        plain = one.head(state[0][:, None].expand(-1, 3, -1), one.table.concepts().expand(4, -1, -1))
        torch.testing.assert_close(concepts, plain)
    torch.testing.assert_close(one.item_pairs(state, everything[:, 2]).detach(), items[:, 2])


def test_group_success_is_the_mean_over_questions() -> None:
    one = net()
    hidden, group = torch.randn(9, 5).double(), torch.tensor([0, 2, 2, 1, 0, 2, 1, 1, 0])
    with torch.no_grad():
        answers = one.item_logits((hidden,)).sigmoid()
    exact = torch.stack([answers[row, 2 * g : 2 * g + 2].mean() for row, g in enumerate(group.tolist())])
    torch.testing.assert_close(one.group_success(hidden, group, None), exact)
    drawn = torch.tensor([[0, 0, 1], [2, 3, 3], [5, 5, 5]])
    sampled = torch.stack([answers[row, drawn[g]].mean() for row, g in enumerate(group.tolist())])
    torch.testing.assert_close(one.group_success(hidden, group, drawn), sampled)


def test_kept_products_and_halves_follow_the_weights() -> None:
    one = net()
    state = one.initial_state(2)
    item, concept, right = torch.tensor([[1], [4]]), torch.tensor([[[0]], [[2]]]), torch.ones(2, 1).double()

    def everything() -> list[torch.Tensor]:
        return [
            *one.observe_items(state, item, right),
            *one.observe_concepts(state, concept, right),
            one.concept_logits(state),
            one.item_logits(state),
        ]

    for weight in one.parameters():
        with torch.no_grad():
            everything()
            weight.add_(0.1)
            kept = everything()
        fresh = [value.detach() for value in everything()]
        for one_value, other in zip(kept, fresh):
            torch.testing.assert_close(one_value, other)


def test_padding_and_what_lies_under_it_change_nothing() -> None:
    one, logs = net(), batch()
    filled = replace(
        logs,
        item=torch.where(logs.mask, logs.item, 3),
        concept=torch.where(logs.mask[..., None], logs.concept, 1),
        correct=torch.where(logs.mask, logs.correct, 1.0),
    )
    first, second = (one(each, with_state=True) for each in (logs, filled))
    torch.testing.assert_close(first.hidden[logs.mask], second.hidden[logs.mask])
    torch.testing.assert_close(first.state, second.state)
