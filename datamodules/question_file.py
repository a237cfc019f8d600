"""Questions in words alone, of a file, without answers of learners."""

from __future__ import annotations

from pathlib import Path

from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lpr_lightning.cache import fingerprint
from lpr_lightning.datamodules.loader import IndexedBatches
from lpr_lightning.datamodules.question_bank import QuestionBank
from lpr_lightning.datamodules.split import check_folds, check_fractions
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.hparams import PlainLoading, arguments, built
from lpr_lightning.protocols import Task
from lpr_lightning.question_files import load_questions
from lpr_lightning.questions import Questions
from lpr_lightning.tasks.question_texts import QuestionTexts
from lpr_lightning.types import Interactions, Split


class QuestionFile(PlainLoading, LightningDataModule):
    """Questions of one file (`load_questions`: .jsonl, or the .json of KCQRL and ExRec), such as MOOCRadar's.

    For modules that are trained on questions; there are no learners. What was mended on reading is printed.

    Args:
        root: the file.
        task: makes examples of questions; `QuestionTexts` if not given.
        batch_size: questions in a batch.
        split: shares of questions for train, val and test.
        seed: of the split and the shuffles.
        folds: cut the questions into this many folds for cross-validation; `split` then divides the others.
        fold: the fold whose questions are tested, from 0.

    Raises:
        SettingError: an argument is out of its range, or the task is not over questions.
        MissingFileError: the file is not there.
        DataError: it is no such file.
    """

    def __init__(
        self,
        root: str,
        task: Task | None = None,
        batch_size: int = 32,
        split: tuple[float, float, float] = (0.7, 0.1, 0.2),
        seed: int = 0,
        folds: int | None = None,
        fold: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        check_fractions(split)
        check_folds(folds, fold, own_test=False)
        self.batch_size = checked("batch_size", batch_size, 1)
        chosen = built(task, Task) or QuestionTexts()
        if not isinstance(chosen, QuestionTexts):
            raise SettingError("task", type(chosen).__name__, "QuestionTexts", "A file of questions has no learners")
        self.task, self.seed = chosen, seed
        self._cut = tuple(split), seed, folds, fold
        self.root = Path(root).expanduser()
        read = load_questions(self.root)
        self._bank = QuestionBank(self.root.name, lambda: read.questions, read.questions.names, None)
        self._counts = read.counts
        self._told = False

    @property
    def questions(self) -> Questions:
        """The questions, by number."""
        return self._bank.questions

    @property
    def concept_names(self) -> list[str]:
        """The concepts, by number."""
        return list(self.questions.concept_names)

    @property
    def item_names(self) -> list[str]:
        """Raw names of the questions, by number."""
        return list(self.questions.names)

    @property
    def fingerprint(self) -> str:
        """Hash of the questions and of the split."""
        return fingerprint(repr(self.questions), list(self._cut[0]), *self._cut[1:])

    def question_numbers(self, split: Split) -> Tensor:
        """Return the numbers of the questions of one split, ascending [E] int64."""
        return self._bank.numbers(split, *self._cut)

    def setup(self, stage: str | None = None) -> None:
        """Say what there is, once."""
        if self._told:
            return
        self._told = True
        splits: tuple[Split, ...] = ("train", "val", "test")
        sizes = ", ".join(f"{split} {len(self.question_numbers(split)):,}" for split in splits)
        steps = sum(len(one.steps) for one in self.questions.questions)
        told = f"{len(self.questions):,} questions ({sizes}), {steps:,} steps, {len(self.concept_names):,} concepts"
        mended = "".join(f"; {what} {count:,}" for what, count in self._counts.items())
        rank_zero_info(f"{self.root.name}: {told}{mended}")

    def batches(self, split: Split, shuffle: bool = False) -> IndexedBatches:
        """Return a loader over the questions of one split, each rank its share."""
        self.task.connect(self)
        none = Interactions.from_lists([])
        examples = self.task.examples(none, split, len(self.concept_names), self.seed)
        return IndexedBatches(examples, self.batch_size, shuffle, self.seed)

    def train_dataloader(self) -> IndexedBatches:
        """Return shuffled batches of the training questions."""
        return self.batches("train", shuffle=True)

    def val_dataloader(self) -> IndexedBatches:
        """Return batches of the validation questions."""
        return self.batches("val")

    def test_dataloader(self) -> IndexedBatches:
        """Return batches of the test questions."""
        return self.batches("test")

    def predict_dataloader(self) -> IndexedBatches:
        """Return batches of all questions."""
        return IndexedBatches(self.task.every(self), self.batch_size)
