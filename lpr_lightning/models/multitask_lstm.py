"""Learning paths and knowledge tracing by one shared recurrent net."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.bases.staged import Stage, datamodule_of
from lpr_lightning.bases.tracer import TracerModule
from lpr_lightning.errors import SettingError, checked, checked_positive
from lpr_lightning.functional.path_baselines import bigram_path, bigram_successors, copy_last, most_frequent
from lpr_lightning.functional.repeats import excess_repeats, expected_repeats, pairwise_repeats
from lpr_lightning.goals import Targets
from lpr_lightning.hparams import arguments
from lpr_lightning.metrics.path_metrics import BASELINES, PathFigures
from lpr_lightning.nets.multitask_lstm import Cell, Decoder, MultiTaskNet
from lpr_lightning.policies.planned import follow_paths
from lpr_lightning.protocols import LearnerData
from lpr_lightning.ranks import mean_count
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.tasks.next_paths import LoggedPaths, NextPaths
from lpr_lightning.types import PAD, Answers, InteractionBatch, PathRequest, TensorData

SUCCESSORS = 64
"""Successors of each concept that the bigram baseline may choose from when it must not repeat itself."""


class MultiTaskLSTM(TracerModule):
    """Recommends the concepts that a learner takes up next, and predicts how it will go (arXiv 2507.05295).

    A shared LSTM reads the history; a path branch predicts L concepts, a tracing branch the success at each of them.
    The loss is L_total = CE + lambda_1 BCE + lambda_2 L_rep; its terms are logged with their weights. Batches are
    `LoggedPaths` (task `NextPaths`); evaluation steps return `{"answers"}`, those on the logged paths. Beside every
    figure of paths stand those of three plain baselines under `<stage>/<baseline>/`: staying with the last concept
    (`copy_last`), the likeliest successor again and again (`bigram`, fitted on training learners) and the commonest
    concept (`majority`).

    With `decoder="shared"`, `lambda_tracing=0` and `lambda_repeat=0` this is the plain RNN or LSTM (by `cell`) that the
    paper compares with; with `decoder="autoregressive"` and both zero it is Seq2Seq.

    Differs from the paper, which leaves these open:
    1. What the labels are, see `NextPaths`.
    2. L_rep = L - |unique| (eq. 7) has no gradient. Trained with is the expected number of pairs of steps that meet
       (`pairwise_repeats`), logged as `train/loss_repeat`; the exact expectation as `train/expected_repeats`; the
       count is `repeat_rate` in validation and test. With `excess` only what exceeds the logged path's own repeats is
       a loss. `repeat_of` chooses whose distributions meet: those after the net's own likeliest steps, which is how a
       path is recommended, or those after the logged steps.
    3. The branches are LSTMs that start from the shared LSTM's state, see `MultiTaskNet`. Answers on the path are not
       seen by the tracing branch.
    4. Dropout on the path branch.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        embedding_size: width of embeddings (paper: 128).
        hidden_size: width of the recurrent nets (paper: 64).
        cell: `lstm` or `rnn`.
        decoder: `autoregressive`: each concept is predicted after the one before; `direct`: after the number of the
            step alone; `shared`: there is no path branch, the shared net goes on.
        lambda_tracing: weight of the tracing loss (lambda_1; not given in the paper).
        lambda_repeat: weight of the repeats (lambda_2; not given in the paper).
        excess: hold only repeats beyond those of the logged path against a path.
        repeat_of: `own` or `logged` steps.
        beam_width: partial paths that a beam goes on with while decoding; 1 is greedy.
        no_repeat: never recommend a concept twice in a path; holds for the bigram baseline too.
        dropout: on inputs and outputs of the path branch, in [0, 1).
        learning_rate: of Adam (paper: 1e-3).
        weight_decay: of Adam.

    Raises:
        SettingError: a setting is out of range, or the data do not come with the task `NextPaths`.

    >>> from lpr_lightning.types import Exercise
    >>> model = MultiTaskLSTM(num_concepts=4).eval()
    >>> asked = Exercise.of_concepts(torch.tensor([0, 3]))
    >>> model.mastery(model.observe(model.initial_state(2), asked, torch.tensor([1.0, 0.0]))).shape
    torch.Size([2, 4])
    """

    monitor = ("val/accuracy", "max")
    net: MultiTaskNet
    successors: Tensor
    commonest: Tensor
    reading: Tensor

    def __init__(
        self,
        num_concepts: int | None = None,
        embedding_size: int = 128,
        hidden_size: int = 64,
        cell: Cell = "lstm",
        decoder: Decoder = "autoregressive",
        lambda_tracing: float = 1.0,
        lambda_repeat: float = 1.0,
        excess: bool = True,
        repeat_of: Literal["own", "logged"] = "own",
        beam_width: int = 1,
        no_repeat: bool = False,
        dropout: float = 0.0,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(num_concepts)
        self.save_hyperparameters(arguments(locals()))
        for name, size in (
            ("embedding_size", embedding_size),
            ("hidden_size", hidden_size),
            ("beam_width", beam_width),
        ):
            checked(name, size, 1)
        weights = {"lambda_tracing": lambda_tracing, "lambda_repeat": lambda_repeat, "weight_decay": weight_decay}
        for name, weight in weights.items():
            checked(name, weight, 0.0)
        checked("dropout", dropout, 0.0, 1.0)
        checked_positive("learning_rate", learning_rate)
        if repeat_of not in ("own", "logged"):
            raise SettingError("repeat_of", repeat_of, "own or logged")
        self.lambda_tracing, self.lambda_repeat = lambda_tracing, lambda_repeat
        self.excess, self.repeat_of = excess, repeat_of
        self.beam_width, self.no_repeat = beam_width, no_repeat
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.net = MultiTaskNet(self.num_concepts, embedding_size, hidden_size, cell, decoder, dropout)
        most = min(SUCCESSORS, self.num_concepts)
        self.register_buffer("successors", torch.full((self.num_concepts, most), PAD))
        self.register_buffer("commonest", torch.tensor(PAD))
        self.register_buffer("reading", torch.zeros(2, dtype=torch.int64))
        self.val_figures, self.test_figures = PathFigures(self.num_concepts), PathFigures(self.num_concepts)

    @property
    def connected(self) -> bool:
        """Whether the baselines are fitted, and it is known how histories are read."""
        return int(self.reading[0]) > 0

    def connect(self, data: LearnerData) -> None:
        """Fit the baselines on training learners, and remember how histories are read.

        Data with another task than `NextPaths`, for which this may be the tracer, are passed over.
        """
        task = data.task
        if not isinstance(task, NextPaths):
            return
        if self.no_repeat and task.length > self.num_concepts:
            raise SettingError("length", task.length, f"at most {self.num_concepts} concepts where none may repeat")
        log = task.log(data.interactions("train"))
        self.successors.copy_(bigram_successors(log, self.num_concepts, self.successors.shape[1]))
        self.commonest.copy_(most_frequent(log, self.num_concepts)[0])
        self.reading.copy_(torch.tensor([task.history_length, task.labels == "distinct"]))

    def setup(self, stage: str) -> None:
        """Connect to the trainer's data where nobody has."""
        data = datamodule_of(self.trainer)
        if stage != "predict" and isinstance(data, LearnerData) and not isinstance(data.task, NextPaths):
            advice = "paths are learned from what came next"
            raise SettingError("data.task", type(data.task).__name__, "NextPaths", advice)
        super().setup(stage)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.net.parameters(), self.learning_rate, weight_decay=self.weight_decay)

    def stages(self) -> Sequence[Stage]:
        """Return the only stage."""
        return [Stage("training", self.fit_step, select=itemgetter("accuracy"))]

    def fit_step(self, batch: InteractionBatch | LoggedPaths, batch_idx: int) -> Tensor:
        """Return L_total; log the exact expectation of repeats beside it."""
        losses, expected = self.terms(_logged(batch))
        self.log("train/expected_repeats", expected, batch_size=len(batch))
        return self.total(losses, len(batch))

    def losses(self, batch: InteractionBatch | LoggedPaths) -> dict[str, Tensor]:
        """Return the weighted terms of L_total: `path`, `tracing` and `repeat`, where they have a weight."""
        return self.terms(_logged(batch))[0]

    def terms(self, batch: LoggedPaths) -> tuple[dict[str, Tensor], Tensor]:
        """Return the same, and how many repeats the recommended path is expected to have."""
        path, state, last = batch.path, self.net.encode(batch.history), last_concept(batch.history)
        if self.repeat_of == "own" and self.lambda_repeat:
            with torch.no_grad():
                own = self.net.recommend(state, last, path.shape[1])
            logit, met = self.net.path_logits(state, last, [path, own])
        else:
            logit = met = self.net.path_logit(state, last, path)
        rows = mean_count(torch.tensor(len(path), device=path.device))
        steps = rows * max(path.shape[1], 1)
        losses = {"path": F.cross_entropy(logit.flatten(0, 1), path.flatten(), reduction="sum") / steps}
        if self.lambda_tracing:
            answers = self.net.trace(state, path)
            tracing = F.binary_cross_entropy_with_logits(answers, batch.future.correct, reduction="sum")
            losses["tracing"] = self.lambda_tracing * tracing / steps
        probability = met.softmax(-1)
        if self.lambda_repeat:
            repeats = pairwise_repeats(probability)
            repeats = excess_repeats(repeats, path) if self.excess else repeats
            losses["repeat"] = self.lambda_repeat * repeats.sum() / rows
        return losses, expected_repeats(probability.detach()).mean()

    def evaluate(self, batch: InteractionBatch | LoggedPaths, stage: str) -> dict[str, TensorData]:
        """Compare paths and answers with the logged ones, and count them."""
        batch = _logged(batch)
        state, last, length = self.net.encode(batch.history), last_concept(batch.history), batch.path.shape[1]
        path = self.net.recommend(state, last, length, self.beam_width, self.no_repeat)
        paths = {"": path, "copy_last": copy_last(last.clamp_min(0), length)}
        if self.connected:
            paths["bigram"] = bigram_path(self.successors, last, length, self.no_repeat)
            paths["majority"] = self.commonest.expand_as(path)
        probability, future = self.net.trace(state, batch.path).sigmoid(), batch.future
        self._path_figures(stage).update(paths, batch.path, probability, future.correct)
        learner = future.learner[:, None].expand_as(future.item)
        rows = (part.flatten(0, 1) for part in (probability, future.correct, future.concept, future.item, learner))
        return {"answers": Answers(*rows)}

    def figures(self, stage: str) -> dict[str, Tensor]:
        """Return the figures of paths and of baselines beside them, and of answers; in tests also step by step."""
        metrics = self._path_figures(stage)
        figures = metrics.compute(BASELINES if self.connected else ("copy_last",), by_step=stage == "test")
        metrics.reset()
        return figures

    def report(self, stage: str) -> dict[str, Tensor]:
        """Log the figures of a stage as `<stage>/<name>`, and return them."""
        figures = self.figures(stage)
        for name, value in figures.items():
            shown = stage == "val" and name in ("accuracy", "repeat_rate")
            self.log(f"{stage}/{name}", value, prog_bar=shown, sync_dist=True)
        return figures

    def predict_step(self, request: PathRequest | InteractionBatch, batch_idx: int) -> dict[str, TensorData | Tensor]:
        """Return the recommended paths, and what the tracing branch expects of them."""
        if isinstance(request, InteractionBatch):
            return super().predict_step(request, batch_idx)
        follower = KESSimulator(copy.deepcopy(self.net), response="soft")
        read = replace(request, history=self._read(request.history))
        return {"request": request, "rollout": follow_paths(follower, Targets(), read, self.plan(request))}

    def plan(self, request: PathRequest) -> Tensor:
        """Return a path of the wanted length for each request, [B, L] int64, -1 after its end."""
        history, longest = self._read(request.history), int(request.length.max()) if len(request) else 0
        path = self.net.recommend(
            self.net.encode(history), last_concept(history), longest, self.beam_width, self.no_repeat
        )
        return path.masked_fill(torch.arange(longest, device=path.device) >= request.length[:, None], PAD)

    def _path_figures(self, stage: str) -> PathFigures:
        return self.val_figures if stage == "val" else self.test_figures

    def _read(self, history: InteractionBatch) -> InteractionBatch:
        """Return histories as the examples of the training task had them."""
        length, distinct = self.reading.tolist()
        if length == 0:
            return history
        return NextPaths(history_length=length, labels="distinct" if distinct else "next").history(history)


def _logged(batch: InteractionBatch | LoggedPaths) -> LoggedPaths:
    if isinstance(batch, InteractionBatch):
        raise SettingError("data.task", "answers without paths", "NextPaths", "paths are learned from what came next")
    return batch


def last_concept(history: InteractionBatch) -> Tensor:
    """Return the last concept of each history, [B] int64; -1 where there is none.

    >>> from lpr_lightning.types import Interactions
    >>> last_concept(Interactions.from_lists([[(4, 1), (2, 0)], [], [(1, 1)]]).batch(torch.arange(3)))
    tensor([ 2, -1,  1])
    """
    if history.mask.shape[1] == 0:
        return torch.full_like(history.learner, PAD)
    last = (history.lengths - 1).clamp_min(0)[:, None]
    return history.concept[..., 0].gather(1, last)[:, 0]
