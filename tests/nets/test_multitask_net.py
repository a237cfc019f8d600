"""Branches go on from the history, stepwise and at once alike, and see nothing that comes later."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import built, plain
from lpr_lightning.nets.multitask_lstm import STEPS, Cell, Decoder, MultiTaskNet
from lpr_lightning.protocols import Tracer
from lpr_lightning.types import Exercise, InteractionBatch, Interactions

KINDS = [(cell, decoder) for cell in ("lstm", "rnn") for decoder in ("autoregressive", "direct", "shared")]


def histories(rows: int = 6, concepts: int = 5) -> InteractionBatch:
    generator = torch.Generator().manual_seed(0)
    lengths = [4, 0, 7, 1, 7, 3][:rows]
    return Interactions.from_lists(
        [[(int(c), int(c) % 2) for c in torch.randint(concepts, (n,), generator=generator)] for n in lengths]
    ).batch(torch.arange(rows))


def net_of(cell: Cell = "lstm", decoder: Decoder = "autoregressive", dropout: float = 0.0) -> MultiTaskNet:
    torch.manual_seed(1)
    return MultiTaskNet(5, 6, 7, cell, decoder, dropout).eval()


def paths() -> Tensor:
    return torch.randint(5, (6, 4), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("cell", "decoder"), KINDS)
@torch.no_grad()
def test_a_path_said_step_by_step_equals_the_whole(cell: Cell, decoder: Decoder) -> None:
    net, last = net_of(cell, decoder), torch.tensor([1, -1, 0, 2, 3, 4])
    state = net.encode(histories())
    own = net.recommend(state, last, 4)
    whole = net.path_logit(state, last, own)
    assert torch.equal(whole.argmax(-1), own)
    before = last
    for number in range(4):
        logit, state = net.path_step(state, before, number)
        torch.testing.assert_close(logit, whole[:, number])
        before = own[:, number]


@torch.no_grad()
def test_several_paths_at_once_are_each_as_alone() -> None:
    net, last, several = net_of(), torch.zeros(6, dtype=torch.int64), [paths(), paths().flip(0)]
    state = net.encode(histories())
    for logit, path in zip(net.path_logits(state, last, several), several):
        torch.testing.assert_close(logit, net.path_logit(state, last, path))


@pytest.mark.parametrize("decoder", ["autoregressive", "shared"])
@torch.no_grad()
def test_no_step_sees_its_own_label_or_a_later_one(decoder: Decoder) -> None:
    net, path = net_of(decoder=decoder), paths()
    changed = path.clone()
    changed[:, 2:] = (changed[:, 2:] + 1) % 5
    state, last = net.encode(histories()), torch.zeros(6, dtype=torch.int64)
    one, other = (net.path_logit(state, last, labels) for labels in (path, changed))
    torch.testing.assert_close(one[:, :3], other[:, :3])
    assert not torch.allclose(one[:, 3], other[:, 3])
    one, other = (net.trace(state, labels) for labels in (path, changed))
    torch.testing.assert_close(one[:, :2], other[:, :2])
    assert not torch.allclose(one[:, 2:], other[:, 2:])


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
@torch.no_grad()
def test_mastery_is_the_prediction_of_every_concept(cell: Cell) -> None:
    net = net_of(cell)
    assert isinstance(net, Tracer)
    state = net.encode(histories())
    every = [Exercise.of_concepts(torch.full((6,), concept)) for concept in range(5)]
    expected = torch.stack([net.predict(state, concept) for concept in every], 1)
    torch.testing.assert_close(net.mastery(state), expected)
    first = net.trace(state, paths())[:, 0].sigmoid()
    torch.testing.assert_close(net.predict(state, Exercise.of_concepts(paths()[:, 0])), first)


def test_dropout_is_off_where_nothing_is_learned() -> None:
    net = net_of(dropout=0.5)
    state, last = net.encode(histories()), torch.zeros(6, dtype=torch.int64)
    assert torch.equal(net.path_logit(state, last, paths()), net.path_logit(state, last, paths()))
    net.train()
    assert not torch.equal(net.path_logit(state, last, paths()), net.path_logit(state, last, paths()))


@pytest.mark.parametrize("decoder", ["autoregressive", "direct", "shared"])
def test_while_training_it_decodes_the_path_that_it_recommends(decoder: Decoder) -> None:
    net = net_of(decoder=decoder, dropout=0.9)
    state, last = net.encode(histories()), torch.arange(6) % 5
    recommended = net.recommend(state, last, 4)
    net.train()
    for _ in range(3):
        assert torch.equal(net.recommend(net.encode(histories()), last, 4), recommended)


def test_it_records_its_arguments() -> None:
    net = net_of("rnn", "shared")
    description = plain(net)
    assert isinstance(description, dict)
    again = built(description, MultiTaskNet)
    assert again is not None
    assert {name: value.shape for name, value in again.state_dict().items()} == {
        name: value.shape for name, value in net.state_dict().items()
    }


def test_what_it_cannot_be_is_refused() -> None:
    with pytest.raises(SettingError, match="cell"):
        MultiTaskNet(5, cell="gru")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="decoder"):
        MultiTaskNet(5, decoder="copy")  # type: ignore[arg-type]
    net = net_of(decoder="direct")
    with pytest.raises(SettingError, match="length=65"):
        net.recommend(net.initial_state(1), torch.tensor([0]), STEPS + 1)
