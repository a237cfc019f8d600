"""Paths of one prompt share its pass, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen2Model

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.nets.path_decoder import PathDecoder, SmallQwen2
from lpr_lightning.types import Interactions, PathRequest

CONCEPTS, GROUP = 7, 4


def ask(extra_padding: int = 0) -> PathRequest:
    log = Interactions.from_lists([[(0, 1), (1, 0), (2, 1)], [(1, 1)], []])
    history = log.batch(torch.arange(3))
    if extra_padding:
        long = Interactions.from_lists([[(3, 1)] * (3 + extra_padding)]).batch(torch.tensor([0]))
        wide = long.repeat(3)
        steps = history.mask.shape[1]
        for name in ("concept", "item", "correct", "mask"):
            getattr(wide, name)[:, :steps] = getattr(history, name)
        wide.mask[:, steps:] = False
        wide.concept[:, steps:] = -1
        history = wide
    targets = torch.zeros(3, CONCEPTS, dtype=torch.bool)
    targets[0, [1, 4]], targets[1, 6], targets[2, [0, 2, 3]] = True, True, True
    return PathRequest(history, targets, torch.tensor([3, 4, 5]), torch.arange(3), torch.arange(3))


def decoder(**settings: object) -> PathDecoder:
    torch.manual_seed(0)
    net = PathDecoder(CONCEPTS, hidden_size=32, num_layers=2, num_heads=2, max_length=6, **settings).double()  # type: ignore[arg-type]
    return net.eval()


def test_shared_prompt_gives_the_log_probabilities_and_gradients_of_full_passes() -> None:
    net, request = decoder(), ask()
    path = net.sample(request, GROUP, draws=Draws.of(0, 0, torch.arange(len(request)))).path

    log_prob, mask, _ = net.log_prob(request, path, GROUP)
    torch.autograd.backward(log_prob[mask].sum())
    shared = {name: weight.grad.clone() for name, weight in net.named_parameters() if weight.grad is not None}

    net.zero_grad()
    for row in range(len(path)):
        alone = request.select(torch.tensor([row // GROUP]))
        index = net._prompt_tokens(alone)
        embedded = net.embedding(index).sum(2) / (index > 0).sum(2, keepdim=True)
        steps = path[row : row + 1, : int((path[row] >= 0).sum())]
        whole = torch.cat([embedded, net._path_embedding(steps)], 1)
        net.decoder.config._attn_implementation = "eager"
        hidden = net.decoder(inputs_embeds=whole, use_cache=False).last_hidden_state[:, index.shape[1] - 1 :]
        net.decoder.config._attn_implementation = "shared_prompt"
        plain = net.head(hidden).log_softmax(-1)
        token = torch.cat([steps, torch.tensor([[net.end]])], 1)
        if steps.shape[1] == net.max_length:
            token, plain = token[:, :-1], plain[:, :-1]
        plain = plain.gather(2, token[..., None]).squeeze(2)
        torch.testing.assert_close(plain[0], log_prob[row, : plain.shape[1]].detach(), rtol=0, atol=1e-6)
        torch.autograd.backward(plain.sum())
    for name, weight in net.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(shared[name], weight.grad, rtol=1e-5, atol=1e-5)


def test_sampling_reports_the_log_probabilities_that_the_update_sees() -> None:
    net, request = decoder(), ask()
    sampled = net.sample(request, GROUP, draws=Draws.of(1, 0, torch.arange(len(request))))
    log_prob, mask, _ = net.log_prob(request, sampled.path, GROUP)
    width = min(log_prob.shape[1], sampled.log_prob.shape[1])
    torch.testing.assert_close(log_prob[:, :width], sampled.log_prob[:, :width])
    assert torch.equal(mask[:, :width], sampled.token_mask[:, :width])


def test_padding_of_the_history_changes_nothing() -> None:
    net = decoder()
    path = torch.tensor([[1, 2, -1], [3, -1, -1], [5, 6, 0]])
    plain = net.log_prob(ask(), path, 1)[0]
    padded = net.log_prob(ask(extra_padding=5), path, 1)[0]
    torch.testing.assert_close(plain, padded)


def test_rows_do_not_see_each_other() -> None:
    net, path = decoder(), torch.tensor([[1, 2, -1], [3, -1, -1], [5, 6, 0]])
    together = net.log_prob(ask(), path, 1)[0]
    alone = net.log_prob(ask().select(torch.tensor([1])), path[1:2], 1)[0]
    torch.testing.assert_close(together[1:2], alone)


def test_paths_end_at_the_longest_length_and_stay_empty_after_the_end() -> None:
    net = decoder()
    with torch.no_grad():
        net.head.bias[net.end] = -50.0
    path = net.sample(ask(), 2, draws=Draws.of(0, 0, torch.arange(len(ask())))).path
    assert path.shape == (6, 6)
    assert bool((path >= 0).all())
    with torch.no_grad():
        net.head.bias[net.end] = 50.0
    assert not bool((net.sample(ask(), 2, draws=Draws.of(0, 0, torch.arange(len(ask())))).path >= 0).any())


def test_the_same_draws_give_the_same_paths_and_the_likeliest_need_none() -> None:
    net = decoder()
    first, second = (net.sample(ask(), GROUP, draws=Draws.of(3, 0, torch.arange(len(ask())))).path for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(net.sample(ask()).path, net.sample(ask()).path)


def test_history_length_zero_hides_the_history() -> None:
    net = decoder(history_length=0)
    path = torch.tensor([[1, 2, -1], [3, -1, -1], [5, 6, 0]])
    request = ask()
    request.history.correct[0, 1] = 1.0
    torch.testing.assert_close(net.log_prob(request, path, 1)[0], net.log_prob(ask(), path, 1)[0])


def test_a_wish_for_more_than_the_longest_path_is_refused() -> None:
    request = ask()
    request.length[1] = 7
    with pytest.raises(SettingError, match="max_length=6"):
        decoder().sample(request)


def test_the_decoder_is_a_transformers_model() -> None:
    assert isinstance(decoder().decoder, Qwen2Model)


@pytest.mark.parametrize(
    ("setting", "value"), [("hidden_size", 10), ("num_layers", 0), ("dropout", 1.0), ("max_length", 0)]
)
def test_bad_settings_are_refused(setting: str, value: float) -> None:
    with pytest.raises(SettingError, match=setting):
        SmallQwen2(**{setting: value})  # type: ignore[arg-type]
