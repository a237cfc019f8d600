"""The recurrent net gives the same states whichever way it is run."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from lpr_lightning.nets.live_rows import LiveRows
from lpr_lightning.nets.lstm import InteractionLSTM


def logs(rows: int = 5, steps: int = 7, concepts: int = 4, several: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([steps, 3, 0, 1, 5])[:rows]
    mask = torch.arange(steps) < lengths[:, None]
    concept = torch.randint(concepts, (rows, steps, several), generator=generator)
    concept[..., 1:] = torch.where(
        torch.rand(rows, steps, several - 1, generator=generator) < 0.5, -1, concept[..., 1:]
    )
    correct = torch.randint(2, (rows, steps), generator=generator).double()
    return torch.where(mask[..., None], concept, -1), correct * mask, mask


@pytest.mark.parametrize("layers", [1, 2])
def test_encode_equals_a_plain_pass_of_nn_lstm_over_each_log(layers: int) -> None:
    net = InteractionLSTM(4, 3, 6, layers).double()
    concept, correct, mask = logs()
    with torch.no_grad():
        hidden, cell = net.encode(concept, correct, mask)
        for row in range(len(mask)):
            length = int(mask[row].sum())
            embedded = []
            for step in range(length):
                known = [int(c) for c in concept[row, step] if c >= 0]
                embedded.append(
                    torch.stack([net.embedding.weight[c + 4 * int(correct[row, step])] for c in known]).mean(0)
                )
            if not length:
                assert not hidden[row].any()
                continue
            _, (h, c) = net.lstm(torch.stack(embedded)[None])
            torch.testing.assert_close(hidden[row], h[:, 0])
            torch.testing.assert_close(cell[row], c[:, 0])


def test_padding_changes_nothing() -> None:
    net = InteractionLSTM(4, 3, 6)
    concept, correct, mask = logs()
    correct = correct.float()
    with torch.no_grad():
        plain = net.encode(concept, correct, mask)
        padded = net.encode(
            torch.nn.functional.pad(concept, (0, 0, 0, 3), value=2),
            torch.nn.functional.pad(correct, (0, 3), value=1.0),
            torch.nn.functional.pad(mask, (0, 3)),
        )
    torch.testing.assert_close(plain, padded)


def test_branching_equals_stepping_a_copy_for_each_answer() -> None:
    net = InteractionLSTM(4, 3, 6, 2)
    concept, correct, mask = logs()
    with torch.no_grad():
        state = net.encode(concept, correct.float(), mask)
        choice = torch.tensor([[0, 3, 2]]).repeat(5, 1)
        answer = torch.tensor([[1.0, 0.0, 1.0]]).repeat(5, 1)
        branched = net.branch(state, choice, answer)
        copies = (state[0].repeat_interleave(3, 0), state[1].repeat_interleave(3, 0))
        stepped = net.step(copies, choice.reshape(-1, 1), answer.flatten())
    torch.testing.assert_close(branched, stepped)


def test_a_soft_answer_lies_between_wrong_and_right() -> None:
    net = InteractionLSTM(4, 3, 6)
    with torch.no_grad():
        table = net._table()
        mixed = net._mix(table, torch.tensor([[1]]), torch.tensor([0.25]))
    torch.testing.assert_close(mixed[0], 0.75 * table[1] + 0.25 * table[5])


def test_the_table_follows_the_weights() -> None:
    net = InteractionLSTM(4, 3, 6)
    state = net.initial_state(1)
    with torch.no_grad():
        before = net.step(state, torch.tensor([[1]]), torch.tensor([1.0]))[0]
        net.embedding.weight.mul_(3.0)
        after = net.step(state, torch.tensor([[1]]), torch.tensor([1.0]))[0]
        whole = net(torch.tensor([[[1]]]), torch.tensor([[1.0]]))
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after[:, 0], whole[:, 0])


def test_a_copy_made_in_inference_mode_can_be_stepped() -> None:
    net = InteractionLSTM(4, 3, 6)
    answer = torch.tensor([[1]]), torch.tensor([1.0])
    with torch.inference_mode():
        copied = copy.deepcopy(net)
        stepped = copied.step(copied.initial_state(1), *answer)
        torch.testing.assert_close(stepped, net.step(net.initial_state(1), *answer))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("concepts", "several"), [(4, 1), (4, 2), (1000, 1), (1000, 3)])
@pytest.mark.parametrize("layers", [1, 2])
def test_both_engines_give_the_same_numbers_and_gradients(
    layers: int, concepts: int, several: int, soft: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = InteractionLSTM(concepts, 3, 6, layers).double()
    concept, correct, mask = logs(concepts=concepts, several=several)
    concept[0, 2] = -1
    if soft:
        correct = correct * 0.7 + 0.2
    rows = LiveRows.of(mask)
    results = []
    for ours in (True, False):
        monkeypatch.setattr(InteractionLSTM, "_tabulates", ours)
        hidden = net.live(concept, correct, rows)
        last, cell = net.encode(concept, correct, mask)
        net.zero_grad()
        torch.autograd.backward(hidden.sin().sum() + last.sum() + cell.square().sum())
        gradients = [weight.grad for weight in net.parameters()]
        results.append([hidden, last, cell, net(concept, correct)[mask], *gradients])
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-10)


def test_weights_are_those_of_an_embedding_and_an_nn_lstm() -> None:
    net = InteractionLSTM(4, 3, 6, 2)
    lstm = torch.nn.LSTM(3, 6, 2, batch_first=True)
    lstm.load_state_dict({name.removeprefix("lstm."): w for name, w in net.state_dict().items() if "lstm." in name})
    net.load_state_dict({f"lstm.{name}": weight for name, weight in lstm.state_dict().items()}, strict=False)
    assert {name for name in net.state_dict() if not name.startswith("lstm.")} == {"embedding.weight"}
    concept, correct, _ = logs(several=1)
    concept = concept.clamp_min(0)
    plain = lstm(net.embedding(concept[..., 0] + 4 * correct.long()))[0]
    torch.testing.assert_close(net(concept, correct.float()), plain)


def test_padding_changes_no_gradient() -> None:
    net = InteractionLSTM(4, 3, 6, 2).double()
    concept, correct, mask = logs()
    pad = torch.nn.functional.pad
    gradients = []
    for more in (0, 3):
        rows = LiveRows.of(pad(mask, (0, more)))
        hidden = net.live(pad(concept, (0, 0, 0, more), value=2), pad(correct, (0, more), value=0.3), rows)
        gradients.append(torch.autograd.grad(hidden.sin().sum(), list(net.parameters())))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(("rows", "steps"), [(0, 0), (0, 3), (2, 0), (2, 3)])
def test_nothing_to_run_over_is_no_error(rows: int, steps: int, ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InteractionLSTM, "_tabulates", ours)
    net = InteractionLSTM(4, 3, 6, 2)
    concept, correct = torch.full((rows, steps, 2), -1), torch.zeros(rows, steps)
    mask = torch.zeros(rows, steps, dtype=torch.bool)
    hidden, cell = net.encode(concept, correct, mask)
    assert hidden.shape == cell.shape == (rows, 2, 6)
    assert not hidden.any()
    assert not cell.any()
    assert net.live(concept, correct, LiveRows.of(mask)).shape == (0, 6)
    assert net(concept, correct).shape == (rows, steps, 6)


def test_an_answer_without_concept_is_the_same_in_a_step_as_in_a_log() -> None:
    net = InteractionLSTM(4, 3, 6)
    with torch.no_grad():
        stepped, _ = net.step(net.initial_state(1), torch.tensor([[-1]]), torch.ones(1))
        torch.testing.assert_close(net(torch.tensor([[[-1]]]), torch.ones(1, 1)), stepped)
