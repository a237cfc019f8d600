"""Deep knowledge tracing over question vectors, calibrated so that a concept can be asked about directly."""

from __future__ import annotations

import copy
from typing import cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.calibration import soft_cross_entropy
from lpr_lightning.hparams import arguments
from lpr_lightning.metrics import AnswerMetrics
from lpr_lightning.metrics.concept_error import ConceptError
from lpr_lightning.nets.question_net import QuestionNet, Trace
from lpr_lightning.nets.question_table import QuestionTable
from lpr_lightning.nets.question_tracing import QuestionTracing
from lpr_lightning.vector_files import load_clusters, load_vectors
from lpr_lightning.types import Answers, InteractionBatch, LearnerData

PAPER_QUESTIONS = 20
"""Questions that stand for a concept where the error against sampled questions is measured."""


class CalibratedDKT(QuestionTracing, LightningModule):
    """Predicts answers to questions from their vectors, then learns to say a concept's mastery in one look (ExRec,
    Ozyurt et al. 2025, section 4.3).

    Stage 1, `next answers`: an LSTM over question vector + answer vector (eq. 11) under a classifier of state and
    next question (eq. 12, 13). Stage 2, `calibration`: asked about a concept's vector (eq. 15), the classifier learns
    to say the mean of what the frozen stage-1 model says about the concept's questions (eq. 14, 16), while it goes on
    predicting answers (eq. 17). Stage 2 starts from, and is measured against, the stage-1 weights with the best
    `val/auc`, which stay in the module. Stage 1 ends where `val/auc` has not grown for `patience` epochs, or in time
    for `calibration_epochs`; training ends after these.

    `val/selection` (larger is better) chooses the checkpoint: in stage 1 it is -1 / (epochs so far), below anything
    that stage 2 can reach and growing with each epoch, so that nothing outside stops stage 1 or keeps it as the
    result; in stage 2 it is AUC minus concept error, 0 at least.

    Batches are `InteractionBatch`; satisfies `QuestionTracer`; evaluation steps return `{"answers"}`.

    Differs from the paper:
    1. Question vectors can be learned by id; they are frozen from stage 2 on. Concept vectors are then the mean of
       their questions' vectors, with a learned shift (`learn_queries`).
    2. The questions drawn for a concept are the same for all learners of a batch; or all questions are taken.
    3. The checkpoint is chosen by AUC minus concept error, not by concept error alone.
    4. AdamW at 1e-3 instead of Adam at 2e-5.

    Args:
        num_concepts: Number of concepts; the command line fills it in from the data.
        num_items: Number of questions; the command line fills it in from the data.
        embeddings: File of question vectors (see `vector_files`); None learns them by id.
        concept_embeddings: File of concept vectors in the same space; None takes the mean of their questions'.
        embedding_size: Width of the vectors (paper: 768).
        normalize: Give vectors of files the length sqrt(width), as the authors' code does.
        ignore_unknown: Pass over names in files that the data do not have.
        learn_queries: Learn a shift of the concept vectors in stage 2 (paper: no).
        hidden_size: Width of the state (paper: 300).
        head_size: Width of the classifier's joint layer (paper: 1200).
        dropout: On the state before the classifier, in [0, 1) (paper: 0).
        learning_rate: Of AdamW in stage 1 (paper: 2e-5).
        weight_decay: Of AdamW.
        question_decay: The same for the questions' own vectors where they are learned by id: it draws questions with
            few answers to their concepts.
        pretrain_epochs: Most epochs of stage 1; None leaves the last `calibration_epochs` of the trainer to stage 2.
        patience: Epochs of stage 1 without growth of `val/auc` before stage 2; None waits for none.
        calibration_epochs: Epochs of stage 2.
        calibration_learning_rate: Of AdamW in stage 2 (paper: 2e-5).
        freeze_lstm: Leave LSTM and answer vectors as they are in stage 2.
        joint: Stage 2 goes on predicting answers (eq. 17); else eq. 16 alone.
        questions_per_concept: Questions drawn for a concept (paper: 20); None takes all of them (eq. 14).
        with_replacement: Draw with replacement, as the authors' code does.
        clusters: JSON file {cluster: [concept names]}; a concept then stands for its cluster's questions. None: every
            concept for its own.
        error_states: Points of each log, evenly spaced, at which the concept error is measured.

    Raises:
        SettingError: If a setting is out of range.

    >>> tracer = CalibratedDKT(num_concepts=2, num_items=3, embedding_size=4, hidden_size=5, head_size=6).eval()
    >>> state = tracer.observe_item(tracer.initial_state(1), torch.tensor([2]), torch.tensor([1.0]))
    >>> tracer.mastery(state).shape
    torch.Size([1, 2])
    """

    monitor = ("val/selection", "max")

    def __init__(
        self,
        num_concepts: int | None = None,
        num_items: int | None = None,
        embeddings: str | None = None,
        concept_embeddings: str | None = None,
        embedding_size: int = 128,
        normalize: bool = True,
        ignore_unknown: bool = False,
        learn_queries: bool = True,
        hidden_size: int = 300,
        head_size: int = 1200,
        dropout: float = 0.0,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        question_decay: float = 1.0,
        pretrain_epochs: int | None = None,
        patience: int | None = 3,
        calibration_epochs: int = 5,
        calibration_learning_rate: float = 1e-3,
        freeze_lstm: bool = True,
        joint: bool = True,
        questions_per_concept: int | None = PAPER_QUESTIONS,
        with_replacement: bool = True,
        clusters: str | None = None,
        error_states: int = 2,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()))
        for name in ("num_concepts", "num_items"):
            if not self.hparams[name] or self.hparams[name] < 1:
                raise SettingError(name, self.hparams[name], "a whole number above 0", "take it from the datamodule")
        for name in (
            *("embedding_size", "hidden_size", "head_size", "pretrain_epochs", "patience", "calibration_epochs"),
            *("questions_per_concept", "error_states"),
        ):
            if self.hparams[name] is not None and self.hparams[name] < 1:
                raise SettingError(name, self.hparams[name], "a whole number above 0")
        if not 0 <= dropout < 1:
            raise SettingError("dropout", dropout, "a number from 0 to below 1")
        for name in ("learning_rate", "calibration_learning_rate"):
            if not self.hparams[name] > 0:
                raise SettingError(name, self.hparams[name], "a number above 0")
        if concept_embeddings is not None and embeddings is None:
            advice = "Give --model.embeddings too, vectors of the questions in the same space"
            raise SettingError("concept_embeddings", concept_embeddings, "null where questions are learned", advice)
        self.num_concepts, self.num_items = int(num_concepts or 0), int(num_items or 0)
        given = embeddings is not None, concept_embeddings is not None
        table = QuestionTable(self.num_items, self.num_concepts, embedding_size, *given, learn_queries)
        self.net = QuestionNet(table, hidden_size, head_size)
        self.frozen: QuestionNet = copy.deepcopy(self.net).requires_grad_(False)
        self.frozen.table.share(self.net.table)
        self.register_load_state_dict_post_hook(_share_table)  # type: ignore[no-untyped-call]
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("began", torch.tensor(-1))
        self.register_buffer("best", torch.tensor(-1.0))
        self.register_buffer("waited", torch.tensor(0))
        self.val_metrics, self.test_metrics, self.before_metrics = AnswerMetrics(), AnswerMetrics(), AnswerMetrics()
        self.val_errors = nn.ModuleDict({"concept_mae": ConceptError()})
        names = ("concept_mae", "concept_mae_sampled", "concept_mae_target", "concept_mae_before")
        self.test_errors = nn.ModuleDict({name: ConceptError() for name in names})
        self._seed = 0

    began: Tensor
    best: Tensor
    waited: Tensor

    @property
    def stage_name(self) -> str:
        """What the present epoch does."""
        return "calibration" if self.calibrating else "next answers"

    @property
    def calibrating(self) -> bool:
        """Whether stage 2 has begun."""
        return bool(self.began >= 0)

    def reset_parameters(self) -> None:
        """Draw all weights anew and go back to stage 1; what `connect` took stays."""
        self.net.reset_parameters()
        self.frozen.copy_weights(self.net)
        self.began.fill_(-1)
        self.best.fill_(-1.0)
        self.waited.zero_()

    def connect(self, data: LearnerData) -> None:
        """Take from the data which questions are on which concepts, and read the files of vectors and clusters.

        Raises:
            MissingFileError: If a file is not there.
            DataError: If a file does not fit the data.
            SettingError: If vectors have another width, or a concept has too few questions to draw from.
        """
        for name, own in (("num_concepts", self.num_concepts), ("num_items", self.num_items)):
            if getattr(data, name) != own:
                raise SettingError(name, own, f"{getattr(data, name)}, as in the data")
        hparams, table = self.hparams, self.net.table
        options = hparams["embedding_size"], hparams["normalize"], hparams["ignore_unknown"]
        numbers = {name: number for number, name in enumerate(data.item_names)}
        concepts: dict[str, int] = {name: number for number, name in enumerate(data.concept_names)}
        concepts = getattr(data, "concept_vocabulary", concepts)
        items = load_vectors(hparams["embeddings"], numbers, *options) if hparams["embeddings"] else None
        path, clusters = hparams["concept_embeddings"], hparams["clusters"]
        queries = load_vectors(path, concepts, *options, what="concept") if path else None
        group = load_clusters(clusters, concepts, self.num_concepts) if clusters else None
        table.attach(data.item_concepts, group, items, queries)
        self.frozen.table.share(table)
        self._check_questions(data.concept_names)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW; each stage sets the learning rate of the parts that it trains, and 0 for the others."""
        decay, own_decay = self.hparams["weight_decay"], self.hparams["question_decay"]
        groups = [
            {"name": name, "params": weights, "weight_decay": own_decay if name == "own" else decay}
            for name, weights in self.net.parts().items()
            if weights
        ]
        return torch.optim.AdamW(groups, self.hparams["learning_rate"])

    def setup(self, stage: str) -> None:
        """Take the seed of the drawn questions."""
        self._seed = torch.initial_seed() % 2**31

    def forward(self, batch: InteractionBatch) -> Tensor:
        """Return the logits [B, T - 1] of answers 1 … T - 1, each from the answers before it; 0 outside the mask."""
        logit = self.net.next_logits(self.net(batch), batch)
        padded = logit.new_zeros(len(batch), max(batch.mask.shape[1] - 1, 0))
        return padded.masked_scatter(batch.mask[:, 1:], logit)

    def on_fit_start(self) -> None:
        """Connect to the data, unless that was done or a checkpoint has brought the map."""
        self._connect_if_needed()

    def on_test_start(self) -> None:
        """Connect as for a fit."""
        self._connect_if_needed()

    def on_train_start(self) -> None:
        """End at once where stage 2 was over already."""
        self._stop_when_done(self.current_epoch)

    def on_train_epoch_start(self) -> None:
        """Begin stage 2 when it is time; set the learning rates."""
        if not self.calibrating and self.current_epoch >= self._pretrain_end:
            self._begin_calibration()
        rates = {name: self._rate(name) for name in self.net.parts()}
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rates[group["name"]]

    def training_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        """Return the loss of the present stage."""
        losses = self._calibration_losses(batch, batch_idx) if self.calibrating else self._answer_losses(batch)
        loss = torch.stack(list(losses.values())).sum()
        for name, value in {"loss": loss, **{f"loss_{name}": value for name, value in losses.items()}}.items():
            self.log(f"train/{name}", value, prog_bar=name == "loss", batch_size=len(batch))
        if self.trainer.world_size > 1:
            loss = loss + 0.0 * sum(weight.sum() for weights in self.net.parts().values() for weight in weights)
        return loss

    def on_train_epoch_end(self) -> None:
        """End training when stage 2 has had its epochs."""
        self._stop_when_done(self.current_epoch + 1)

    def validation_step(self, batch: InteractionBatch, batch_idx: int) -> dict[str, Answers]:
        """Predict the answers of validation learners, and measure their mastery."""
        answers, trace = self._predicted(self.net, batch)
        self.val_metrics.update(answers.probability, answers.correct)
        self._measure(self.val_errors, batch, trace, None)
        return {"answers": answers}

    def on_validation_epoch_end(self) -> None:
        """Log AUC, accuracy, ECE, Brier score and concept error; keep the best weights of stage 1."""
        figures = {**self.val_metrics.compute(), **_computed(self.val_errors)}
        self.val_metrics.reset()
        if not self.trainer.sanity_checking:
            if self.calibrating:
                figures["selection"] = (figures["auc"] - figures["concept_mae"]).clamp_min(0)
            else:
                self._keep_if_best(figures["auc"])
                figures["selection"] = torch.tensor(-1 / (self.current_epoch + 1), device=self.device)
        for name, value in figures.items():
            self.log(f"val/{name}", value, prog_bar=name in ("auc", "concept_mae"), sync_dist=True)

    def test_step(self, batch: InteractionBatch, batch_idx: int) -> dict[str, Answers]:
        """Predict the answers of test learners, and measure their mastery, before and after calibration."""
        answers, trace = self._predicted(self.net, batch)
        self.test_metrics.update(answers.probability, answers.correct)
        before = None
        if self.calibrating:
            earlier, before = self._predicted(self.frozen, batch)
            self.before_metrics.update(earlier.probability, earlier.correct)
        self._measure(self.test_errors, batch, trace, before)
        return {"answers": answers}

    def on_test_epoch_end(self) -> None:
        """Log the same figures as for validation, and AUC and concept error of the stage-1 model beside them."""
        figures = {**self.test_metrics.compute(), **_computed(self.test_errors)}
        if self.calibrating:
            figures["auc_before"] = self.before_metrics.compute()["auc"]
        else:
            rank_zero_warn("this tracer was not calibrated: its training had no epoch for it")
            figures = {name: value for name, value in figures.items() if not name.endswith(("_before", "_target"))}
        for metric in (self.test_metrics, self.before_metrics):
            metric.reset()
        self.log_dict({f"test/{name}": value for name, value in figures.items()}, sync_dist=True)

    def predict_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        """Return the mastery [B, N] of each learner after the whole log."""
        return self.mastery(self.encode(batch))

    @property
    def _pretrain_end(self) -> float:
        """The epoch that stage 2 begins with."""
        hparams, last = self.hparams, self.trainer.max_epochs
        if hparams["patience"] is not None and int(self.waited) >= hparams["patience"]:
            return self.current_epoch
        if hparams["pretrain_epochs"] is not None:
            return int(hparams["pretrain_epochs"])
        return max(1, last - int(hparams["calibration_epochs"])) if last is not None and last > 0 else float("inf")

    def _connect_if_needed(self) -> None:
        if self.net.table.connected:
            return
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, LearnerData):
            allowed = "a datamodule of lpr_lightning"
            raise SettingError("datamodule", type(data).__name__, allowed, "or call connect(data) before")
        self.connect(data)

    def _begin_calibration(self) -> None:
        """Go back to the best weights of stage 1 and keep them frozen beside."""
        if float(self.best) < 0:
            self.frozen.copy_weights(self.net)
        self.net.copy_weights(self.frozen)
        self.began.fill_(self.current_epoch)
        for optimizer in self.trainer.optimizers:
            optimizer.state.clear()

    def _keep_if_best(self, auc: Tensor) -> None:
        if float(auc) > float(self.best):
            self.best.copy_(auc)
            self.waited.zero_()
            self.frozen.copy_weights(self.net)
        else:
            self.waited += 1

    def _stop_when_done(self, epoch: int) -> None:
        if self.calibrating and epoch - int(self.began) >= self.hparams["calibration_epochs"]:
            self.trainer.should_stop = True

    def _rate(self, part: str) -> float:
        """Return the learning rate of a part in the present stage."""
        hparams = self.hparams
        if not self.calibrating:
            return 0.0 if part == "queries" else float(hparams["learning_rate"])
        resting = part in ("base", "own") or (part == "memory" and hparams["freeze_lstm"])
        return 0.0 if resting else float(hparams["calibration_learning_rate"])

    def _answer_losses(self, batch: InteractionBatch) -> dict[str, Tensor]:
        """Return the loss of stage 1 (eq. 13)."""
        trace: Trace = self.net(batch)
        following = batch.mask[:, 1:]
        logit = self.net.next_logits(trace, batch, self.dropout(trace.hidden[:, :-1][following]))
        return {"answers": F.binary_cross_entropy_with_logits(logit, batch.correct[:, 1:][following])}

    def _calibration_losses(self, batch: InteractionBatch, batch_idx: int) -> dict[str, Tensor]:
        """Return the losses of stage 2 (eq. 16, 17)."""
        with torch.set_grad_enabled(not self.hparams["freeze_lstm"]):
            trace: Trace = self.net(batch)
        following, head, table = batch.mask[:, 1:], self.net.head, self.net.table
        hidden = trace.hidden[:, :-1][following]
        half = head.state_half(self.dropout(hidden))
        generator = self._generator(batch_idx)
        concept = table.draw(len(hidden), generator)
        target = self._targets(batch, hidden, table.group[concept], generator)
        logit = head.pairs(half, head.vector_half(table.concepts()), concept)
        losses = {"concepts": soft_cross_entropy(logit, target)}
        if self.hparams["joint"]:
            answer = head.pairs(half, head.vector_half(trace.vectors.detach()), trace.row[:, 1:][following])
            losses["answers"] = F.binary_cross_entropy_with_logits(answer, batch.correct[:, 1:][following])
        return losses

    @torch.no_grad()
    def _targets(self, batch: InteractionBatch, hidden: Tensor, group: Tensor, generator: torch.Generator) -> Tensor:
        """Return what the frozen model says about the groups' questions, [S]."""
        if not self.hparams["freeze_lstm"]:
            hidden = self.frozen(batch).hidden[:, :-1][batch.mask[:, 1:]]
        count = self.hparams["questions_per_concept"]
        drawn = None if count is None else self.net.table.sample(count, self.hparams["with_replacement"], generator)
        return self.frozen.group_success(hidden, group, drawn)

    def _generator(self, batch_idx: int) -> torch.Generator:
        """Return random numbers of this step and rank alone: a resumed run draws what an uninterrupted one would."""
        step = (self.current_epoch * 100_003 + batch_idx) * self.trainer.world_size + self.trainer.global_rank
        return torch.Generator(self.device).manual_seed(self._seed * 1_000_003 + step)

    def _predicted(self, net: QuestionNet, batch: InteractionBatch) -> tuple[Answers, Trace]:
        """Return the predicted beside the real next answers."""
        trace: Trace = net(batch)
        following = batch.mask[:, 1:]
        learner = batch.learner[:, None].expand_as(following)
        others = (part[following] for part in (batch.correct[:, 1:], batch.concept[:, 1:], batch.item[:, 1:], learner))
        return Answers(net.next_logits(trace, batch).sigmoid().float(), *others), trace

    @torch.no_grad()
    def _measure(self, errors: nn.ModuleDict, batch: InteractionBatch, trace: Trace, before: Trace | None) -> None:
        """Compare mastery with the mean over the concepts' questions at some points of each log."""
        table, points = self.net.table, self.hparams["error_states"]
        known = table.known
        hidden = (trace.at(batch.mask, points),)
        mastery, questions = self.net.concept_logits(hidden).sigmoid(), self.net.item_logits(hidden).sigmoid()
        compared = {"concept_mae": (mastery, table.mean_success(questions))}
        if "concept_mae_sampled" in errors:
            generator = torch.Generator(self.device).manual_seed(self._seed)
            drawn = table.sample(self.hparams["questions_per_concept"] or PAPER_QUESTIONS, True, generator)
            compared["concept_mae_sampled"] = mastery, table.sampled_success(questions, drawn)
        if before is not None:
            hidden = (before.at(batch.mask, points),)
            exact = table.mean_success(self.frozen.item_logits(hidden).sigmoid())
            compared["concept_mae_target"] = mastery, exact
            compared["concept_mae_before"] = self.frozen.concept_logits(hidden).sigmoid(), exact
        for name, (one, other) in compared.items():
            cast(ConceptError, errors[name]).update(one, other, known)

    def _check_questions(self, names: list[str]) -> None:
        table, wanted = self.net.table, self.hparams["questions_per_concept"]
        if wanted is None or self.hparams["with_replacement"]:
            return
        count = torch.where(table.count > 0, table.count, wanted)
        least = int(count.argmin())
        if int(count[least]) < wanted:
            raise SettingError(
                "questions_per_concept",
                wanted,
                f"at most {int(count[least])}, all that there are on {names[least]!r}",
                "Lower it, give null to take all of each concept, or draw with_replacement",
            )


def _share_table(module: CalibratedDKT, _: object) -> None:
    """Let the frozen net go on with the map and the vectors that were just loaded."""
    module.frozen.table.share(module.net.table)


def _computed(errors: nn.ModuleDict) -> dict[str, Tensor]:
    """Return the errors and forget them."""
    metrics = cast(dict[str, ConceptError], dict(errors.items()))
    figures = {name: metric.compute() for name, metric in metrics.items()}
    for metric in metrics.values():
        metric.reset()
    return figures
