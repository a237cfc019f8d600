"""How well held-out questions are found by their concepts: QuestionContrastive against the simplest rivals.

    python experiments/find_questions.py --questions FILE --ckpt_path BEST.ckpt [--clusters FILE] [--pretrained PATH]

FILE is a file of annotated questions, such as MOOCRadar's, or a folder of DBE-KT22; the split is that of the
checkpoint's run (0.7, 0.1, 0.2, seed 0). Rivals: word counts weighted by rarity, BM25 and latent semantic analysis, the
encoder before training and, with --pretrained, a pretrained sentence encoder as it is. For TF-IDF, BM25 and latent
semantics a question's wording and steps are one text; none is fitted on concepts' questions. Each is measured among the
training questions and among the test questions: micro-F1 of clusters (ExRec, appendix C) with a 95 % interval by
bootstrap over clusters, micro-F1 over all concepts, recall at 5 and the mean reciprocal rank of a concept's own
questions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lpr_lightning.datamodules.dbe_kt22 import DBEKT22
from lpr_lightning.datamodules.question_file import QuestionFile
from lpr_lightning.functional.contrastive import cosine
from lpr_lightning.functional.retrieval import (
    cluster_questions,
    concept_similarity,
    mean_reciprocal_rank,
    micro_f1,
    recall_at,
)
from lpr_lightning.functional.text_rivals import bm25, latent_semantics, tf_idf
from lpr_lightning.hparams import load_module
from lpr_lightning.models.question_contrastive import QuestionContrastive, representatives, training_texts
from lpr_lightning.nets.text_encoder import Kind, PretrainedEncoder, TextEncoder
from lpr_lightning.questions import Question
from lpr_lightning.tasks.concept_clusters import ConceptClusters

RESAMPLES = 1000
Rival = Callable[[Sequence[str], Sequence[Question]], Tensor]
"""Returns how near questions are to concepts by name, [C, Q]."""


def encoded(net: TextEncoder, kinds: bool = True) -> Rival:
    """Return the similarity by an encoder."""

    @torch.no_grad()
    def similarity(names: Sequence[str], questions: Sequence[Question]) -> Tensor:
        marks: tuple[Kind | None, ...] = ("[Q]", "[S]", "[KC]") if kinds else (None, None, None)
        steps = [(row, text) for row, one in enumerate(questions) for text in one.steps]
        owner = torch.tensor([row for row, _ in steps], dtype=torch.int64)
        asked = net([one.wording for one in questions], marks[0])
        return concept_similarity(net(names, marks[2]), asked, net([text for _, text in steps], marks[1]), owner)

    net.eval()
    return similarity


def counted(names: Sequence[str], questions: Sequence[Question]) -> Tensor:
    """Return the similarity of rarity weighted word counts."""
    vectors = tf_idf([*map(whole, questions), *names])
    return cosine(vectors[len(questions) :], vectors[: len(questions)])


def latent(names: Sequence[str], questions: Sequence[Question]) -> Tensor:
    """Return the similarity by latent semantic analysis of 64 directions."""
    vectors = latent_semantics([*map(whole, questions), *names], 64)
    return cosine(vectors[len(questions) :], vectors[: len(questions)])


def scored(names: Sequence[str], questions: Sequence[Question]) -> Tensor:
    """Return BM25 scores."""
    return bm25(names, list(map(whole, questions)))


def whole(question: Question) -> str:
    """Return the wording and the steps as one text."""
    return "\n".join([question.wording, *question.steps])


def measured(similarity: Tensor, own: Tensor, shared: Tensor, chosen: Tensor) -> dict[str, float]:
    """Return the figures, with the interval of the first."""
    hits = similarity[chosen], shared[chosen]
    draw = torch.Generator().manual_seed(0)
    count = len(chosen)
    drawn = [torch.randint(count, (count,), generator=draw) for _ in range(RESAMPLES)]
    order = hits[0].argsort(dim=1, descending=True, stable=True)
    size = hits[1].sum(1)
    taken = torch.arange(order.shape[1]) < size[:, None]
    hit = (hits[1].gather(1, order) & taken).sum(1)
    resampled = torch.stack([hit[rows].sum() / size[rows].sum() for rows in drawn])
    low, high = resampled.quantile(torch.tensor([0.025, 0.975])).tolist()
    return {
        "micro_f1": float(micro_f1(*hits)),
        "low": low,
        "high": high,
        "micro_f1_all": float(micro_f1(similarity, shared, own.sum(1))),
        "recall_at_5": float(recall_at(similarity, own, 5)),
        "mrr": float(mean_reciprocal_rank(similarity, own)),
    }


def main(words: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--ckpt_path", type=Path, action="append", default=[], help="may be given several times")
    parser.add_argument("--clusters", help="JSON file of clusters; by the concepts' names otherwise")
    parser.add_argument("--singles", action="store_true", help="no clusters: every concept by itself")
    parser.add_argument("--pretrained", help="folder or hub name of a sentence encoder")
    options = parser.parse_args(words)
    data = DBEKT22(str(options.questions)) if options.questions.is_dir() else QuestionFile(str(options.questions))
    bank = data.questions
    cluster = ConceptClusters(options.clusters, min_size=None if options.singles else 2).of(bank.concept_names)
    rivals: dict[str, Rival] = {"TF-IDF": counted, "BM25": scored, "latent semantics": latent}
    for path in options.ckpt_path:
        trained = load_module(path)
        if not isinstance(trained, QuestionContrastive):
            parser.error(f"{path} is no checkpoint of QuestionContrastive")
        torch.manual_seed(0)
        plain = QuestionContrastive(**dict(trained.hparams))
        plain.net.fit_vocabulary(training_texts(data))
        kind = type(trained.net.encoder).__name__
        rivals |= {f"{kind}, untrained": encoded(plain.net), f"QuestionContrastive, {kind}": encoded(trained.net)}
    if options.pretrained:
        rivals["pretrained, as it is"] = encoded(TextEncoder(PretrainedEncoder(options.pretrained), "mean"), False)
    numbers = {"training questions": "train", "held-out questions": "test"}
    results: dict[str, dict[str, dict[str, float]]] = {}
    for title, split in numbers.items():
        chosen = data.question_numbers("train" if split == "train" else "test").tolist()
        asked = sorted({one for number in chosen for one in bank.concept_numbers[number]})
        names = [bank.concept_names[one] for one in asked]
        questions = [bank[number] for number in chosen]
        maps = [bank.concept_numbers[number] for number in chosen]
        own = cluster_questions(maps, torch.arange(len(cluster)))[asked]
        shared = cluster_questions(maps, cluster)[cluster[asked]]
        represented = representatives(cluster[asked])
        print(f"\n{title}: {len(chosen)}, concepts {len(asked)}, clusters {len(represented)}")
        print("| | micro-F1 [95 %] | all concepts | recall at 5 | reciprocal rank |\n|:--|--:|--:|--:|--:|")
        for name, similarity in rivals.items():
            found = measured(similarity(names, questions), own, shared, represented)
            results.setdefault(title, {})[name] = found
            interval = f"{found['micro_f1']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
            rest = " | ".join(f"{found[one]:.3f}" for one in ("micro_f1_all", "recall_at_5", "mrr"))
            print(f"| {name} | {interval} | {rest} |", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
