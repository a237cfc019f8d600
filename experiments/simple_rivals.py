"""The simplest rivals of a knowledge tracer on next answers: means of learners, concepts and questions, last answers.

    python experiments/simple_rivals.py --data configs/data/assist09.yaml --root DIR --folds 5 --length 10000

Prints a Markdown table: AUC, accuracy and ECE of each rival, fitted on training learners, on the next answers of test
learners. With `--folds` every learner is tested once: figures are the mean over folds with its standard deviation, and
the AUC of all answers together with the interval of a bootstrap over learners. `--length` is that of the windows in
which test logs are shown, the `evaluation_length` of the tracers that they stand beside. `--out` keeps the table too.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from torch import Tensor

from lpr_lightning.cache import atomic_write
from lpr_lightning.datamodules.base import LearnerDataModule
from lpr_lightning.errors import LPRError
from lpr_lightning.functional.bootstrap import grouped_auc
from lpr_lightning.functional.open_loop import follow_logs
from lpr_lightning.metrics import AnswerMetrics
from lpr_lightning.nets.simple_rivals import SimpleRival, simple_rivals
from lpr_lightning.studies.tracer_fits import data_description, data_module
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.types import Answers, InteractionBatch

COLUMNS = ("auc", "accuracy", "ece")


def answers_of(rival: SimpleRival, data: LearnerDataModule, length: int) -> Answers:
    """Return the answers of test learners, each but the first of a window, beside their predictions."""
    examples = NextAnswers(length).examples(data.interactions("test"), "test", data.num_concepts, data.seed)
    parts = []
    for rows in torch.arange(len(examples.sizes)).chunk(max(len(examples.sizes) // 256, 1)):
        batch = examples.batch(rows)
        if isinstance(batch, InteractionBatch):
            parts.append(follow_logs(rival, rival.initial_state(len(batch)), batch, horizon=1, stride=length).answers)
    return Answers.join(parts)


def figures_of(answers: Answers) -> dict[str, float]:
    """Return the figures of predicted answers."""
    metrics = AnswerMetrics()
    metrics.update(answers.probability, answers.correct)
    return {name: float(value) for name, value in metrics.compute().items()}


def table(parts: dict[str, list[Answers]], resamples: int) -> str:
    """Return a line for each rival; its answers are those of each fold."""
    lines = ["| rival | AUC | AUC of all answers | accuracy | ECE |", "|:--|--:|--:|--:|--:|"]
    for name, folds in parts.items():
        figures = [figures_of(one) for one in folds]
        mean = {column: statistics.fmean(one[column] for one in figures) for column in COLUMNS}
        spread = f" ± {statistics.stdev(one['auc'] for one in figures):.3f}" if len(figures) > 1 else ""
        every: Answers = Answers.join([Answers(*columns_of(one)) for one in folds])
        auc, low, high = grouped_auc(every.probability, every.correct, every.learner, resamples)
        cells = f"{mean['auc']:.3f}{spread} | {auc:.3f} [{low:.3f}, {high:.3f}] | {mean['accuracy']:.3f}"
        lines.append(f"| {name} | {cells} | {mean['ece']:.3f} |")
    return "\n".join(lines) + "\n"


def columns_of(one: Answers) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the columns of answers, with one concept each, so that those of several folds can be joined."""
    return one.probability, one.correct, one.concept[:, :1], one.item, one.learner


def main(words: list[str] | None = None) -> None:
    """Fit and test every rival."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an overlay of data, or a configuration")
    parser.add_argument("--root", help="folder of the data set")
    parser.add_argument("--folds", type=int, help="default: the split of the data alone")
    parser.add_argument("--length", type=int, default=200, help="of the windows of test logs")
    parser.add_argument("--resamples", type=int, default=200, help="of the bootstrap over learners")
    parser.add_argument("--out", type=Path, help="file for the table")
    options, extra = parser.parse_known_args(words)
    if extra and not all(word.startswith("--data.") for word in extra):
        parser.error(f"{' '.join(extra)} is unknown; only --data.ARGUMENT=VALUE may be added")
    parts: dict[str, list[Answers]] = {}
    try:
        for fold in range(options.folds or 1):
            own = [f"--data.folds={options.folds}", f"--data.fold={fold}"] if options.folds else []
            data = data_module(data_description(options.data, options.root, [*extra, *own])[0])
            rivals = simple_rivals(data.num_concepts, data.num_items, data.interactions("train"))
            for name, rival in rivals.items():
                parts.setdefault(name, []).append(answers_of(rival, data, options.length))
    except LPRError as error:
        raise SystemExit(f"error: {error}") from error
    text = table(parts, options.resamples)
    if options.out:
        with atomic_write(options.out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
