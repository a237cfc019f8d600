"""QuestionContrastive: questions, solution steps and knowledge concepts in one space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.bases.staged import Figures, Stage, Staged, datamodule_of
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked, checked_positive
from lpr_lightning.functional.contrastive import allowed_negatives, contrastive_loss, cosine, question_vectors
from lpr_lightning.functional.retrieval import (
    alignment,
    cluster_questions,
    concept_similarity,
    mean_reciprocal_rank,
    micro_f1,
    recall_at,
    uniformity,
)
from lpr_lightning.hparams import arguments, built
from lpr_lightning.nets.text_encoder import Encoder, Kind, Pooling, SmallBert, TextEncoder
from lpr_lightning.protocols import HasQuestions
from lpr_lightning.questions import Question, Questions
from lpr_lightning.ranks import gathered, rank_and_world, rows_of_all_ranks
from lpr_lightning.tasks.question_texts import QuestionBatch

REPRESENTATIVES = 0
"""Names the draws by which a cluster is represented by one of its concepts."""


class Texts(NamedTuple):
    """Vectors of some questions' texts: of B questions, S steps (of question `owner`), and O concept occurrences.

    `concept` [O] are concept numbers, `concept_owner` [O] their questions; `step_concept` [S, O] bool says which
    occurrence a step needs; `question_text` [B] and `step_text` [S] number equal texts alike.
    """

    question: Tensor
    step: Tensor
    occurrence: Tensor
    owner: Tensor
    concept: Tensor
    concept_owner: Tensor
    step_concept: Tensor
    question_text: Tensor
    step_text: Tensor


class QuestionContrastive(Staged):
    """Encodes questions, steps and concepts so that what belongs together is near (ExRec, Ozyurt et al. 2025, 4.2).

    Each question is pulled to its knowledge concepts, each solution step to those that it needs, and pushed from the
    batch's other concepts, but for those of the same cluster (eq. 5 to 9). Batches are `QuestionBatch` (task
    `QuestionTexts`). Validation and test find held-out questions by their concepts; `val/micro_f1` chooses the
    checkpoint. Prediction gives each question its vector (eq. 10), which `VectorWriter` writes for `CalibratedDKT`.

    Differs from the paper:
        1. the encoder is a small BERT from scratch, which needs no download; any other is `PretrainedEncoder`;
        2. negatives: those of all devices; equal texts share their positives' clusters (`allowed_negatives`);
        3. the checkpoint is chosen on held-out questions, not on the training corpus.

    Args:
        encoder: which network; `SmallBert` if not given.
        pooling: `cls`, the vector of the first token, or `mean`.
        temperature: tau of eq. 7 and 8.
        step_weight: alpha of eq. 9.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        max_length: tokens of a question or a step; longer ones are cut.
        concept_length: tokens of a concept.
        token_budget: most tokens that go through the encoder at a time, padding included.
        cached_gradients: encode anew in the backward pass, chunk by chunk: memory for a chunk, whatever the batch.

    Raises:
        SettingError: an argument is out of its range.
    """

    monitor = ("val/micro_f1", "max")

    def __init__(
        self,
        encoder: Encoder | None = None,
        pooling: Pooling = "cls",
        temperature: float = 0.1,
        step_weight: float = 1.0,
        learning_rate: float = 5e-4,
        weight_decay: float = 0.01,
        max_length: int = 128,
        concept_length: int = 32,
        token_budget: int = 8192,
        cached_gradients: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()))
        self.temperature = checked_positive("temperature", temperature)
        self.step_weight = checked("step_weight", step_weight, 0.0)
        self.learning_rate = checked_positive("learning_rate", learning_rate)
        self.weight_decay = checked("weight_decay", weight_decay, 0.0)
        chosen = built(encoder, Encoder) or SmallBert()
        self.net = TextEncoder(chosen, pooling, max_length, concept_length, token_budget, cached_gradients)
        self._evaluated: list[QuestionBatch] = []

    def setup(self, stage: str) -> None:
        """Fit the vocabulary on the training questions, where the encoder brought none; a checkpoint brings its own."""
        data = datamodule_of(self.trainer)
        if not self.net.fitted and isinstance(data, HasQuestions):
            self.net.fit_vocabulary(training_texts(data))

    def stages(self) -> Sequence[Stage]:
        """Return the only stage."""
        return [Stage("training", self.fit_step, select=_micro_f1)]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over what is trained."""
        trained = [one for one in self.parameters() if one.requires_grad]
        return torch.optim.AdamW(trained, self.learning_rate, weight_decay=self.weight_decay)

    def forward(self, texts: Sequence[str], kind: Kind = "[Q]") -> Tensor:
        """Return the vectors of texts of one kind, [N, D]."""
        vectors: Tensor = self.net(texts, kind)
        return vectors

    def fit_step(self, batch: QuestionBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, over the questions of all processes."""
        losses = self.losses(batch)
        loss = losses["questions"] + self.step_weight * losses["steps"]
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        self.log_dict({f"train/loss_{name}": value for name, value in losses.items()}, batch_size=len(batch))
        return loss

    def losses(self, batch: QuestionBatch) -> dict[str, Tensor]:
        """Return the terms of eq. 9, over the questions of all processes."""
        numbers = gathered(batch.number, self.device).tolist()
        return self._losses(self.encode_questions(batch.questions, numbers), batch.cluster)

    def validation_step(self, batch: QuestionBatch, batch_idx: int) -> None:
        """Remember the questions."""
        self._evaluated.append(batch)

    def test_step(self, batch: QuestionBatch, batch_idx: int) -> None:
        """Remember the questions."""
        self._evaluated.append(batch)

    def on_validation_epoch_start(self) -> None:
        """Forget the questions of an evaluation that was broken off."""
        self._evaluated = []

    def on_test_epoch_start(self) -> None:
        """Forget the questions of an evaluation that was broken off."""
        self._evaluated = []

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the held-out questions."""
        figures = self._report("val")
        if "micro_f1" in figures:
            self.validated(figures)

    def on_test_epoch_end(self) -> None:
        """Log the figures of the test questions, and micro-F1 on the whole corpus, which the paper reports."""
        batch = self._evaluated[0] if self._evaluated else None
        self._report("test")
        if batch is not None:
            worded = [number for number, one in enumerate(batch.questions.questions) if one.text.strip()]
            whole = self.retrieval_figures(batch.questions, worded, batch.cluster)
            self.log_dict({f"test/corpus_{name}": whole[name] for name in ("micro_f1", "micro_f1_all")})

    def predict_step(self, batch: QuestionBatch, batch_idx: int) -> dict[str, Tensor]:
        """Return the numbers of the questions and their vectors (eq. 10), scaled to length sqrt(D).

        A question without a text is where its concepts are.
        """
        vectors = self.question_vectors([batch.questions[one] for one in batch.number.tolist()])
        return {"number": batch.number, "vector": vectors}

    @torch.no_grad()
    def question_vectors(self, questions: Sequence[Question]) -> Tensor:
        """Return the vectors of questions, annotated or not (eq. 10), [B, D], of length sqrt(D).

        Raises:
            SettingError: a question has neither text nor concept.
        """
        vectors = []
        for one in questions:
            if not one.text.strip() and not one.concepts:
                raise SettingError("text", one.text, f"a text or a concept of question {one.name!r}")
        worded = [one for one in questions if one.text.strip()]
        owner = [number for number, one in enumerate(worded) for _ in one.steps]
        steps = self.net([text for one in worded for text in one.steps], "[S]")
        asked = self.net([one.wording for one in worded], "[Q]")
        found = iter(question_vectors(asked, steps, torch.tensor(owner, dtype=torch.int64, device=asked.device)))
        for one in questions:
            vectors.append(next(found) if one.text.strip() else self.concept_vectors(one.concepts).mean(0))
        return torch.stack(vectors) if vectors else asked

    @torch.no_grad()
    def concept_vectors(self, names: Sequence[str]) -> Tensor:
        """Return the vectors of concepts by name, [N, D], of length sqrt(D)."""
        vectors: Tensor = self.net(names, "[KC]")
        return F.normalize(vectors.float(), dim=-1) * math.sqrt(self.net.width)

    def encode_questions(self, questions: Questions, numbers: Sequence[int]) -> Texts:
        """Return the vectors of questions' texts; every process must ask for the same ones, and encodes its share."""
        chosen = [questions[number] for number in numbers]
        for one in chosen:
            if not one.text.strip():
                raise SettingError("text", one.text, f"a text, of question {one.name!r}", "An empty one has no vector")
        known = {name: number for number, name in enumerate(questions.concept_names)}
        wording, steps = [one.wording for one in chosen], [text for one in chosen for text in one.steps]
        names = [name for one in chosen for name in one.concepts]
        place: dict[tuple[Kind, str], int] = {}
        every: list[tuple[Kind, str]] = [("[Q]", one) for one in wording]
        every += [("[S]", one) for one in steps]
        every += [("[KC]", one) for one in names]
        index = self._numbers([place.setdefault(one, len(place)) for one in every])
        vectors = self._shared_encoding(list(place))
        sizes = [len(wording), len(steps), len(names)]
        question, step, occurrence = torch.split(vectors.index_select(0, index), sizes)
        question_text, step_text, _ = torch.split(index, sizes)
        needed = torch.zeros(len(steps), len(names), dtype=torch.bool)
        step_at = concept_at = 0
        for one in chosen:
            for first, second in one.pairs:
                needed[step_at + first, concept_at + second] = True
            step_at, concept_at = step_at + len(one.steps), concept_at + len(one.concepts)
        return Texts(
            question=question,
            step=step,
            occurrence=occurrence,
            owner=self._numbers([row for row, one in enumerate(chosen) for _ in one.steps]),
            concept=self._numbers([known[name] for name in names]),
            concept_owner=self._numbers([row for row, one in enumerate(chosen) for _ in one.concepts]),
            step_concept=needed.to(question.device),
            question_text=question_text,
            step_text=step_text,
        )

    @torch.no_grad()
    def retrieval_figures(self, questions: Questions, numbers: Sequence[int], cluster: Tensor) -> dict[str, Tensor]:
        """Return how well questions are found among each other by their concepts, and the loss over all of them.

        `micro_f1`: a cluster is represented by one of its concepts, drawn once, and retrieves as many questions as it
        has (ExRec, appendix C). `micro_f1_all`: every concept retrieves as many questions as it has, and those of its
        cluster are hits (the authors' code). The others are of every concept and its own questions.
        """
        texts = self.encode_questions(questions, numbers)
        if not len(texts.concept):
            return {}
        losses = self._losses(texts, cluster)
        cluster = cluster.to(texts.concept)
        first = torch.full((len(cluster),), len(texts.concept), device=cluster.device)
        every = torch.arange(len(texts.concept), device=cluster.device)
        first = first.scatter_reduce(0, texts.concept, every, "amin")
        asked = (first < len(texts.concept)).nonzero().squeeze(1)
        vectors = texts.occurrence[first[asked]]
        similarity = concept_similarity(vectors, texts.question, texts.step, texts.owner)
        similarity = similarity.mul(1e5).round().div(1e5)  # ties stay ties, however texts were batched
        own = torch.zeros(len(cluster), len(numbers), dtype=torch.bool, device=cluster.device)
        own[texts.concept, texts.concept_owner] = True
        map_of = questions.concept_numbers
        shared = cluster_questions([map_of[one] for one in numbers], cluster.cpu()).to(cluster.device)[cluster[asked]]
        chosen = representatives(cluster[asked])
        own = own[asked]
        pulled = cosine_pairs(texts)
        points = question_vectors(texts.question, texts.step, texts.owner)
        return {
            "loss": losses["questions"] + self.step_weight * losses["steps"],
            "micro_f1": micro_f1(similarity[chosen], shared[chosen]),
            "micro_f1_all": micro_f1(similarity, shared, own.sum(1)),
            "recall_at_5": recall_at(similarity, own, 5),
            "mrr": mean_reciprocal_rank(similarity, own),
            "alignment": alignment(*pulled),
            **({"uniformity": uniformity(points)} if len(points) > 1 else {}),
        }

    def _losses(self, texts: Texts, cluster: Tensor) -> dict[str, Tensor]:
        cluster = cluster.to(texts.concept)[texts.concept]
        own = texts.concept_owner == torch.arange(len(texts.question), device=cluster.device)[:, None]
        losses = {}
        for name, anchor, positive, text in (
            ("questions", texts.question, own, texts.question_text),
            ("steps", texts.step, texts.step_concept, texts.step_text),
        ):
            negative = allowed_negatives(positive, cluster, text)
            similarity = cosine(anchor, texts.occurrence)
            losses[name] = contrastive_loss(similarity, positive, negative, self.temperature)
        return losses

    def _shared_encoding(self, texts: Sequence[tuple[Kind, str]]) -> Tensor:
        """Return the vectors of distinct texts; each process encodes its share of them."""
        rank, world = rank_and_world()
        mine = texts[rank::world]
        kinds: list[Kind] = ["[Q]", "[S]", "[KC]"]
        parts = [self.net([text for kind, text in mine if kind == one], one) for one in kinds]
        places = [place for one in kinds for place, (kind, _) in enumerate(mine) if kind == one]
        own = torch.cat(parts).index_select(0, self._numbers(places).argsort())
        if world == 1:
            return own
        every = rows_of_all_ranks(own, -(-len(texts) // world))
        order = [rank + world * place for rank in range(world) for place in range(-(-len(texts) // world))]
        kept = self._numbers([place for place, number in enumerate(order) if number < len(texts)])
        numbers = self._numbers([number for number in order if number < len(texts)])
        return every.index_select(0, kept).index_select(0, numbers.argsort())

    def _report(self, stage: str) -> dict[str, Tensor]:
        batches, self._evaluated = self._evaluated, []
        if not batches:
            return {}
        numbers = sorted(set(gathered(torch.cat([one.number for one in batches]), self.device).tolist()))
        figures = self.retrieval_figures(batches[0].questions, numbers, batches[0].cluster) if numbers else {}
        self.log_dict({f"{stage}/{name}": value for name, value in figures.items()}, prog_bar=False)
        return figures

    def _numbers(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)


def training_texts(data: HasQuestions) -> list[str]:
    """Return every text of the training questions: wording, steps and concepts."""
    chosen = [data.questions[number] for number in data.question_numbers("train").tolist()]
    return [text for one in chosen for text in (one.wording, *one.steps, *one.concepts)]


def representatives(cluster: Tensor) -> Tensor:
    """Return the place of one concept of each cluster, drawn once and for all, [R] int64.

    >>> representatives(torch.tensor([0, 1, 0, 0]))
    tensor([1, 2])
    """
    key = Draws.of(REPRESENTATIVES, 0, torch.arange(len(cluster))).uniform(1).squeeze(1).to(cluster.device)
    order = key.argsort(stable=True)
    kind, group = torch.unique(cluster[order], return_inverse=True)
    first = torch.full((len(kind),), len(order), device=cluster.device)
    first = first.scatter_reduce(0, group, torch.arange(len(order), device=cluster.device), "amin")
    return order[first].sort().values


def cosine_pairs(texts: Texts) -> tuple[Tensor, Tensor]:
    """Return the vectors of the pairs of a question and a concept of its own, [O, D] each."""
    return texts.question.float()[texts.concept_owner], texts.occurrence.float()


def _micro_f1(figures: Figures) -> Tensor:
    return figures["micro_f1"]
