"""Is the whole log run as nn.LSTM would, and as single steps would?"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from lpr_lightning.nets.question_head import QuestionHead
from lpr_lightning.nets.question_net import QuestionNet, Trace
from lpr_lightning.nets.question_table import QuestionTable
from lpr_lightning.nets.recurrent import layer_weights, run_padded
from lpr_lightning.types import Exercise, InteractionBatch


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


def asked(item: list[int]) -> Exercise:
    return Exercise(torch.tensor(item)[:, None] // 2, torch.tensor(item))


def test_the_whole_log_is_run_as_nn_lstm_would() -> None:
    one = net()
    for logs in (batch(), batch(soft=True)):
        trace, (hidden, cell) = one.trace(logs), one.encode(logs)
        for row, length in enumerate(logs.lengths.tolist()):
            if not length:
                assert not hidden[row].any()
                continue
            answer = torch.lerp(one.answer.weight[0], one.answer.weight[1], logs.correct[row, :length, None])
            output, (last, last_cell) = one.lstm(one.table.items(logs.item[row, :length]) + answer)
            torch.testing.assert_close(trace.hidden[row, :length], output)
            assert not trace.hidden[row, length:].any()
            torch.testing.assert_close((hidden[row], cell[row]), (last[0], last_cell[0]))


def test_both_engines_encode_alike() -> None:
    one, logs = net(), batch()
    inputs = one.table.vectors(Exercise(logs.concept, logs.item)) + one.answer.weight[logs.correct.long()]
    last = run_padded(one.lstm, inputs, logs.mask)[1]
    torch.testing.assert_close(one.encode(logs), tuple(part[:, 0] for part in last))


@torch.no_grad()
def test_a_long_table_is_cut_to_what_a_log_asks() -> None:
    one, logs = net(), batch()
    short = logs.first(torch.tensor([1, 0, 0, 1]))
    torch.testing.assert_close(one.encode(short)[0][0], one.trace(logs).hidden[0, 0])


@pytest.mark.parametrize("kind", ["questions", "concepts", "vectors"])
def test_looked_up_products_of_both_answers_give_the_same_states(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, logs = net(), batch()
    question = asked([5, 0, 3, 3])
    exercise = {
        "questions": question,
        "concepts": Exercise(torch.tensor([[0, 2], [1, -1], [-1, -1], [2, 1]]), torch.full((4,), -1)),
        "vectors": replace(question, vector=torch.randn(4, 4, dtype=torch.float64)),
    }[kind]
    answer = torch.tensor([1, 0, 0, 1]).double()
    history = replace(logs, item=torch.full_like(logs.item, -1)) if kind == "concepts" else logs
    plain = one.encode(history), one.observe(one.encode(logs), exercise, answer)
    with torch.no_grad():
        for _ in range(2):  # the second time from what was memoised
            torch.testing.assert_close((one.encode(history), one.observe(one.encode(logs), exercise, answer)), plain)
        layer_weights(one.lstm).weight_hh.mul_(0.5)
        one.answer.weight.add_(1.0)
        changed = one.observe(one.encode(logs), exercise, answer)
        monkeypatch.setattr("lpr_lightning.nets.question_net.MOST_ANSWERED", 0)
        torch.testing.assert_close(one.observe(one.encode(logs), exercise, answer), changed)
    assert not torch.allclose(changed[0], plain[1][0])


@torch.no_grad()
def test_predictions_are_the_plain_heads() -> None:
    one, logs = net(), batch()
    state = one.encode(logs)
    concepts = one.head(state[0][:, None].expand(-1, 3, -1), one.table.concepts().expand(4, -1, -1))
    items = one.head(state[0][:, None].expand(-1, 6, -1), one.table.all_items().expand(4, -1, -1))
    torch.testing.assert_close(one.mastery(state), concepts.sigmoid())
    torch.testing.assert_close(one.item_logits(state), items)
    for item in range(6):
        torch.testing.assert_close(one.predict(state, asked([item] * 4)), items[:, item].sigmoid())


@pytest.mark.parametrize("rows", [512, 2])
def test_group_success_is_the_mean_over_questions(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lpr_lightning.nets.question_net.ROWS", rows)
    table = QuestionTable(6, 3, 4)
    table.attach(torch.tensor([[0], [0], [1], [0], [1], [2]]))
    of = {0: [0, 1, 3], 1: [2, 4], 2: [5]}
    one = QuestionNet(table, 5, 8).double().eval()
    hidden, group = torch.randn(6, 5).double(), torch.tensor([[0, 2], [2, 1], [1, 0]])
    with torch.no_grad():
        answers = one.item_logits((hidden,)).sigmoid()

    def means(questions: dict[int, list[int]]) -> torch.Tensor:
        wanted = [[answers[row, questions[g]].mean() for g in group[row // 2].tolist()] for row in range(6)]
        return torch.tensor(wanted).double()

    torch.testing.assert_close(one.group_success(hidden, group), means(of))
    torch.testing.assert_close(one.group_success(hidden, group, most=9), means(of))
    torch.testing.assert_close(one.group_success(hidden, group, most=2), means({0: [0, 1], 1: [2, 4], 2: [5]}))
    drawn = [[0, 0, 1], [2, 4, 4], [5, 5, 5]]
    torch.testing.assert_close(one.group_success(hidden, group, torch.tensor(drawn)), means(dict(enumerate(drawn))))
    assert one.group_success(hidden[:0], group[:0]).shape == (0, 2)


def test_memoised_values_follow_the_weights() -> None:
    one = net()
    state, right = one.initial_state(2), torch.ones(2).double()
    questions, concepts = asked([1, 4]), Exercise.of_concepts(torch.tensor([0, 2]))

    def everything() -> list[torch.Tensor]:
        found = [one.mastery(state), one.item_logits(state)]
        for some in (questions, concepts):
            found += [one.predict(state, some), *one.observe(state, some, right)]
        return found

    for weight in one.parameters():
        with torch.no_grad():
            everything()
            weight.add_(0.1)
            memoised = everything()
        for value, fresh in zip(memoised, everything()):
            torch.testing.assert_close(value, fresh.detach())


@torch.no_grad()
def test_a_copy_uses_its_own_weights() -> None:
    one, logs = net(), batch()
    other = copy.deepcopy(one)
    for weight in one.parameters():
        weight.zero_()
    assert not torch.allclose(other.mastery(other.encode(logs)), one.mastery(one.encode(logs)))
    one.copy_weights(other)
    torch.testing.assert_close(other.mastery(other.encode(logs)), one.mastery(one.encode(logs)))


def test_the_half_of_a_state_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, rows, plain = net().requires_grad_(False), [], QuestionHead.state_half

    def counted(head: QuestionHead, state: torch.Tensor) -> torch.Tensor:
        rows.append(len(state))
        return plain(head, state)

    monkeypatch.setattr(QuestionHead, "state_half", counted)
    state = one.initial_state(2)
    first = one.predict(state, asked([1, 4]))
    one.mastery(state, torch.tensor([[0], [1]]))
    assert rows == [2]
    state[0].add_(1)
    assert not torch.allclose(one.predict(state, asked([1, 4])), first)
    one.predict(one.initial_state(3), asked([1, 4, 0]))
    assert rows == [2, 2, 3]


@pytest.mark.parametrize("frozen", [True, False])
def test_gradients_reach_a_vector_from_all_that_follows(frozen: bool) -> None:
    one = net().requires_grad_(not frozen)
    state = one.encode(batch())
    vector = torch.randn(4, 2, 4, dtype=torch.float64, requires_grad=True)
    given = Exercise(torch.full((4, 2, 1), -1), torch.full((4, 2), -1), vector)

    def run(value: torch.Tensor) -> torch.Tensor:
        some = replace(given, vector=value)
        chance = one.predict(state, some)
        new = one.observe(state, some, chance)
        return torch.cat(
            [chance.flatten(), one.mastery(new).flatten(), one.mastery(new, torch.tensor([[1]] * 4))[:, 0]]
        )

    assert torch.autograd.gradcheck(run, vector)
    one.eval()
    plain = one.head(state[0][:, None].expand(-1, 2, -1), vector).sigmoid()
    torch.testing.assert_close(one.predict(state, given), plain)


def test_a_questions_own_vector_is_the_question() -> None:
    one, logs = net(), batch()
    state, question = one.encode(logs), asked([3, 0, 5, 3])
    given = replace(question, vector=one.table.items(question.item), item=torch.full((4,), -1))
    torch.testing.assert_close(one.predict(state, given), one.predict(state, question))
    right = torch.ones(4).double()
    torch.testing.assert_close(one.observe(state, given, right), one.observe(state, question, right))


def test_points_of_a_log_are_evenly_spaced_and_end_with_the_last_answer() -> None:
    place = torch.arange(5.0).expand(4, 5)[..., None] + 10 * torch.arange(4.0)[:, None, None]
    mask = torch.arange(5) < torch.tensor([3, 5, 0, 1])[:, None]
    found = Trace(place, torch.empty(0), torch.empty(0)).at(mask, 2)
    assert found.squeeze(1).tolist() == [1, 2, 12, 14, 30, 30]
