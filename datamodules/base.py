"""The base of every datamodule: cache, vocabulary, split by learner, loaders and data card."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor

from lpr_lightning.cache import cache_root, fingerprint
from lpr_lightning.datamodules.card import DataCard
from lpr_lightning.datamodules.loader import IndexedBatches
from lpr_lightning.datamodules.merge import with_vocabulary, without_learners
from lpr_lightning.datamodules.split import check_folds, check_fractions, first_learners, fold_learners, split_learners
from lpr_lightning.datamodules.store import FORMAT, Vocabulary, load_table, load_vocabulary, save_table
from lpr_lightning.datamodules.strangers import Strangers
from lpr_lightning.datamodules.table import AnswerTable
from lpr_lightning.errors import DataError, SettingError
from lpr_lightning.hparams import arguments, built
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.types import PAD, Interactions, Simulator, Split, Task


def recorded(scope: dict[str, Any]) -> dict[str, Any]:
    """Return a constructor's `locals()` as plain values, the arguments in `common` among the others."""
    scope = dict(scope)
    return arguments(scope | scope.pop("common", {}))


class LearnerDataModule(LightningDataModule, ABC):
    """Answer logs split by learner, kept in a content-hashed cache, drawn in batches by index.

    A subclass says what identifies its source (`source_key`) and how it is read (`read`); it sets its own options
    first, then calls `super().__init__(**common)`, then `self.save_hyperparameters(recorded(…), logger=False)`. After
    that `num_concepts`, `num_items` and `concept_names` are known; tensors are loaded in `setup`.

    Args:
        task: turns answer logs into examples; next answers when not given.
        batch_size: examples in a batch.
        split: shares of learners for train, val and test.
        min_answers: learners with fewer answers are left out (and counted).
        max_learners: keep this many learners of a seeded shuffle; those of a separate test set all stay.
        seed: of the split and the shuffles.
        cache_dir: folder of the cache; `$LPR_CACHE/data` when not given.
        predict_histories: CSV of new learners' answers: `learner`, `concept`, `correct`, perhaps `order`, `item`.
        predict_goals: CSV of what they want: `learner`, `targets` (concepts joined by `;`), perhaps `length`.
        predict_length: wanted length of a path where `predict_goals` says none.
        folds: cut the learners into this many folds for cross-validation; the shares of `split` then only say how
            those outside the tested fold are divided into train and val. Not beside a separate test set.
        fold: the fold whose learners are tested, from 0. Over all folds every learner is tested exactly once.
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
        predict_length: int = 10,
        folds: int | None = None,
        fold: int = 0,
    ) -> None:
        super().__init__()
        check_fractions(split)
        for name, value in (("batch_size", batch_size), ("min_answers", min_answers), ("max_learners", max_learners)):
            if value is not None and value < 1:
                raise SettingError(name, value, "a number of 1 or more")
        chosen: Task = NextAnswers() if task is None else built(task)
        self.task = chosen
        self.batch_size = batch_size
        self.split = tuple(split)
        self.min_answers = min_answers
        self.max_learners = max_learners
        self.seed = seed
        self.folds = folds
        self.fold = fold
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else cache_root() / "data"
        self._parts: dict[Split, Interactions] = {}
        self._table: AnswerTable | None = None
        self._card: DataCard | None = None
        self._strangers: Strangers | None = None
        self._key = fingerprint(FORMAT, type(self).__name__, self.source_key())
        self._test_key = None if (key := self.test_key()) is None else fingerprint(FORMAT, type(self).__name__, key)
        check_folds(folds, fold, own_test=self._test_key is not None)
        self._vocabulary = self._ensure()
        self.num_concepts = len(self._vocabulary.concepts)
        self.num_items = len(self._vocabulary.items)
        if predict_goals is not None:
            self._strangers = Strangers.read(
                predict_goals, predict_histories, predict_length, self.concept_vocabulary, self._vocabulary.items
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
    def concept_names(self) -> list[str]:
        """Readable names, one for each concept number."""
        return self._vocabulary.concept_names

    @property
    def item_names(self) -> list[str]:
        """Raw names, one for each item number."""
        return self._vocabulary.items

    @property
    def item_concepts(self) -> Tensor:
        """Concepts of each item, [Q, C] int64, -1 where unused; where answers to an item differ, the last one's."""
        log = self._loaded().log
        concepts = torch.full((self.num_items, log.concept.shape[1]), PAD)
        concepts[log.item.long()] = log.concept.long()
        return concepts

    @property
    def item_texts(self) -> list[str]:
        """The questions' wording, one for each item; empty where the data set has none."""
        return self._vocabulary.item_texts

    @property
    def concept_vocabulary(self) -> dict[str, int]:
        """Number of each concept by its raw and by its readable name."""
        readable = {name: number for number, name in enumerate(self._vocabulary.concept_names)}
        return readable | {name: number for number, name in enumerate(self._vocabulary.concepts)}

    @property
    def fingerprint(self) -> str:
        """Hash of the source files and of every option that changes the data."""
        options = [list(self.split), self.min_answers, self.max_learners, self.seed]
        folds = [] if self.folds is None else [self.folds, self.fold]
        return fingerprint(self._key, self._test_key, options + folds)

    @property
    def truth(self) -> Simulator | None:
        """The learners themselves where they are of known truth; None here."""
        return None

    @property
    def prerequisites(self) -> Tensor | None:
        """Edges (before, after) between concepts, [E, 2] int64, or None where the data set has none."""
        return self._loaded().prerequisites

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
            self._card = self._split()
        return self._card

    def batches(
        self, split: Split, task: Task, batch_size: int, shuffle: bool, across_ranks: bool = True
    ) -> IndexedBatches:
        """Return a loader over `task`'s examples of one split; `across_ranks=False` gives every rank all of them."""
        examples = task.examples(self.interactions(split), split, self.num_concepts, self.seed)
        return IndexedBatches(examples, batch_size, shuffle, self.seed, across_ranks=across_ranks)

    def train_dataloader(self) -> IndexedBatches:
        """Return shuffled batches of the training learners."""
        return self.batches("train", self.task, self.batch_size, shuffle=True)

    def val_dataloader(self) -> IndexedBatches:
        """Return batches of the validation learners."""
        return self.batches("val", self.task, self.batch_size, shuffle=False)

    def test_dataloader(self) -> IndexedBatches:
        """Return batches of the test learners."""
        return self.batches("test", self.task, self.batch_size, shuffle=False)

    def predict_dataloader(self) -> IndexedBatches:
        """Return batches of the new learners' requests, in the order of `predict_goals`."""
        return IndexedBatches(self._need_strangers(), self.batch_size, bucket=False)

    @property
    def predict_learners(self) -> list[str]:
        """Names of the new learners, by `PathRequest.row`."""
        return self._need_strangers().learners

    def _need_strangers(self) -> Strangers:
        if self._strangers is None:
            raise SettingError(
                "predict_goals",
                None,
                "a CSV file with the columns learner and targets (concepts joined by ;), perhaps length",
                "Their answers so far go into predict_histories: learner, concept, correct",
            )
        return self._strangers

    def _path(self, key: str) -> Path:
        return self.cache_dir / f"{type(self).__name__.lower()}-{key}.safetensors"

    def _ensure(self) -> Vocabulary:
        """Read whatever the cache lacks; return the vocabulary."""
        vocabulary = load_vocabulary(self._path(self._key))
        if vocabulary is None:
            save_table(self._checked(self.read()), self._path(self._key))
            vocabulary = load_vocabulary(self._path(self._key))
        if self._test_key is not None and load_vocabulary(self._path(self._test_key)) is None:
            save_table(self._checked(self.read_test()), self._path(self._test_key))
        if vocabulary is None:
            raise DataError(self._path(self._key), "what was just written cannot be read back; is the disk full?")
        return vocabulary

    def _checked(self, table: AnswerTable) -> AnswerTable:
        if not len(table.log):
            raise DataError(type(self).__name__, f"no answer is left of the rows that were read: {table.counts}")
        return table

    def _loaded(self) -> AnswerTable:
        """Return the whole table; a damaged cache is made again."""
        if self._table is None:
            table = load_table(self._path(self._key))
            if table is None:
                self._ensure()
                table = load_table(self._path(self._key))
            if table is None:
                raise DataError(self._path(self._key), "what was just written cannot be read back; is the disk full?")
            self._table = table
        return self._table

    def _loaded_test(self) -> AnswerTable | None:
        if self._test_key is None:
            return None
        table = load_table(self._path(self._test_key))
        if table is None:
            self._ensure()
            table = load_table(self._path(self._test_key))
        return table

    def _split(self) -> DataCard:
        """Choose the learners of each split; return the figures of all of them."""
        table = self._loaded()
        others = self._loaded_test()
        fractions: tuple[float, ...] = self.split
        if others is not None:
            others = with_vocabulary(others, table.items, table.concepts, len(table.learners))
            table = without_learners(table, others)
            seen = self.split[0] + self.split[1]
            fractions = self.split[0] / seen, self.split[1] / seen, 0.0
        counts = dict(table.counts)
        if others is not None:
            counts |= {f"test set: {reason}": count for reason, count in others.counts.items()}
        learners = self._long_enough(table.log, counts, "")
        learners = first_learners(learners, self.max_learners, self.seed)
        if self.folds is None:
            train, val, test = split_learners(learners, fractions, self.seed)
        else:
            train, val, test = fold_learners(learners, fractions, self.seed, self.folds, self.fold)
        self._parts = {"train": table.log.select(train), "val": table.log.select(val), "test": table.log.select(test)}
        if others is not None:
            unseen = others.log.select(self._long_enough(others.log, counts, "test set: "))
            self._parts["test"] = unseen
        whole = [part for part in self._parts.values() if part.num_learners]
        if not self._parts["train"].num_learners:
            raise DataError(type(self).__name__, f"no learner is left to train on: {counts}")
        return DataCard.of(
            type(self).__name__,
            _joined(whole),
            self.num_items,
            self.num_concepts,
            counts,
            {name: part.num_learners for name, part in self._parts.items()},
            self.fingerprint,
        )

    def _long_enough(self, log: Interactions, counts: dict[str, int], where: str) -> Tensor:
        """Return the positions of the learners with answers enough; count the others."""
        enough = log.lengths >= self.min_answers
        if not bool(enough.all()):
            short = f"{where}dropped: learner with fewer than {self.min_answers} answers"
            counts[short] = int(log.lengths[~enough].sum())
        return enough.nonzero().squeeze(1)


def _joined(parts: list[Interactions]) -> Interactions:
    """Put logs one after another, for figures only."""
    lengths = torch.cat([part.lengths for part in parts])
    return Interactions(
        offsets=torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
        learner=torch.cat([part.learner for part in parts]),
        item=torch.cat([part.item for part in parts]),
        concept=parts[0].concept[:0],
        correct=torch.cat([part.correct for part in parts]),
    )


@rank_zero_only
def _show(card: DataCard) -> None:
    Console(stderr=True).print(card)
