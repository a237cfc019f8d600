"""The net over (concept, answer) pairs gives the same numbers whichever way it is run."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import pad

from lpr_lightning.nets.dkt import DKTNet
from lpr_lightning.nets.recurrent import layer_weights
from lpr_lightning.types import Exercise, InteractionBatch


def logs(rows: int = 5, steps: int = 7, concepts: int = 4, several: int = 2, soft: bool = False) -> InteractionBatch:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([steps, 3, 0, 1, 5])[:rows]
    mask = torch.arange(steps) < lengths[:, None]
    concept = torch.randint(concepts, (rows, steps, several), generator=generator)
    concept[..., 1:] = torch.where(
        torch.rand(rows, steps, several - 1, generator=generator) < 0.5, -1, concept[..., 1:]
    )
    correct = torch.randint(2, (rows, steps), generator=generator).double()
    correct = (correct * 0.7 + 0.2 if soft else correct) * mask
    item = torch.full(mask.shape, -1)
    return InteractionBatch(torch.where(mask[..., None], concept, -1), item, correct, mask, torch.arange(rows))


def widened(batch: InteractionBatch, more: int) -> InteractionBatch:
    """Return the same logs with `more` steps of padding that is not empty."""
    return InteractionBatch(
        pad(batch.concept, (0, 0, 0, more), value=2),
        pad(batch.item, (0, more), value=1),
        pad(batch.correct, (0, more), value=0.3),
        pad(batch.mask, (0, more)),
        batch.learner,
    )


def of(concept: list[list[int]]) -> Exercise:
    return Exercise(torch.tensor(concept), torch.full((len(concept),), -1))


@pytest.mark.parametrize("layers", [1, 2])
@torch.no_grad()
def test_encode_equals_a_plain_pass_of_nn_lstm_over_each_log(layers: int) -> None:
    net, batch = DKTNet(4, 3, 6, layers).double(), logs()
    hidden, cell = net.encode(batch)
    for row, length in enumerate(batch.lengths.tolist()):
        embedded = []
        for step in range(length):
            known = [int(c) for c in batch.concept[row, step] if c >= 0]
            right = int(batch.correct[row, step])
            embedded.append(torch.stack([net.embedding.weight[c + 4 * right] for c in known]).mean(0))
        if not length:
            assert not hidden[row].any()
            continue
        _, (h, c) = net.lstm(torch.stack(embedded)[None])
        torch.testing.assert_close(hidden[row], h[:, 0])
        torch.testing.assert_close(cell[row], c[:, 0])


@torch.no_grad()
def test_a_prediction_is_the_mean_of_the_layers_logits() -> None:
    net, batch = DKTNet(4, 3, 6).double(), logs()
    state = net.encode(batch)
    logit = net.head(state[0][:, -1])
    asked = Exercise(torch.tensor([[[2, -1], [0, 3], [-1, -1]]] * 5), torch.full((5, 3), -1))
    expected = torch.stack([logit[:, 2], (logit[:, 0] + logit[:, 3]) / 2, torch.zeros(5).double()], 1).sigmoid()
    torch.testing.assert_close(net.predict(state, asked), expected)
    many = DKTNet(200, 3, 6).double()
    state, concept = many.encode(logs(concepts=200)), torch.randint(200, (5, 3))
    torch.testing.assert_close(
        many.predict(state, Exercise.of_concepts(concept)), many.mastery(state).gather(1, concept)
    )


@torch.no_grad()
def test_a_soft_answer_lies_between_wrong_and_right() -> None:
    net, (wrong, soft, right) = DKTNet(4, 3, 6).double(), torch.tensor([0.0, 0.25, 1.0]).double()
    weights = layer_weights(net.lstm)
    table = net.embedding.weight @ weights.weight_ih.t() + weights.bias_ih + weights.bias_hh
    entry, _, candidate, output = ((1 - soft) * table[1] + soft * table[5]).chunk(4)
    cell = entry.sigmoid() * candidate.tanh()
    hidden, new = net.observe(net.initial_state(1), of([[1]]), soft[None])
    torch.testing.assert_close(new[0, 0], cell)
    torch.testing.assert_close(hidden[0, 0], output.sigmoid() * cell.tanh())
    assert not torch.allclose(net.observe(net.initial_state(1), of([[1]]), wrong[None])[1], new)
    assert not torch.allclose(net.observe(net.initial_state(1), of([[1]]), right[None])[1], new)


def test_the_table_follows_the_weights() -> None:
    net, asked, right = DKTNet(4, 3, 6), of([[1]]), torch.tensor([1.0])
    state = (torch.ones(1, 1, 6), torch.ones(1, 1, 6))
    with torch.no_grad():
        before = net.observe(state, asked, right)[0]
        for weight in (net.embedding.weight, *layer_weights(net.lstm)):
            weight.add_(0.5)
            after = net.observe(state, asked, right)[0]
            assert not torch.allclose(before, after)
            fresh = copy.deepcopy(net).observe(state, asked, right)[0]
            torch.testing.assert_close(after, fresh)
            before = after


def test_a_copy_made_in_inference_mode_can_be_stepped() -> None:
    net, answer = DKTNet(4, 3, 6), (of([[1]]), torch.tensor([1.0]))
    with torch.inference_mode():
        copied = copy.deepcopy(net)
        stepped = copied.observe(copied.initial_state(1), *answer)
        torch.testing.assert_close(stepped, net.observe(net.initial_state(1), *answer))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("concepts", "several"), [(4, 1), (4, 2), (1000, 1), (1000, 3)])
@pytest.mark.parametrize("layers", [1, 2])
def test_both_engines_give_the_same_numbers_and_gradients(
    layers: int, concepts: int, several: int, soft: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, batch = DKTNet(concepts, 3, 6, layers).double(), logs(concepts=concepts, several=several, soft=soft)
    batch.concept[0, 2] = -1
    results = []
    for ours in (True, False):
        monkeypatch.setattr(DKTNet, "_fused", ours)
        logit, place = net.next_logits(batch)
        last, cell = net.encode(batch)
        net.zero_grad()
        torch.autograd.backward(logit.sin().sum() + last.sum() + cell.square().sum())
        gradients = [weight.grad for weight in net.parameters()]
        results.append([logit[place.argsort()], place.sort().values, last, cell, *gradients])
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-10)


def test_weights_are_those_of_an_embedding_an_nn_lstm_and_a_linear_layer() -> None:
    net, batch = DKTNet(4, 3, 6, 2), logs(several=1)
    lstm = torch.nn.LSTM(3, 6, 2, batch_first=True)
    lstm.load_state_dict({name.removeprefix("lstm."): w for name, w in net.state_dict().items() if "lstm." in name})
    assert {name for name in net.state_dict() if not name.startswith("lstm.")} == {
        *("embedding.weight", "head.weight", "head.bias")
    }
    correct = batch.correct.float()
    hidden = lstm(net.embedding(batch.concept[..., 0].clamp_min(0) + 4 * correct.long()))[0]
    plain = net.head(hidden[:, :-1]).gather(2, batch.concept[:, 1:].clamp_min(0))[..., 0]
    logit, place = net.next_logits(InteractionBatch(batch.concept, batch.item, correct, batch.mask, batch.learner))
    assert torch.equal(place.sort().values, batch.mask[:, 1:].flatten().nonzero().squeeze(1))
    torch.testing.assert_close(logit, plain.flatten()[place])


def test_padding_changes_no_gradient() -> None:
    net, batch, gradients = DKTNet(4, 3, 6, 2).double(), logs(), []
    for more in (0, 3):
        logit, _ = net.next_logits(widened(batch, more))
        gradients.append(torch.autograd.grad(logit.sin().sum(), list(net.parameters())))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0)


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(("rows", "steps"), [(0, 0), (0, 3), (2, 0), (2, 3)])
def test_nothing_to_run_over_is_no_error(rows: int, steps: int, ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DKTNet, "_fused", ours)
    net, none = DKTNet(4, 3, 6, 2), torch.full((rows, steps), -1)
    mask = torch.zeros(rows, steps, dtype=torch.bool)
    batch = InteractionBatch(none[..., None].expand(-1, -1, 2), none, torch.zeros(rows, steps), mask, none.sum(1))
    hidden, cell = net.encode(batch)
    assert hidden.shape == cell.shape == (rows, 2, 6)
    assert not hidden.any()
    assert not cell.any()
    assert [part.shape for part in net.next_logits(batch)] == [(0,), (0,)]


@torch.no_grad()
def test_an_answer_without_concept_is_the_same_in_a_step_as_in_a_log() -> None:
    net, ones = DKTNet(4, 3, 6), torch.ones(1, 1)
    stepped = net.observe(net.initial_state(1), of([[-1]]), ones[0])
    log = InteractionBatch(torch.tensor([[[-1]]]), torch.tensor([[-1]]), ones, ones > 0, torch.tensor([0]))
    torch.testing.assert_close(net.encode(log), stepped)


def test_dropout_falls_on_outputs_while_training_only() -> None:
    net, batch = DKTNet(4, 3, 6, dropout=0.5).double(), logs()
    torch.manual_seed(0)
    assert not torch.equal(net.next_logits(batch)[0], net.next_logits(batch)[0])
    net.eval()
    assert torch.equal(net.next_logits(batch)[0], net.next_logits(batch)[0])
