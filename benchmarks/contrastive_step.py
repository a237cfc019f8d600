"""A training step of QuestionContrastive against sentence-transformers: equal encoder, texts, batch and optimizer.

    pip install -c constraints.txt -e ".[benchmark]" && python benchmarks/contrastive_step.py [--questions FILE]

Both encode `--batch` questions with all their steps and concepts by the same small BERT with the same weights, without
dropout, take a contrastive loss with the batch's concepts as negatives, and make a step of AdamW. sentence-transformers
does what its documentation says: pairs of an anchor (a question or a step) and a positive (a concept) in
`MultipleNegativesRankingLoss`. Steps are interleaved; times are medians. The last printed line is JSON: `speedup`, both
times (s), and both shares of tokens that are padding.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable

import torch

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.models.question_contrastive import QuestionContrastive
from lpr_lightning.nets.text_encoder import SmallBert
from lpr_lightning.question_files import load_questions
from lpr_lightning.questions import Questions
from lpr_lightning.tasks.question_texts import QuestionBatch

Step = Callable[[list[int]], None]


def ours(bank: Questions, net: SmallBert, device: str) -> tuple[Step, QuestionContrastive]:
    """Return a step of QuestionContrastive."""
    torch.manual_seed(0)
    module = QuestionContrastive(net, pooling="mean")
    module.net.fit_vocabulary([text for one in bank.questions for text in (one.wording, *one.steps, *one.concepts)])
    module.to(device).train()
    optimizer = module.configure_optimizers()
    cluster = torch.arange(len(bank.concept_names))

    def step(numbers: list[int]) -> None:
        losses = module.losses(QuestionBatch(torch.tensor(numbers), bank, cluster))
        optimizer.zero_grad()
        torch.autograd.backward(losses["questions"] + losses["steps"])
        optimizer.step()

    return step, module


def theirs(bank: Questions, module: QuestionContrastive, device: str) -> tuple[Step, dict[str, int]]:
    """Return a step of sentence-transformers with the same weights."""
    from sentence_transformers import SentenceTransformer, losses, models
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    marks = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = Tokenizer.from_str(bytes(module.net.get_extra_state().tolist()).decode())
    with tempfile.TemporaryDirectory() as folder:
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
        module.net.network.save_pretrained(folder)
        encoder = models.Transformer(folder, max_seq_length=module.net.max_length)
        model = SentenceTransformer(modules=[encoder, models.Pooling(module.net.width, "mean")], device=device).train()
    loss = losses.MultipleNegativesRankingLoss(model, scale=1 / module.temperature)
    optimizer = torch.optim.AdamW(model.parameters(), module.learning_rate, weight_decay=module.weight_decay)
    count = {"tokens": 0, "padding": 0}

    def step(numbers: list[int]) -> None:
        pairs = []
        for one in (bank[number] for number in numbers):
            pairs += [(f"[Q] {one.wording}", f"[KC] {concept}") for concept in one.concepts]
            pairs += [(f"[S] {one.steps[first]}", f"[KC] {one.concepts[second]}") for first, second in one.pairs]
        features = [model.tokenize([pair[place] for pair in pairs]) for place in range(2)]
        for part in features:
            count["tokens"] += part["attention_mask"].numel()
            count["padding"] += int((part["attention_mask"] == 0).sum())
        for part in features:
            part |= {name: value.to(device) for name, value in part.items() if isinstance(value, torch.Tensor)}
        value = loss(features, torch.empty(0))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return step, count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", help="file of annotated questions; those of synthetic learners otherwise")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    bank = load_questions(options.questions).questions if options.questions else SyntheticLearners().questions
    step, module = ours(bank, SmallBert(vocabulary=2000, dropout=0.0), options.device)
    other, count = theirs(bank, module, options.device)
    draw = torch.Generator().manual_seed(0)
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    module.net.seen_tokens = module.net.seen_padding = 0
    for number in range(options.steps + 1):
        rows = torch.randperm(len(bank), generator=draw)[: options.batch].tolist()
        for name, one in (("ours", step), ("theirs", other)) if number % 2 else (("theirs", other), ("ours", step)):
            start = time.perf_counter()
            one(rows)
            if options.device == "cuda":
                torch.cuda.synchronize()
            if number:  # the first one warms up
                times[name].append(time.perf_counter() - start)
    median = {name: sorted(found)[len(found) // 2] for name, found in times.items()}
    figures = {
        "speedup": median["theirs"] / median["ours"],
        "seconds": median["ours"],
        "seconds_sentence_transformers": median["theirs"],
        "padding": module.net.seen_padding / module.net.seen_tokens,
        "padding_sentence_transformers": count["padding"] / count["tokens"],
        "device": options.device,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
