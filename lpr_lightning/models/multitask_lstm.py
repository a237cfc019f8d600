"""Learning paths and knowledge tracing by one shared recurrent net."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.path_baselines import bigram_path, bigram_successors, copy_last
from lpr_lightning.functional.repeats import excess_repeats, expected_repeats, pairwise_repeats
from lpr_lightning.hparams import arguments
from lpr_lightning.metrics.path_metrics import BASELINES, PathFigures
from lpr_lightning.nets.multitask_lstm import Cell, Decoder, MultiTaskNet
from lpr_lightning.simulators.expected_gain import expected_gain
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.tasks.next_paths import LoggedPaths, NextPaths
from lpr_lightning.types import PAD, Answers, InteractionBatch, LearnerData, PathRequest, TracerState

SUCCESSORS = 64
"""Successors of each concept that the bigram baseline may choose from when it must not repeat itself."""


class MultiTaskLSTM(LightningModule):
    """Says which concepts a learner takes up next, and how it will go (arXiv 2507.05295).

    A shared LSTM reads the history; a path branch says L concepts, a tracing branch the success at each of them. The
    loss is L_total = CE + lambda_1 BCE + lambda_2 L_rep. Batches are `LoggedPaths` (task `NextPaths`); evaluation steps
    return `{"path", "answers"}`. Beside every figure of paths stand those of three baselines under
    `<stage>/<baseline>/`: staying with the last concept (`copy_last`), the likeliest successor again and again
    (`bigram`, fitted on training learners) and the commonest concept (`majority`). Satisfies `KnowledgeTracer`.

    With `decoder="shared"`, `lambda_tracing=0` and `lambda_repeat=0` this is the plain RNN or LSTM (by `cell`) that the
    paper compares with; with `decoder="autoregressive"` and both zero it is Seq2Seq.

    Differs from the paper, which leaves these open:
    1. What the labels are, see `NextPaths`.
    2. L_rep = L - |unique| (eq. 7) has no gradient. Trained with is the expected number of pairs of steps that meet
       (`pairwise_repeats`), logged as `train/loss_repeat`; the exact expectation as `train/expected_repeats`; the
       count is `repeat_rate` in validation and test. With `excess` only what exceeds the logged path's own repeats is
       a loss. `repeat_of` says whose distributions meet: those after the net's own likeliest steps, which is how a
       path is recommended, or those after the logged steps.
    3. The branches are LSTMs that start from the shared LSTM's state, see `MultiTaskNet`. Answers on the path are not
       seen by the tracing branch.
    4. Dropout on the path branch.

    Args:
        num_concepts: Number of concepts; the command line fills it in from the data.
        embedding_size: Width of embeddings (paper: 128).
        hidden_size: Width of the recurrent nets (paper: 64).
        cell: `lstm` or `rnn`.
        decoder: `autoregressive`: each concept is said after the one before; `direct`: after the number of the step
            alone; `shared`: there is no path branch, the shared net goes on.
        lambda_tracing: Weight of the tracing loss (lambda_1; not given in the paper).
        lambda_repeat: Weight of the repeats (lambda_2; not given in the paper).
        excess: Hold only repeats beyond those of the logged path against a path.
        repeat_of: `own` or `logged` steps.
        beam_width: Partial paths kept while decoding; 1 is greedy.
        no_repeat: Never recommend a concept twice in a path; holds for the bigram baseline too.
        dropout: On inputs and outputs of the path branch, in [0, 1).
        learning_rate: Of Adam (paper: 1e-3).
        weight_decay: Of Adam.

    Raises:
        SettingError: If a setting is out of range or the data do not come with the task `NextPaths`.

    >>> model = MultiTaskLSTM(num_concepts=4).eval()
    >>> state = model.observe(model.initial_state(2), torch.tensor([0, 3]), torch.tensor([1.0, 0.0]))
    >>> model.mastery(state).shape
    torch.Size([2, 4])
    """

    monitor = ("val/accuracy", "max")
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
        super().__init__()
        self.save_hyperparameters(arguments(locals()))
        if not num_concepts or num_concepts < 1:
            raise SettingError("num_concepts", num_concepts, "a whole number above 0", "take it from the datamodule")
        for name in ("embedding_size", "hidden_size", "beam_width"):
            if self.hparams[name] < 1:
                raise SettingError(name, self.hparams[name], "a whole number above 0")
        for name in ("lambda_tracing", "lambda_repeat", "weight_decay"):
            if self.hparams[name] < 0:
                raise SettingError(name, self.hparams[name], "a number from 0 on")
        if not 0 <= dropout < 1:
            raise SettingError("dropout", dropout, "a number from 0 to below 1")
        if learning_rate <= 0:
            raise SettingError("learning_rate", learning_rate, "a number above 0")
        if repeat_of not in ("own", "logged"):
            raise SettingError("repeat_of", repeat_of, "own or logged")
        self.num_concepts = num_concepts
        self.net = MultiTaskNet(num_concepts, embedding_size, hidden_size, cell, decoder, dropout)
        self.register_buffer("successors", torch.full((num_concepts, min(SUCCESSORS, num_concepts)), PAD))
        self.register_buffer("commonest", torch.tensor(PAD))
        self.register_buffer("reading", torch.zeros(2, dtype=torch.int64))
        self.val_figures, self.test_figures = PathFigures(num_concepts), PathFigures(num_concepts)

    def connect(self, data: LearnerData) -> None:
        """Fit the bigram baseline on training learners, and remember how histories are read.

        Data with another task than `NextPaths`, for which this may be the tracer, are passed over.
        """
        task = data.task
        if not isinstance(task, NextPaths):
            return
        if self.hparams["no_repeat"] and task.length > self.num_concepts:
            raise SettingError("length", task.length, f"at most {self.num_concepts} concepts where none may repeat")
        log = task.log(data.interactions("train"))
        successors = bigram_successors(log, self.num_concepts, self.successors.shape[1])
        self.successors.copy_(successors)
        self.commonest.copy_(torch.bincount(log.concept[:, 0].long()).argmax())
        self.reading.copy_(torch.tensor([task.history_length, task.labels == "distinct"]))

    def setup(self, stage: str) -> None:
        """Connect to the trainer's data where nobody has."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, LearnerData):
            return
        if stage != "predict" and not isinstance(data.task, NextPaths):
            advice = "paths are learned from what came next"
            raise SettingError("data.task", type(data.task).__name__, "NextPaths", advice)
        if not self._connected:
            self.connect(data)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        rate, decay = self.hparams["learning_rate"], self.hparams["weight_decay"]
        return torch.optim.Adam(self.net.parameters(), rate, weight_decay=decay)

    def forward(self, history: InteractionBatch, length: int) -> Tensor:
        """Return the path [B, L] that is recommended after histories as examples have them."""
        state, last = self.net.encode(history), last_concept(history)
        return self.net.recommend(state, last, length, self.hparams["beam_width"], self.hparams["no_repeat"])

    def training_step(self, batch: LoggedPaths, batch_idx: int) -> Tensor:
        """Return L_total."""
        losses = self.losses(batch)
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()}, batch_size=len(batch))
        return losses["loss"]

    def validation_step(self, batch: LoggedPaths, batch_idx: int) -> dict[str, Any]:
        """Compare paths and answers of the validation learners."""
        return self._evaluate(batch, self.val_figures)

    def on_validation_epoch_end(self) -> None:
        """Log how paths and answers were met."""
        self._report("val", self.val_figures)

    def test_step(self, batch: LoggedPaths, batch_idx: int) -> dict[str, Any]:
        """Compare paths and answers of the test learners."""
        return self._evaluate(batch, self.test_figures)

    def on_test_epoch_end(self) -> None:
        """Log how paths and answers were met, answers step by step too."""
        self._report("test", self.test_figures)

    def predict_step(self, request: PathRequest, batch_idx: int) -> dict[str, Any]:
        """Return the recommended paths, and what the tracing branch expects of them."""
        path = self.recommend(request)
        follower = KESSimulator(copy.deepcopy(self.net), response="soft")
        read = replace(request, history=self._read(request.history))
        return {
            "request": request,
            "rollout": rollout(follower, read, path),
            "expected_gain": expected_gain(follower, read, path),
        }

    def recommend(self, request: PathRequest) -> Tensor:
        """Return a path of the wanted length for each request, [B, L] int64, -1 after its end."""
        longest = int(request.length.max()) if len(request) else 0
        path = self(self._read(request.history), longest)
        return torch.where(torch.arange(longest, device=path.device) < request.length[:, None], path, PAD)

    def losses(self, batch: LoggedPaths) -> dict[str, Tensor]:
        """Return L_total as `loss`, its terms as `loss_path`, `loss_tracing` and `loss_repeat`, `expected_repeats`."""
        path, settings = batch.path, self.hparams
        state, last = self.net.encode(batch.history), last_concept(batch.history)
        if settings["repeat_of"] == "own" and settings["lambda_repeat"]:
            with torch.no_grad():
                own = self.net.recommend(state, last, path.shape[1])
            logit, met = self.net.path_logits(state, last, [path, own])
        else:
            logit = self.net.path_logit(state, last, path)
            met = logit if settings["lambda_repeat"] else logit.detach()
        losses = {"loss_path": F.cross_entropy(logit.flatten(0, 1), path.flatten())}
        if settings["lambda_tracing"]:
            answers = self.net.trace(state, path)
            losses["loss_tracing"] = F.binary_cross_entropy_with_logits(answers, batch.future.correct)
        probability = met.softmax(-1)
        repeats = pairwise_repeats(probability)
        losses["loss_repeat"] = (excess_repeats(repeats, path) if settings["excess"] else repeats).mean()
        loss = losses["loss_path"]
        for term in ("tracing", "repeat"):
            if settings[f"lambda_{term}"]:
                loss = loss + settings[f"lambda_{term}"] * losses[f"loss_{term}"]
        with torch.no_grad():
            losses["expected_repeats"] = expected_repeats(probability).mean()
        return {"loss": loss, **losses}

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.net.reset_parameters()

    def initial_state(self, batch_size: int) -> TracerState:
        """Return the state of learners without history."""
        return self.net.initial_state(batch_size)

    def encode(self, history: InteractionBatch) -> TracerState:
        """Return the state after whole histories, read answer by answer."""
        return self.net.encode(history)

    def observe(self, state: TracerState, concept: Tensor, correct: Tensor) -> TracerState:
        """Return the state after one answer each."""
        return self.net.observe(state, concept, correct)

    def predict(self, state: TracerState, concept: Tensor) -> Tensor:
        """Return the success probability [B] of an answer."""
        return self.net.predict(state, concept)

    def mastery(self, state: TracerState) -> Tensor:
        """Return the success probability of every concept, [B, N]."""
        return self.net.mastery(state)

    @property
    def _connected(self) -> bool:
        return int(self.reading[0]) > 0

    def _read(self, history: InteractionBatch) -> InteractionBatch:
        """Return histories as the examples of the training task had them."""
        length, distinct = self.reading.tolist()
        if length == 0:
            return history
        return NextPaths(history_length=length, labels="distinct" if distinct else "next").history(history)

    def _evaluate(self, batch: LoggedPaths, figures: PathFigures) -> dict[str, Any]:
        state, last = self.net.encode(batch.history), last_concept(batch.history)
        length, settings = batch.path.shape[1], self.hparams
        path = self.net.recommend(state, last, length, settings["beam_width"], settings["no_repeat"])
        probability = self.net.trace(state, batch.path).sigmoid()
        paths = {"": path, "copy_last": copy_last(last.clamp_min(0), length)}
        if self._connected:
            paths["bigram"] = bigram_path(self.successors, last, length, settings["no_repeat"])
            paths["majority"] = self.commonest.expand_as(path)
        figures.update(paths, batch.path, probability, batch.future.correct)
        future = batch.future
        learner = future.learner[:, None].expand_as(future.item)
        rows = (part.flatten(0, 1) for part in (probability, future.correct, future.concept, future.item, learner))
        return {"path": path, "answers": Answers(*rows)}

    def _report(self, stage: str, figures: PathFigures) -> None:
        baselines = BASELINES if self._connected else ("copy_last",)
        for name, value in figures.compute(baselines, by_step=stage == "test").items():
            shown = stage == "val" and name in ("accuracy", "repeat_rate")
            self.log(f"{stage}/{name}", value, prog_bar=shown, sync_dist=True)
        figures.reset()


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
