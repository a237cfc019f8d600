"""Language models of transformers as policies, on small checkpoints that the tests write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from lpr_lightning.draws import Draws
from lpr_lightning.errors import MissingFileError, SettingError
from lpr_lightning.nets.backbones import ConceptTokens, HuggingFace, SmallModel, TextPrompt
from lpr_lightning.nets.backbones.language_net import LanguageModelNet
from lpr_lightning.nets.backbones.prompts import PromptStyle
from lpr_lightning.nets.backbones.scratch import Family
from lpr_lightning.nets.pretrained import LoRA
from lpr_lightning.types import Interactions, PathRequest

NAMES = ["Area", "Area of circles, approx.", "fractions", "Fractions", "2-step equations", "Median", " "]
SHOWN = ["Area", "Area of circles, approx.", "fractions", "Fractions (2)", "2-step equations", "Median", "concept 7"]
GROUP, LENGTH = 4, 5
CHAT = (
    "{% for m in messages %}<user>{{ m['content'] }}</user>{% endfor %}{% if add_generation_prompt %}<plan>{% endif %}"
)
FAMILIES: list[Family] = ["llama", "mistral", "qwen2", "qwen3"]
STYLES: list[PromptStyle] = [TextPrompt(history_length=2), ConceptTokens(list_concepts=True)]
PATHS = torch.tensor([[1, 2, -1], [3, -1, -1], [5, 6, 0], [-1, -1, -1]])


class Data:
    """What a network asks of data."""

    concept_names = NAMES


def ask() -> PathRequest:
    log = Interactions.from_lists([[(0, 1), (1, 0), (2, 1)], [(1, 1)], [], [(4, 0)]])
    targets = torch.zeros(4, len(NAMES), dtype=torch.bool)
    targets[0, [1, 4]], targets[1, 6], targets[2, [0, 2, 3]], targets[3, 5] = True, True, True, True
    rows = torch.arange(4)
    return PathRequest(log.batch(rows), targets, torch.tensor([3, 4, 5, 2]), rows, rows)


def draws(step: int = 0) -> Draws:
    return Draws.of(step, 0, torch.arange(4))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each family as `save_pretrained` writes it: safetensors, tokenizer, chat template."""
    found: dict[str, Path] = {}
    for family in FAMILIES:
        torch.manual_seed(1)
        small = SmallModel(family, 32, 2, 4, 2, 400, 600)
        model = small.model()
        if family in ("mistral", "qwen2"):
            model.config.sliding_window = 40
        if family == "qwen2":
            model.config.use_sliding_window, model.config.layer_types = True, ["full_attention", "sliding_attention"]
        tokenizer = small.tokenizer([*NAMES, "Practised: right wrong.", "Goals: Concepts: Write a path of 5"] * 3, [])
        if family == "mistral":  # no row to spare: new tokens make the embeddings larger
            model.resize_token_embeddings(len(tokenizer))
        if family == "qwen3":
            tokenizer.chat_template = CHAT
        folder = tmp_path_factory.mktemp(family)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        found[family] = folder
    return found


def net_of(folder: Path, style: PromptStyle = STYLES[0], **settings: Any) -> LanguageModelNet:
    torch.manual_seed(0)
    options: dict[str, Any] = {"lora": LoRA(rank=4), "max_length": LENGTH} | settings
    net = HuggingFace(str(folder), prompt=style, **options).build(len(NAMES))
    net.connect(Data())  # type: ignore[arg-type]
    moved = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if weight.requires_grad and "lora" in name:  # adapters begin as 0
                weight.copy_(0.1 * torch.randn(weight.shape, generator=moved))
    return net.eval()


def slow_log_prob(net: LanguageModelNet, request: PathRequest, path: list[int]) -> Tensor:
    """One request alone through the whole model of transformers, its own attention, no cache."""
    prompt = net.wording.prompts(request)[0]
    token = net.wording.write(path, len(path) < LENGTH)
    model = net.lm.plain[0]
    model.set_attn_implementation("eager")
    logits = model(torch.tensor([prompt + token]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    model.set_attn_implementation("shared_prompt")
    found: Tensor = logits.log_softmax(-1).gather(1, torch.tensor(token)[:, None]).squeeze(1)
    return found


@pytest.mark.parametrize("style", STYLES, ids=["text", "tokens"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_path_alone_and_in_a_padded_batch_has_the_same_logits(
    folders: dict[str, Path], family: Family, style: PromptStyle
) -> None:
    net, request = net_of(folders[family], style), ask()
    log_prob, mask, _ = net.log_prob(request, PATHS, 1)
    for row in range(4):
        path = [number for number in PATHS[row].tolist() if number >= 0]
        alone = slow_log_prob(net, request.select(torch.tensor([row])), path)
        assert int(mask[row].sum()) == len(alone)
        torch.testing.assert_close(log_prob[row, : len(alone)], alone, rtol=0, atol=1e-5)
    assert float(log_prob[mask].detach().std()) > 0.1


def test_the_prompt_is_longer_than_the_window_that_the_tests_give(folders: dict[str, Path]) -> None:
    net = net_of(folders["mistral"])
    assert min(map(len, net.wording.prompts(ask()))) > net.lm.config.sliding_window == 40
    assert net_of(folders["qwen2"]).lm.plain[0].model.has_sliding_layers


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_prompt_has_the_gradients_of_whole_passes(folders: dict[str, Path], family: Family) -> None:
    net, request = net_of(folders[family]), ask()
    path = torch.randint(len(NAMES), (4 * GROUP, 3), generator=torch.Generator().manual_seed(0))
    gradients = []
    for whole in (False, True):
        net.zero_grad()
        net.whole_passes = whole
        log_prob, mask, entropy = net.log_prob(request, path, GROUP)
        torch.autograd.backward(log_prob[mask].mean() + entropy[mask].mean())
        found = {name: weight.grad.clone() for name, weight in net.named_parameters() if weight.grad is not None}
        gradients.append((log_prob.detach(), found))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)
    trained = {name for name, weight in net.named_parameters() if weight.requires_grad}
    assert trained == set(gradients[0][1])
    assert all("lora" in name for name in trained)


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("style", STYLES, ids=["text", "tokens"])
@pytest.mark.parametrize("family", FAMILIES)
def test_sampling_reports_the_log_probabilities_that_the_update_sees(
    folders: dict[str, Path], family: Family, style: PromptStyle, constrained: bool
) -> None:
    net, request = net_of(folders[family], style, constrained=constrained), ask()
    sampled = net.sample(request, GROUP, 0.9, draws())
    log_prob, mask, _ = net.log_prob_of(request, sampled, GROUP, 0.9)
    assert torch.equal(mask, sampled.token_mask)
    torch.testing.assert_close(log_prob.detach(), sampled.log_prob, rtol=0, atol=2e-5)
    assert sampled.dropped is not None
    assert sampled.dropped.bool().any() != constrained
    assert bool((sampled.path < len(NAMES)).all())


def test_paths_are_the_same_in_any_company(folders: dict[str, Path]) -> None:
    net, request = net_of(folders["llama"], constrained=True), ask()
    together = net.sample(request, GROUP, draws=draws()).path
    row = torch.tensor([2])
    alone = net.sample(request.select(row), GROUP, draws=draws().select(row)).path
    assert torch.equal(together[2 * GROUP : 3 * GROUP][:, : alone.shape[1]], alone)
    assert len({tuple(path) for path in alone.tolist()}) > 1


def test_constrained_paths_are_what_is_written(folders: dict[str, Path]) -> None:
    net = net_of(folders["qwen2"], constrained=True)
    sampled = net.sample(ask(), GROUP, draws=draws(1))
    assert sampled.token is not None
    written, mask, _ = net.log_prob(ask(), sampled.path, GROUP)
    width = min(written.shape[1], sampled.log_prob.shape[1])
    torch.testing.assert_close(written[:, :width].detach(), sampled.log_prob[:, :width], rtol=0, atol=2e-5)
    assert bool(mask.any())


def test_what_may_follow_first_is_a_concept_or_the_end(folders: dict[str, Path]) -> None:
    """The probabilities of all first lines, and of the end, sum to 1."""
    net = net_of(folders["qwen2"], constrained=True)
    path = torch.tensor([[number] for number in [*range(len(NAMES)), -1]])
    log_prob, mask, _ = net.log_prob(ask().select(torch.zeros(len(path), dtype=torch.int64)), path, 1)
    last = mask.sum(1, keepdim=True) - 1
    end = log_prob.gather(1, last).squeeze(1) * (path[:, 0] >= 0)  # the end after a concept is not the first line
    assert float((log_prob.sum(1) - end).exp().detach().sum()) == pytest.approx(1.0, abs=1e-5)


def test_finished_paths_leave_the_batch_and_change_nothing(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = net_of(folders["llama"], constrained=True)
    sizes: list[int] = []
    extend = net.lm.extend

    def watched(*args: Any, **others: Any) -> Tensor:
        sizes.append(len(args[1]))
        return extend(*args, **others)

    monkeypatch.setattr(net.lm, "extend", watched)
    shrunk = net.sample(ask(), GROUP, draws=draws(2)).path
    assert sizes[0] == 4 * GROUP
    assert sizes[-1] < sizes[0]
    monkeypatch.setattr("lpr_lightning.nets.backbones.language_net._EMPTIED", -1.0)
    assert torch.equal(net.sample(ask(), GROUP, draws=draws(2)).path, shrunk)


def test_what_is_written_is_read_leniently_and_the_rest_is_counted(folders: dict[str, Path]) -> None:
    wording = net_of(folders["llama"]).wording
    assert wording.shown == SHOWN

    def read(text: str) -> tuple[list[int], int]:
        reading = wording.read(wording.tokenizer(text)["input_ids"] + [wording.end], LENGTH)
        return reading.path, reading.dropped

    assert read("Area\nAREA of  circles, approx.\n- Median\n3. 2-step equations\n") == ([0, 1, 5, 4], 0)
    assert read("Fractions (2)\nFractions\nAlgebra\n\n\nArea and more\nconcept 7") == ([3, 2, 6], 2)
    assert read("") == ([], 0)
    assert read("Area\n" * 9) == ([0] * LENGTH, 0)
    tokens = wording.write([1, 4], True)
    reading = wording.read(tokens, LENGTH)
    assert reading.path == [1, 4]
    assert reading.step == [0] * len(wording.lines[1]) + [1] * len(wording.lines[4]) + [2]


def test_prompts_say_what_is_known(folders: dict[str, Path]) -> None:
    wording = net_of(folders["llama"]).wording
    first, _, third, _ = wording.texts(ask())
    assert "Practised: Area of circles, approx. wrong; fractions right." in first
    assert "Goals: Area of circles, approx.; 2-step equations." in first
    assert "Concepts: Area; Area of circles, approx.; fractions; Fractions (2); " in first
    assert "Write a path of 3 concepts" in first
    assert "Practised: nothing." in third
    chat = net_of(folders["qwen3"]).wording
    text = chat.tokenizer.decode(chat.prompts(ask())[0])
    assert text.startswith("<user>You plan")
    assert text.endswith("</user><plan>")


@pytest.mark.parametrize("lora", [LoRA(rank=2), None])
def test_tokens_of_concepts_begin_as_the_mean_of_their_names(folders: dict[str, Path], lora: LoRA | None) -> None:
    torch.manual_seed(0)
    net = HuggingFace(str(folders["llama"]), prompt=ConceptTokens(), lora=lora).build(len(NAMES))
    net.connect(Data())  # type: ignore[arg-type]
    plain = AutoModelForCausalLM.from_pretrained(folders["llama"]).model.embed_tokens
    words = net.wording.tokenizer("Median", add_special_tokens=False)["input_ids"]
    embed = net.lm.plain[0].model.embed_tokens
    torch.testing.assert_close(embed(torch.tensor(net.added[5])), plain.weight[words].mean(0))
    trained = [name for name, weight in net.named_parameters() if weight.requires_grad and "embed" in name]
    assert len(trained) == 1
    assert (lora is None) or "trainable_tokens_delta" in trained[0]


def test_checkpoints_hold_adapters_alone_and_bring_all_back(folders: dict[str, Path], tmp_path: Path) -> None:
    for style in STYLES:
        net = net_of(folders["qwen3"], style)
        state = net.state_dict()
        assert all("lora" in name or "token" in name or name == "_extra_state" for name in state)
        again = HuggingFace(str(folders["qwen3"]), prompt=style, lora=LoRA(rank=4), max_length=LENGTH).build(len(NAMES))
        again.load_state_dict(state)
        again.eval()
        torch.testing.assert_close(again.log_prob(ask(), PATHS, 1), net.log_prob(ask(), PATHS, 1))
        with pytest.raises(RuntimeError, match="Missing key"):
            again.load_state_dict({name: one for name, one in state.items() if "lora_B" not in name})
    net.save_pretrained(str(tmp_path))
    written = {path.name for path in tmp_path.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= written
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(folders["qwen3"])
    other = PeftModel.from_pretrained(base, tmp_path)
    ids = torch.tensor([net.wording.prompts(ask())[0]])
    with torch.no_grad():
        expected = net.lm.logits(net.lm.read(ids, torch.ones_like(ids, dtype=torch.bool)).last)
        torch.testing.assert_close(other(ids).logits[:, -1], expected, rtol=0, atol=1e-5)


def test_a_model_from_scratch_keeps_its_weights_and_tokenizer_in_checkpoints() -> None:
    nets = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        settings = HuggingFace(small=SmallModel("qwen2", 32, 1, 2, vocabulary_size=400), constrained=True, max_length=5)
        nets.append(settings.build(len(NAMES)).eval())
    nets[0].connect(Data())  # type: ignore[arg-type]
    nets[1].load_state_dict(nets[0].state_dict())
    paths = [net.sample(ask(), GROUP, draws=draws()).path for net in nets]
    assert torch.equal(*paths)


@pytest.mark.parametrize("style", STYLES, ids=["text", "tokens"])
def test_it_overfits_two_learners(style: PromptStyle) -> None:
    torch.manual_seed(0)
    small = SmallModel("qwen2", 32, 1, 2, vocabulary_size=400)
    net = HuggingFace(small=small, prompt=style, lora=None, max_length=5).build(len(NAMES))
    net.connect(Data())  # type: ignore[arg-type]
    request, path = ask().select(torch.tensor([0, 2])), torch.tensor([[4, 1, 1, -1], [3, 2, 0, 6]])
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    for _ in range(60):
        log_prob, mask, _ = net.log_prob(request, path, 1)
        optimizer.zero_grad()
        torch.autograd.backward(-log_prob[mask].mean())
        optimizer.step()
    assert torch.equal(net.eval().sample(request).path[:, :4], path)


def test_bfloat16_and_gradient_checkpointing_learn(folders: dict[str, Path]) -> None:
    net = net_of(folders["llama"], precision="bfloat16", gradient_checkpointing=True).train()
    assert net.lm.plain[0].model.layers[0].mlp.gate_proj.base_layer.weight.dtype == torch.bfloat16
    assert net.whole_passes
    log_prob, mask, _ = net.log_prob(ask(), PATHS, 1)
    torch.autograd.backward(log_prob[mask].mean())
    assert all(one.grad is not None and one.dtype == torch.float32 for one in net.parameters() if one.requires_grad)
    plain = net_of(folders["llama"])
    torch.testing.assert_close(log_prob.detach(), plain.log_prob(ask(), PATHS, 1)[0].detach(), rtol=0.05, atol=0.2)


def test_what_cannot_work_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=50)).save_pretrained(tmp_path)
    with pytest.raises(SettingError, match=r"path='gpt2' .* llama, mistral, qwen2, qwen3"):
        HuggingFace(str(tmp_path)).build(3)
    with pytest.raises(MissingFileError, match="save_pretrained"):
        HuggingFace(str(tmp_path / "nothing")).build(3)
    with pytest.raises(SettingError, match="concept_names"):
        HuggingFace(str(folders["llama"])).build(3).sample(ask())
    net = net_of(folders["llama"])
    long = ask()
    long.length[0] = LENGTH + 1
    with pytest.raises(SettingError, match="max_length=5"):
        net.sample(long)
    net.lm.config.max_position_embeddings = 60
    with pytest.raises(SettingError, match="history_length"):
        net.sample(ask())
    for setting, value in (("max_length", 0), ("precision", "int8"), ("small", SmallModel())):
        with pytest.raises(SettingError, match=setting):
            HuggingFace("x/y", **{setting: value})  # type: ignore[arg-type]
    for setting, value in (
        ("family", "gpt2"),
        ("hidden_size", 30),
        ("vocabulary_size", 10),
        ("num_key_value_heads", 3),
    ):
        with pytest.raises(SettingError, match=setting):
            SmallModel(**{setting: value})  # type: ignore[arg-type]
