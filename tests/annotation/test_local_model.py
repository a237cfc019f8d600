"""Does a model of transformers answer as an endpoint does: text, tokens, log-probabilities?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from lpr_lightning.annotation import AnswerStore, Asker, Message, Prompt, RefusedError, SetAsideError
from lpr_lightning.annotation.local_model import LocalModel
from lpr_lightning.annotation.schema import parse_steps
from lpr_lightning.errors import LPRError

WORDS = ["[END]", "[UNK]", *["How", "many", "are", "two", "and", "three", "apples", "four", "five"]]
PROMPT = Prompt((Message("system", "How many"), Message("user", "two and three")), max_tokens=6, alternatives=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model of ten words, with a chat template."""
    place = str(tmp_path_factory.mktemp("model"))
    known = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    known.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=known, unk_token="[UNK]", eos_token="[END]")
    tokenizer.chat_template = "{% for one in messages %}{{ one['content'] }} {% endfor %}"
    tokenizer.save_pretrained(place)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    torch.manual_seed(1)
    config = MistralConfig(
        vocab_size=len(WORDS), num_key_value_heads=1, max_position_embeddings=24, eos_token_id=0, **sizes
    )
    MistralForCausalLM(config).save_pretrained(place)
    return place


def test_tokens_and_their_probabilities_are_those_of_a_forward_pass(folder: str) -> None:
    answer = LocalModel(folder).ask(PROMPT)
    assert answer.prompt_tokens == 5
    assert answer.answer_tokens == len(answer.tokens) == 6
    assert answer.finish == "length"
    network = MistralForCausalLM.from_pretrained(folder)
    ids = [WORDS.index(word) for word in ["How", "many", "two", "and", "three"]]
    for token in answer.tokens:
        with torch.no_grad():
            log_prob = network(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        best = log_prob.topk(3)
        assert token.text == WORDS[int(best.indices[0])]
        assert token.log_prob == pytest.approx(float(best.values[0]), abs=1e-5)
        assert [value for _, value in token.alternatives] == pytest.approx(best.values.tolist(), abs=1e-5)
        ids.append(int(best.indices[0]))
    assert answer.text.split() == [token.text for token in answer.tokens]


def test_draws_are_a_function_of_the_prompt(folder: str) -> None:
    model = LocalModel(folder)
    drawn = [Prompt(PROMPT.messages, 12, temperature=1.0, sample=number) for number in range(5)]
    texts = [model.ask(prompt).text for prompt in drawn]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    assert texts == [model.ask(prompt).text for prompt in drawn]
    assert bool((torch.get_rng_state() == state).all())
    assert len(set(texts)) > 1


def test_a_long_prompt_is_refused_and_set_aside(folder: str, tmp_path: Path) -> None:
    long = Prompt((Message("user", "two " * 30),))
    with pytest.raises(RefusedError, match="30 tokens, but the model reads 24"):
        LocalModel(folder).ask(long)
    with AnswerStore(tmp_path / "a.db") as store, pytest.raises(SetAsideError, match="the model reads 24"):
        Asker(LocalModel(folder), store).ask(long, "q", "steps")


def test_what_a_random_model_says_is_set_aside(folder: str, tmp_path: Path) -> None:
    short = Prompt(PROMPT.messages, max_tokens=3)

    with AnswerStore(tmp_path / "a.db") as store:
        one = Asker(LocalModel(folder), store)
        with pytest.raises(SetAsideError, match="cut off after 3 tokens"):
            one.ask_valid(short, "q", "steps", parse_steps, attempts=1)
        assert store.paid().requests == 1
        assert one.counts["not valid"] == 1


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(LPRError, match="a whole model"):
        LocalModel(str(tmp_path))
