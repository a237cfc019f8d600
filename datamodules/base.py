"""The base of every datamodule: cache, vocabulary, split by learner, loaders and data card."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor

from lpr_lightning.cache import cache_root, fingerprint
from lpr_lightning.datamodules.card import DataCard
from lpr_lightning.datamodules.loader import IndexedBatches
from lpr_lightning.datamodules.prerequisites import GivenPrerequisites
from lpr_lightning.datamodules.question_bank import QuestionBank, named_questions
from lpr_lightning.datamodules.split import LearnerSplit, check_folds
from lpr_lightning.datamodules.store import StoredTable, Vocabulary
from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.datamodules.unseen_learners import UnseenLearners
from lpr_lightning.errors import DataError, SettingError, checked_or_none
from lpr_lightning.hparams import Plain, PlainLoading, arguments, built
from lpr_lightning.protocols import Connected, Examples, LearnerData, Simulator, Task
from lpr_lightning.questions import Questions
from lpr_lightning.tasks.joined_requests import JoinedRequests
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.tasks.question_texts import QuestionTexts
from lpr_lightning.types import PAD, Interactions, Split


def recorded(scope: dict[str, object]) -> dict[str, Plain]:
    """Return a constructor's `locals()` as plain values, the arguments in `common` among the others.

    >>> recorded({"self": None, "root": "logs", "common": {"seed": 1}})
    {'root': 'logs', 'seed': 1}
    """
    common = scope.get("common")
    own = {name: value for name, value in scope.items() if name != "common"}
    return arguments(own | (common if isinstance(common, dict) else {}))


class LearnerDataModule(PlainLoading, LightningDataModule, ABC):
    """Answer logs split by learner, cached by the hash of their source, drawn in batches by index.

    A subclass says what identifies its source (`source_key`) and how it is read (`read`); it sets its own options
    first, then calls `super().__init__(**common)`, then `self.save_hyperparameters(recorded(…), logger=False)`. After
    that `num_concepts`, `num_items` and `concept_names` are known; tensors are loaded in `setup`.

    Args:
        task: turns answer logs into examples; next answers when not given.
        batch_size: examples in a batch.
        split: shares of learners for train, val and test.
        min_answers: learners with fewer answers are left out (and counted).
        max_learners: take this many learners of a seeded shuffle; those of a separate test set all stay.
        seed: of the split and the shuffles.
        cache_dir: folder of the cache; `$LPR_CACHE/data` when not given.
        predict_histories: CSV of unseen learners' answers: `learner`, `concept`, `correct`, perhaps `order`, `item`.
        predict_goals: CSV of what they want: `learner`, `targets` (concepts joined by `;`), perhaps `length` and
            `items` (questions that a tracer is to predict, joined by `;`; then targets may be left out). Without it
            every learner of `predict_histories` is asked for, without targets.
        predict_answers: CSV, like `predict_histories`, of the answers that they gave since their path began. Their
            requests are then continued: the history is `predict_histories` followed by these answers, and the wanted
            length is what is left of the path, its length less the number of these answers, at least 0. Every learner
            in it needs a row in `predict_goals` or, without that file, in `predict_histories`.
        predict_length: wanted length of a path where `predict_goals` says none.
        further_tasks: more tasks by name. Their training and validation requests join those of `task`, so that one
            policy serves all; their test requests are tested apart, as `test/<name>/…`. All must make requests.
        folds: cut the learners into this many folds for cross-validation; the shares of `split` then only say how
            those outside the tested fold are divided into train and val. Not beside a separate test set.
        fold: the fold whose learners are tested, from 0. Over all folds every learner is tested exactly once.
        prerequisites_file: CSV of the prerequisites to use in the place of the data set's: `needed`, `needing`,
            concepts by name or raw id; further columns are passed over. Learners of known truth follow their own.
        without_prerequisites: use none, not even the data set's own.
        questions_file: questions in words (`load_questions`) to use in the place of the data set's, by raw item name:
            annotations with solution steps and concepts, or wording where the data set has none.
        keep_unseen_items: let questions that no training learner answered keep their numbers in validation and test,
            for models that have vectors of them; else they are asked by their concepts alone.
    """

    num_concepts: int
    num_items: int

    def __init__(
        self,
        task: Task | None = None,
        batch_size: int = 64,
        split: tuple[float, float, float] = (0.7, 0.1, 0.2),
        min_answers: int = 3,
        max_learners: int | None = None,
        seed: int = 0,
        cache_dir: str | None = None,
        predict_histories: str | None = None,
        predict_goals: str | None = None,
        predict_answers: str | None = None,
        predict_length: int = 10,
        further_tasks: dict[str, Task] | None = None,
        folds: int | None = None,
        fold: int = 0,
        prerequisites_file: str | None = None,
        without_prerequisites: bool = False,
        questions_file: str | None = None,
        keep_unseen_items: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("batch_size", batch_size), ("min_answers", min_answers), ("max_learners", max_learners)):
            checked_or_none(name, value, 1)
        if predict_answers is not None and predict_goals is None and predict_histories is None:
            advice = "Give predict_goals or predict_histories with it"
            raise SettingError("predict_answers", predict_answers, "none without requests", advice)
        self._split = LearnerSplit(tuple(split), min_answers, max_learners, seed, folds, fold, keep_unseen_items)
        chosen: Task = built(task, Task) or NextAnswers()
        self.task = chosen
        further = {name: built(one, Task) or one for name, one in (further_tasks or {}).items()}
        for name in further:
            if not name.isidentifier():
                raise SettingError("further_tasks", name, "names of letters, digits and underscores", "as in ahead")
        self.further_tasks: dict[str, Task] = further
        self.tested = ""
        self.batch_size = batch_size
        self.seed = seed
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else cache_root() / "data"
        self._stored = self._store(self.source_key(), self.read)
        self._stored_test = None if (key := self.test_key()) is None else self._store(key, self.read_test)
        check_folds(folds, fold, own_test=self._stored_test is not None)
        self._parts: dict[Split, Interactions] = {}
        self._table: AnswerTable | None = None
        self._card: DataCard | None = None
        self._unseen: UnseenLearners | None = None
        self._vocabulary = self._ensure()
        self.num_concepts = len(self._vocabulary.concepts)
        self.num_items = len(self._vocabulary.items)
        self._given = GivenPrerequisites.of(prerequisites_file, without_prerequisites, self.concept_vocabulary)
        self._bank = QuestionBank(type(self).__name__, self.read_questions, self.item_names, questions_file)
        if predict_goals is not None or predict_histories is not None:
            self._unseen = UnseenLearners.read(
                predict_goals,
                predict_histories,
                predict_length,
                self.concept_vocabulary,
                self._vocabulary.items,
                predict_answers,
            )

    @abstractmethod
    def source_key(self) -> list[object]:
        """Return JSON-able values that change whenever the data that `read` returns do."""

    @abstractmethod
    def read(self) -> AnswerTable:
        """Read the source; called only where the cache does not hold it."""

    def test_key(self) -> list[object] | None:
        """Return what identifies a separate set of test learners, or None where there is none."""
        return None

    def read_test(self) -> AnswerTable:
        """Read the separate set of test learners."""
        raise NotImplementedError

    @property
    def test_source(self) -> str:
        """Where the separate set of test learners comes from, for messages."""
        return type(self).__name__

    @property
    def tasks(self) -> dict[str, Task]:
        """All tasks by name: `task` under the empty name, then the further ones."""
        return {"": self.task, **self.further_tasks}

    @property
    def concept_names(self) -> list[str]:
        """Readable names, one for each concept number."""
        return self._vocabulary.concept_names

    @property
    def learner_names(self) -> list[str]:
        """Raw names, one for each learner number."""
        return self._vocabulary.learners

    @property
    def item_names(self) -> list[str]:
        """Raw names, one for each item number."""
        return self._vocabulary.items

    @property
    def item_concepts(self) -> Tensor:
        """Concepts of each item as training learners met it, [Q, C] int64, -1 where unused and where none of them did.

        Where their answers to an item differ, those of the first answer in the log.
        """
        log = self.interactions("train")
        rows = torch.arange(len(log))
        first = torch.full((self.num_items,), len(log)).scatter_reduce(0, log.item.long(), rows, "amin")
        met = first < len(log)
        concepts = torch.full((self.num_items, log.concept.shape[1]), PAD)
        concepts[met] = log.concept[first[met]].long()
        return concepts

    @property
    def item_texts(self) -> list[str]:
        """The questions' wording, one for each item; empty where the data set has none."""
        return self._vocabulary.item_texts

    def read_questions(self) -> Questions:
        """Return the questions in words, by item number, as the source has them: here `item_texts` and their concepts.

        A data set with options, steps or links of questions to concepts overrides it.
        """
        return named_questions(self.item_names, self.item_texts, self.item_concepts.tolist(), self.concept_names)

    @property
    def questions(self) -> Questions:
        """The questions in words, by item number; the text is empty where the data set has none for it.

        Raises:
            SettingError: there is no text at all.
        """
        return self._bank.questions

    def question_numbers(self, split: Split) -> Tensor:
        """Return the numbers of the questions with a text of one split, [E] int64: split as learners are."""
        chosen = self._split
        return self._bank.numbers(split, chosen.fractions, chosen.seed, chosen.folds, chosen.fold)

    @property
    def concept_vocabulary(self) -> dict[str, int]:
        """Number of each concept by its raw and by its readable name."""
        readable = {name: number for number, name in enumerate(self._vocabulary.concept_names)}
        return readable | {name: number for number, name in enumerate(self._vocabulary.concepts)}

    @property
    def fingerprint(self) -> str:
        """Hash of the source files and of every option that changes the data."""
        split = self._split
        options = [list(split.fractions), split.min_answers, split.max_learners, split.seed]
        folds = [] if split.folds is None else [split.folds, split.fold]
        test_key = None if self._stored_test is None else self._stored_test.key
        given: list[object] = [] if self._given is None else [self._given.key]
        given += ["keep_unseen_items"] if split.keep_unseen_items else []
        return fingerprint(self._stored.key, test_key, options + folds, *given)

    @property
    def truth(self) -> Simulator | None:
        """The learners themselves where they are of known truth; None here."""
        return None

    @property
    def prerequisites(self) -> Tensor | None:
        """Edges (before, after) between concepts, [E, 2] int64: those given, else the data set's; None for none."""
        return self._loaded().prerequisites if self._given is None else self._given.edges

    def with_own_prerequisites(self) -> LearnerData:
        """Return the same data with the prerequisites of their source."""
        if self._given is None:
            return self
        same = copy.copy(self)
        same._given = None
        return same

    def prepare_data(self) -> None:
        """Make sure that the cache holds the data."""
        self._ensure()

    def setup(self, stage: str | None = None) -> None:
        """Load the tensors and split the learners; print the data card the first time."""
        if self._card is None:
            _show(self.card())

    def interactions(self, split: Split) -> Interactions:
        """Return the answer logs of one split's learners."""
        self.card()
        return self._parts[split]

    def card(self) -> DataCard:
        """Return the data card, to be printed with rich or as text."""
        if self._card is None:
            name, test = type(self).__name__, self._stored_test
            self._parts, counts = self._split.parts(self._loaded(), None if test is None else test.table())
            if not self._parts["train"].num_learners:
                raise DataError(name, f"no learner is left to train on: {counts}")
            if test is not None and not self._parts["test"].num_learners:
                self._parts = {}
                left = {reason: count for reason, count in counts.items() if count and reason.startswith("test set: ")}
                raise DataError(
                    f"the test set ({self.test_source})",
                    f"no answer on a concept of the training set is left: {left}. Its concepts are "
                    f"{_some(test.vocabulary().concepts)}; those of training are {_some(self._vocabulary.concepts)}",
                )
            self._card = DataCard.of(name, self._parts, self.num_items, self.num_concepts, counts, self.fingerprint)
        return self._card

    def examples(self, split: Split) -> Examples:
        """Return the examples that the tasks make of one split's learners, all on every rank; of test those of one."""
        tasks = [self.tasks[self.tested]] if split == "test" else list(self.tasks.values())
        for task in tasks:
            if isinstance(task, Connected):
                task.connect(self)
        log = self.interactions(split)
        parts = [task.examples(log, split, self.num_concepts, self.seed) for task in tasks]
        return parts[0] if len(parts) == 1 else JoinedRequests(parts)

    @contextmanager
    def testing(self, name: str) -> Iterator[None]:
        """Let the test be that of one of the tasks, by its name, inside a `with` statement."""
        if name not in self.tasks:
            raise SettingError("name", name, f"one of {', '.join(self.tasks)}")
        before, self.tested = self.tested, name
        try:
            yield
        finally:
            self.tested = before

    def batches(self, split: Split, shuffle: bool = False) -> IndexedBatches:
        """Return a loader over the examples of one split, each rank its share."""
        return IndexedBatches(self.examples(split), self.batch_size, shuffle, self.seed, pin=self._pins())

    def train_dataloader(self) -> IndexedBatches:
        """Return shuffled batches of the training learners."""
        return self.batches("train", shuffle=True)

    def val_dataloader(self) -> IndexedBatches:
        """Return batches of the validation learners."""
        return self.batches("val")

    def test_dataloader(self) -> IndexedBatches:
        """Return batches of the test learners."""
        return self.batches("test")

    def predict_dataloader(self) -> IndexedBatches:
        """Return batches of the unseen learners' requests, in the order of `predict_goals`; of a task over questions,
        batches of all questions."""
        if self._unseen is None and isinstance(self.task, QuestionTexts):
            return IndexedBatches(self.task.every(self), self.batch_size, pin=self._pins())
        return IndexedBatches(
            self._need_unseen().asking(lambda: self.item_concepts), self.batch_size, bucket=False, pin=self._pins()
        )

    @property
    def predict_learners(self) -> list[str]:
        """Names of the unseen learners, by `PathRequest.row`."""
        return self._need_unseen().learners

    def _pins(self) -> bool:
        """Return whether the run is on a CUDA device, so that batches wait for it in pinned memory."""
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _need_unseen(self) -> UnseenLearners:
        if self._unseen is None:
            raise SettingError(
                "predict_goals",
                None,
                "a CSV file with the columns learner and targets (concepts joined by ;), perhaps length",
                "Answers so far go into predict_histories: learner, concept, correct; a tracer needs no more than that",
            )
        return self._unseen

    def _store(self, key: list[object], read: Callable[[], AnswerTable]) -> StoredTable:
        return StoredTable(self.cache_dir, type(self).__name__, key, read)

    def _ensure(self) -> Vocabulary:
        """Read whatever the cache lacks; return the vocabulary."""
        if self._stored_test is not None:
            self._stored_test.vocabulary()
        return self._stored.vocabulary()

    def _loaded(self) -> AnswerTable:
        if self._table is None:
            self._table = self._stored.table()
        return self._table


def _some(names: list[str]) -> str:
    """Return the first names of a vocabulary."""
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


_shown: set[str] = set()


@rank_zero_only
def _show(card: DataCard) -> None:
    """Print a data card, once a process: the fit of a tracer before a run reads the same data."""
    if card.fingerprint in _shown:
        return
    _shown.add(card.fingerprint)
    Console(stderr=True).print(card)
