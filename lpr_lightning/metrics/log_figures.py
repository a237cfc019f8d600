"""How well a model of learners predicts logs: the next answer, answers further ahead, and what practice brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from lpr_lightning.functional.bootstrap import grouped_auc
from lpr_lightning.functional.gain_calibration import (
    KINDS,
    NUMBERS,
    GainCalibration,
    cells_by_kind,
    cells_by_number,
    gain_calibration,
    later_answers,
)
from lpr_lightning.functional.open_loop import Followed, OpenLoop, Steps, follow_logs, open_loop_auc
from lpr_lightning.metrics.answer_metrics import AnswerMetrics
from lpr_lightning.types import Answers, Interactions, State

Figures = dict[str, float]


@dataclass(frozen=True)
class LogFigures:
    """What is measured along the logs of learners that a model has not seen.

    Args:
        steps: how many steps ahead answers are predicted open loop.
        stride: answers from one frozen state to the next.
        resamples: of the bootstraps over learners.
        rows: learners followed at once; bounds memory and changes nothing.

    >>> LogFigures().steps
    (1, 5, 10, 20)
    """

    steps: Sequence[int] = (1, 5, 10, 20)
    stride: int = 5
    resamples: int = 200
    rows: int = 256

    def compute(self, model: Steps, start: Callable[[Tensor], State], log: Interactions) -> Figures:
        """Return the figures of a model on whole logs.

        `auc`, `ece`, `accuracy` and `brier` are of every answer but a learner's first; `open_loop_<k>` is the AUC k
        steps ahead; `gain_slope`, `gain_error` (cells by the number of answers in between) and `gain_error_kind`
        (by their kind) are those of `functional.gain_calibration`. A figure's interval has `_low` and `_high` at its
        end. `gain_number_<cell>_<column>` and `gain_kind_…` are the cells: count, predicted and observed.

        Args:
            model: observes, practises and predicts.
            start: the state of learners [B], numbers in the data set, before any answer.
            log: of learners.
        """
        followed = self.follow(model, start, log)
        answers, ahead = followed.answers, followed.open_loop
        metrics = AnswerMetrics()
        metrics.update(answers.probability, answers.correct)
        found: Figures = {name: float(value) for name, value in metrics.compute().items()}
        auc = grouped_auc(answers.probability, answers.correct, answers.learner, self.resamples)
        found |= _named("auc", auc) | {"answers": float(len(answers))}
        for step, interval in open_loop_auc(ahead, self.steps, self.resamples).items():
            found |= _named(f"open_loop_{step}", interval)
        by_number, by_kind = self.gains(ahead)
        found |= _named("gain_slope", by_number.slope) | _named("gain_error", by_number.error)
        found |= _named("gain_error_kind", by_kind.error)
        for name, one in (("number", by_number), ("kind", by_kind)):
            for column in ("count", "predicted", "observed"):
                cells = vars(one)[column].tolist()
                found |= {f"gain_{name}_{cell}_{column}": float(value) for cell, value in enumerate(cells)}
        return found

    def follow(self, model: Steps, start: Callable[[Tensor], State], log: Interactions) -> Followed:
        """Return the predictions along whole logs, similar lengths together."""
        parts = []
        order = log.lengths.argsort(descending=True, stable=True)
        for first in range(0, max(len(order), 1), self.rows):
            batch = log.batch(order[first : first + self.rows])
            parts.append(follow_logs(model, start(batch.learner), batch, max(self.steps), self.stride))
        return Followed(Answers.join([one.answers for one in parts]), OpenLoop.join([one.open_loop for one in parts]))

    def gains(self, ahead: OpenLoop) -> tuple[GainCalibration, GainCalibration]:
        """Return the gain calibration by number and by kind of the answers in between."""
        later = later_answers(ahead.concept, ahead.correct, ahead.mask)
        pair = later.pair
        before = ahead.frozen[pair]
        predicted, observed = ahead.ahead[pair] - before, ahead.correct[:, 1:][pair] - before
        learner = ahead.learner[:, None].expand(pair.shape)[pair]
        between, right = later.between[pair], later.right[pair]
        number = gain_calibration(predicted, observed, cells_by_number(between), len(NUMBERS), learner, self.resamples)
        kind = gain_calibration(
            predicted, observed, cells_by_kind(between, right), len(KINDS) + 2, learner, self.resamples
        )
        return number, kind


def _named(name: str, interval: Sequence[float]) -> Figures:
    return dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))
