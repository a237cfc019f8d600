"""Questions in words: what an encoder of questions is trained and judged on."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import built
from lpr_lightning.protocols import Examples, HasQuestions
from lpr_lightning.questions import Questions
from lpr_lightning.tasks.concept_clusters import ConceptClusters
from lpr_lightning.types import Interactions, Split, TensorData


@dataclass(frozen=True)
class QuestionBatch(TensorData):
    """Questions of a bank: their numbers [B] int64, the bank, and the cluster [N] int64 of each of its concepts."""

    number: Tensor
    questions: Questions
    cluster: Tensor

    def __len__(self) -> int:
        return len(self.number)


@dataclass(frozen=True)
class QuestionExamples:
    """The questions `numbers` [E] int64 of a bank; a question is as long as all of its texts, in letters."""

    questions: Questions
    numbers: Tensor
    cluster: Tensor

    @property
    def sizes(self) -> Tensor:
        """Letters of each question's wording and steps, [E] int64."""
        chosen = (self.questions[number] for number in self.numbers.tolist())
        return torch.tensor([len(one.wording) + sum(map(len, one.steps)) for one in chosen], dtype=torch.int64)

    def batch(self, index: Tensor) -> QuestionBatch:
        """Return the questions at `index` [B]."""
        return QuestionBatch(self.numbers[index], self.questions, self.cluster)


@dataclass
class QuestionTexts:
    """Feeds a module with the data's questions, their steps and concepts, as `NextAnswers` feeds a tracer.

    Questions, like learners, are divided into train, validation and test by the data's `split` and `seed`: what a
    module makes of a question that it never saw is measured on held-out ones. Questions without a text are left out.

    Args:
        clusters: which concepts mean the same and are no negatives of each other; by their names if not given.
    """

    clusters: ConceptClusters | None = None
    _data: HasQuestions | None = field(default=None, init=False, repr=False, compare=False)
    _cluster: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def connect(self, data: HasQuestions) -> None:
        """Take the questions from the data and cluster their concepts, once.

        Raises:
            SettingError: the data have no questions in words.
        """
        if self._data is data:
            return
        if not isinstance(data, HasQuestions):
            raise SettingError("data", type(data).__name__, "a datamodule with questions in words")
        rule = built(self.clusters, ConceptClusters) or ConceptClusters()
        self._cluster = rule.of(data.questions.concept_names)
        self._data = data

    def examples(self, log: Interactions, split: Split, num_concepts: int, seed: int) -> Examples:
        """Return the questions of one split; the log is not looked at."""
        data, cluster = self._connected()
        return QuestionExamples(data.questions, data.question_numbers(split), cluster)

    def every(self, data: HasQuestions) -> QuestionExamples:
        """Return all questions, those without a text too, in their order."""
        self.connect(data)
        return QuestionExamples(data.questions, torch.arange(len(data.questions)), self._connected()[1])

    def _connected(self) -> tuple[HasQuestions, Tensor]:
        if self._data is None or self._cluster is None:
            advice = "datamodules of this package do it themselves; otherwise call connect(data) first"
            raise SettingError("task", type(self).__name__, "a task that is connected to the data", advice)
        return self._data, self._cluster
