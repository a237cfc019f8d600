"""Is each distinct text encoded once, with little padding, and the same in any company?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lpr_lightning.errors import MissingFileError, SettingError
from lpr_lightning.nets.text_encoder import KINDS, LEAST_CHUNK, PretrainedEncoder, SmallBert, TextEncoder, chunks
from lpr_lightning.nets.word_pieces import word_pieces

TEXTS = ["add two fractions", "solve the equation for x", "a", "draw the graph of a linear function and name its slope"]
SMALL = SmallBert(width=8, layers=1, heads=2, feed_forward=16, vocabulary=120)


def encoder(**options: bool | int) -> TextEncoder:
    torch.manual_seed(0)
    net = TextEncoder(SMALL, pooling="mean", **options)  # type: ignore[arg-type]
    net.fit_vocabulary(TEXTS)
    return net


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=80), st.integers(1, 300))
def test_chunks_hold_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    lengths = sorted(lengths)
    found = list(chunks(lengths, budget))
    assert [place for one in found for place in range(one.start, one.stop)] == list(range(len(lengths)))
    for one in found:
        assert one.longest == lengths[one.stop - 1]
        assert (one.stop - one.start) * one.longest <= budget or one.stop - one.start == 1
        padding = sum(one.longest - length for length in lengths[one.start : one.stop])
        assert padding <= 0.1 * one.longest * (one.stop - one.start) or one.stop - one.start <= LEAST_CHUNK


def test_each_distinct_text_is_encoded_once() -> None:
    net = encoder().eval()
    once = net(TEXTS, "[Q]")
    tokens = net.seen_tokens
    many = net([*TEXTS, *TEXTS, *TEXTS], "[Q]")
    assert net.seen_tokens == 2 * tokens
    assert torch.equal(many, once.repeat(3, 1))


def test_company_and_budget_change_nothing() -> None:
    net = encoder().eval()
    whole = net(TEXTS, "[S]")
    net.token_budget = 8
    assert torch.allclose(net(TEXTS[::-1], "[S]").flip(0), whole, atol=1e-6)
    assert torch.allclose(net(TEXTS[1:2], "[S]"), whole[1:2], atol=1e-6)
    assert not torch.allclose(net(TEXTS, "[KC]"), whole, atol=1e-3)


def test_cached_gradients_are_the_gradients() -> None:
    gradients = []
    for cached in (False, True):
        net = encoder(cached_gradients=cached, token_budget=16).train()
        torch.manual_seed(1)  # of dropout
        net(TEXTS).square().sum().backward()
        gradients.append({name: one.grad for name, one in net.named_parameters() if one.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(one, gradients[1][name]) for name, one in gradients[0].items())


def test_a_text_without_letters_is_refused_and_a_vocabulary_wanted() -> None:
    with pytest.raises(SettingError, match="An empty one has no vector"):
        encoder()(["fine", "  "], "[S]")
    with pytest.raises(SettingError, match="fit_vocabulary"):
        TextEncoder(SMALL)(["fine"])


def test_the_vocabulary_is_the_same_each_time_and_in_the_checkpoint() -> None:
    assert word_pieces(TEXTS, 80, KINDS).to_str() == word_pieces(TEXTS, 80, KINDS).to_str()
    net, other = encoder().eval(), TextEncoder(SMALL, pooling="mean").eval()
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(TEXTS, "[Q]"), net(TEXTS, "[Q]"))
    text = word_pieces(["ab ab abc"], 40, KINDS).encode("[Q] ab abc xyz")
    assert text.tokens == ["[CLS]", "[Q]", "ab", "ab", "##c", "[UNK]", "[SEP]"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT in the files of transformers."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    tokenizer = word_pieces(TEXTS, 60)
    marks = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=tokenizer.get_vocab_size(), **sizes)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("rank", [None, 2])
def test_any_encoder_by_path(saved: Path, rank: int | None) -> None:
    net = TextEncoder(PretrainedEncoder(str(saved), lora_rank=rank, dropout=0.0)).train()
    assert net.width == 8
    trained = {name for name, one in net.named_parameters() if one.requires_grad}
    assert all("lora_" in name for name in trained) == (rank is not None)
    before = {name: one.detach().clone() for name, one in net.named_parameters()}
    optimizer = torch.optim.AdamW([one for one in net.parameters() if one.requires_grad], 0.01)
    for _ in range(2):  # the first step moves only one half of an adapter, whose other half is 0
        optimizer.zero_grad()
        vectors = net(TEXTS, "[Q]")
        (vectors @ vectors.T).square().sum().backward()
        optimizer.step()
    moved = {name for name, one in net.named_parameters() if not torch.equal(one, before[name])}
    assert moved == trained
    with pytest.raises(MissingFileError, match="give a folder that save_pretrained wrote"):
        TextEncoder(PretrainedEncoder(str(saved / "nothing")))
