"""Deep knowledge tracing over question vectors, calibrated so that a concept can be asked about directly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torchmetrics import MetricCollection

from lpr_lightning.bases.staged import Figures, Stage, run_seed
from lpr_lightning.bases.tracer import TracerModule, answers_at
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked, checked_or_none, checked_positive
from lpr_lightning.hparams import arguments
from lpr_lightning.metrics import AnswerMetrics, answer_selection
from lpr_lightning.metrics.concept_error import ConceptError
from lpr_lightning.nets.question_calibration import QuestionCalibration
from lpr_lightning.nets.question_net import QuestionNet, Trace
from lpr_lightning.nets.question_table import QuestionTable
from lpr_lightning.protocols import LearnerData
from lpr_lightning.types import Exercise, InteractionBatch, TensorData
from lpr_lightning.vector_files import load_clusters, load_vectors

PAPER_QUESTIONS = 20
"""Questions that stand for a concept where the error against sampled questions is measured."""
MOST_QUESTIONS = 512
"""Questions of a concept, evenly spaced among all of its, that its mastery is compared with at most."""
LEARNERS, GROUPS, MEASURED, COMPARED, KEPT = 0, 1, 2, 3, 4  # streams of random numbers


class CalibratedDKT(TracerModule):
    """Predicts answers to questions from their vectors, then learns to predict a concept's mastery in one call (ExRec,
    Ozyurt et al. 2025, section 4.3).

    Stage 1, `next answers`: an LSTM over question vector + answer vector (eq. 11) under a classifier of state and
    next question (eq. 12, 13). Stage 2, `calibration`: asked about a concept's vector (eq. 15), the classifier learns
    to predict the mean of what the frozen stage-1 model predicts for the concept's questions (eq. 14, 16), while it
    goes on predicting answers (eq. 17). Stage 2 starts from, and is measured against, the stage-1 weights with the
    best `val/auc`, which stay in the module. Stage 1 ends where `val/auc` has not grown for `patience` epochs, or in
    time for `calibration_epochs`; training ends after these. `val/selection` chooses the checkpoint: the calibrated
    one with the largest AUC minus concept error.

    Differs from the paper:
    1. Question vectors can be learned by id, or given ones with learned parts on top (`given_size`, `add_concepts`,
       `add_shift`); they are frozen from stage 2 on. Concept vectors are then the mean of their questions' vectors,
       with a learned shift (`learn_queries`).
    2. The checkpoint is chosen by AUC minus concept error, not by concept error alone.
    3. AdamW at 1e-3 instead of Adam at 2e-5. For the rest see `nets.question_calibration`.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        num_items: number of questions; the command line fills it in from the data.
        embeddings: file of question vectors (see `vector_files`); None learns them by id.
        concept_embeddings: file of concept vectors in the same space; None takes the mean of their questions'.
        embedding_size: width of the vectors (paper: 768).
        given_size: width of the vectors in files, which a learned linear map brings to `embedding_size`; None: no map.
        add_concepts: add the mean of learned vectors of its concepts to a question's given vector.
        add_shift: add a learned vector of its own to it; it stays zero for questions without training answers.
        shift_dropout: share of the questions whose own vector a training step leaves out, in [0, 1): what is known
            of every question, wording and concepts, then learns to stand alone.
        normalize: give vectors of files the length sqrt(width), as the authors' code does.
        ignore_unknown: pass over names in files that the data do not have.
        learn_queries: learn a shift of the concept vectors in stage 2 (paper: no).
        hidden_size: width of the state (paper: 300).
        head_size: width of the classifier's joint layer (paper: 1200).
        dropout: on the state before the classifier, in [0, 1) (paper: 0).
        learning_rate: of AdamW in stage 1 (paper: 2e-5).
        weight_decay: of AdamW.
        question_decay: of AdamW on vectors learned by id: it draws questions with few answers to their concepts.
        map_decay: of AdamW on the map of `given_size`.
        pretrain_epochs: most epochs of stage 1; None leaves the last `calibration_epochs` of the trainer to stage 2.
        patience: epochs of stage 1 without growth of `val/auc` before stage 2; None waits for none.
        calibration_epochs: epochs of stage 2.
        calibration_learning_rate: of AdamW in stage 2 (paper: 2e-5).
        freeze_lstm: leave LSTM and answer vectors as they are in stage 2.
        joint: stage 2 goes on predicting answers (eq. 17); else eq. 16 alone.
        questions_per_concept: questions drawn for a concept (paper: 20); None takes all of them (eq. 14).
        with_replacement: draw with replacement, as the authors' code does.
        clusters: JSON file {cluster: [concept names]}: concepts stand for their clusters' questions, not their own.
        error_states: points of each log, evenly spaced, at which the concept error is measured.
        error_concepts: concepts of each log, drawn by its learner, on which it is measured there; None takes all.

    Raises:
        SettingError: a setting is out of range, or (when the data are there) does not fit them.

    >>> from lpr_lightning.types import Exercise
    >>> tracer = CalibratedDKT(num_concepts=2, num_items=3, embedding_size=4, hidden_size=5, head_size=6).eval()
    >>> question = Exercise(torch.tensor([[0]]), torch.tensor([2]))
    >>> tracer.mastery(tracer.observe(tracer.initial_state(1), question, torch.tensor([1.0]))).shape
    torch.Size([1, 2])
    """

    monitor = ("val/selection", "max")
    net: QuestionNet

    def __init__(
        self,
        num_concepts: int | None = None,
        num_items: int | None = None,
        embeddings: str | None = None,
        concept_embeddings: str | None = None,
        embedding_size: int = 128,
        given_size: int | None = None,
        add_concepts: bool = False,
        add_shift: bool = False,
        shift_dropout: float = 0.0,
        normalize: bool = True,
        ignore_unknown: bool = False,
        learn_queries: bool = True,
        hidden_size: int = 300,
        head_size: int = 1200,
        dropout: float = 0.0,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        question_decay: float = 1.0,
        map_decay: float = 1.0,
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
        error_concepts: int | None = 16,
    ) -> None:
        super().__init__(num_concepts)
        self.save_hyperparameters(arguments(locals()))
        self.num_items = checked("num_items", num_items, 1)
        least: dict[str, int | None] = {"embedding_size": embedding_size, "hidden_size": hidden_size}
        least["given_size"] = given_size
        least |= {"head_size": head_size, "pretrain_epochs": pretrain_epochs, "patience": patience}
        least |= {"calibration_epochs": calibration_epochs, "questions_per_concept": questions_per_concept}
        for name, count in {**least, "error_states": error_states, "error_concepts": error_concepts}.items():
            checked_or_none(name, count, 1)
        checked("weight_decay", weight_decay, 0.0)
        checked("question_decay", question_decay, 0.0)
        checked("map_decay", map_decay, 0.0)
        checked("dropout", dropout, 0.0, 1.0)
        checked("shift_dropout", shift_dropout, 0.0, 1.0)
        for name, rate in (("learning_rate", learning_rate), ("calibration_learning_rate", calibration_learning_rate)):
            checked_positive(name, rate)
        if concept_embeddings is not None and embeddings is None:
            advice = "give --model.embeddings too, vectors of the questions in the same space"
            raise SettingError("concept_embeddings", concept_embeddings, "null where questions are learned", advice)
        for name, part in (("given_size", given_size), ("add_concepts", add_concepts), ("add_shift", add_shift)):
            if part and embeddings is None:
                advice = "give --model.embeddings, vectors of the questions"
                raise SettingError(name, part, "null or false where questions are learned by id", advice)
        if shift_dropout and embeddings is not None and not add_shift:
            raise SettingError("shift_dropout", shift_dropout, "0 without a shift", "Set --model.add_shift true")
        self.files, self.normalize, self.ignore_unknown = (embeddings, concept_embeddings), normalize, ignore_unknown
        self.given_size, self.shift_dropout = given_size or embedding_size, shift_dropout
        self.clusters, self.patience, self.measured = clusters, patience, (error_states, error_concepts)
        self.rates, self.decay = (learning_rate, calibration_learning_rate), {"own": question_decay, "map": map_decay}
        self.weight_decay = weight_decay
        self.epochs = pretrain_epochs, calibration_epochs
        given = embeddings is not None, concept_embeddings is not None
        sizes = self.num_items, self.num_concepts, embedding_size
        table = QuestionTable(*sizes, *given, learn_queries, given_size, add_concepts, add_shift)
        self.net = QuestionNet(table, hidden_size, head_size, dropout)
        self.calibration = QuestionCalibration(self.net, questions_per_concept, with_replacement, freeze_lstm, joint)
        self.register_load_state_dict_post_hook(_share_table)  # type: ignore[no-untyped-call]
        self.before_metrics = AnswerMetrics()
        names = ("concept_mae", "concept_mae_sampled", "concept_mae_target", "concept_mae_before")
        self.val_errors, self.test_errors = (
            MetricCollection({name: ConceptError() for name in chosen}, compute_groups=False)
            for chosen in (names[:1], names)
        )

    @property
    def calibrating(self) -> bool:
        """Whether stage 2 has begun."""
        return self.stage_number > 0

    @property
    def connected(self) -> bool:
        """Whether the questions' concepts are known."""
        return self.net.table.connected

    def connect(self, data: LearnerData) -> None:
        """Take from the data which questions are on which concepts, and read the files of vectors and clusters.

        Raises:
            MissingFileError: a file is not there.
            DataError: a file does not fit the data.
            SettingError: vectors have another width, or a concept has too few questions to draw from.
        """
        if self.num_concepts != data.num_concepts:
            raise SettingError("num_concepts", self.num_concepts, f"{data.num_concepts}, as in the data")
        if self.num_items != data.num_items:
            raise SettingError("num_items", self.num_items, f"{data.num_items}, as in the data")
        table, concepts = self.net.table, data.concept_vocabulary
        options = self.given_size, self.normalize, self.ignore_unknown
        numbers = {name: number for number, name in enumerate(data.item_names)}
        items, queries = self.files
        table.attach(
            data.item_concepts,
            load_clusters(self.clusters, concepts, self.num_concepts) if self.clusters else None,
            load_vectors(items, numbers, *options) if items else None,
            load_vectors(queries, concepts, *options, what="concept") if queries else None,
        )
        self.calibration.frozen.table.share(table)
        self.calibration.check(data.concept_names)

    def setup(self, stage: str) -> None:
        """Wait with connecting: the checkpoint that is loaded after this may bring the map and the vectors."""

    def on_fit_start(self) -> None:
        """Connect where nobody has."""
        self._connect()
        super().on_fit_start()

    def on_validation_start(self) -> None:
        """Connect where nobody has."""
        self._connect()

    def on_test_start(self) -> None:
        """Connect where nobody has; warn where only stage 1 is tested."""
        self._connect()
        if not self.calibrating:
            rank_zero_warn("this tracer was not calibrated: its training had no epoch for it")

    def vectors(self, asked: Exercise) -> Tensor:
        """Return the vectors of exercises, [..., D]."""
        return self.net.table.vectors(asked)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW; each stage sets the learning rate of the parts that it trains, and 0 for the others."""
        groups = [
            {"name": name, "params": weights, "weight_decay": self.decay.get(name, self.weight_decay)}
            for name, weights in self.net.parts().items()
            if weights
        ]
        return torch.optim.AdamW(groups, self.rates[0])

    def stages(self) -> Sequence[Stage]:
        """Return both stages."""
        answers = {name: self.rates[0] for name in self.net.parts() if name != "queries"}
        calibrated = ("head", "queries") if self.calibration.freeze_lstm else ("head", "queries", "memory")
        queries = dict.fromkeys(calibrated, self.rates[1])
        first = Stage("next answers", self.fit_step, answers, self.epochs[0], None, answer_selection, self.patience)
        second = Stage("calibration", self.calibrate, queries, self.epochs[1], None, _auc_minus_error)
        return [replace(first, improved=self._remember), replace(second, begin=self._begin_calibration)]

    def next_logits(self, batch: InteractionBatch) -> tuple[Tensor, Tensor]:
        """Return the logits of all real next answers and their places; in training some questions' own part is left
        out (`shift_dropout`)."""
        if not (self.training and self.shift_dropout):
            return self.net.next_logits(batch)
        question = torch.arange(self.num_items, device=self.device)
        share = Draws.of(run_seed(), self.global_step, question).at(KEPT).uniform(1)[:, 0]
        return self.net.next_logits(batch, share >= self.shift_dropout)

    def calibrate(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        """Return the loss of stage 2."""
        seed, step = run_seed(), self.global_step
        draws, groups = Draws.of(seed, step, batch.learner).at(LEARNERS), self._group_draws(seed, step).at(GROUPS)
        losses = self.calibration.losses(self.net, batch, draws, groups)
        return self.total(losses, len(batch), self.batch_weight(batch))

    def evaluate(self, batch: InteractionBatch, stage: str) -> dict[str, TensorData]:
        """Predict the answers of a batch, and measure mastery; in tests, that of the stage-1 model too."""
        trace = self.net.trace(batch)
        logit, place = self.net.trace_logits(trace, batch)
        answers = answers_at(logit.sigmoid().float(), place, batch)
        self.metrics_of(stage).update(answers.probability, answers.correct)
        before = None
        if stage == "test" and self.calibrating:
            before = self.calibration.frozen.trace(batch)
            earlier = self.calibration.frozen.trace_logits(before, batch)[0].sigmoid().float()
            self.before_metrics.update(earlier, answers.correct)
        self._measure(batch, stage, trace, before)
        return {"answers": answers}

    def figures(self, stage: str) -> dict[str, Tensor]:
        """Return the figures of answers and the concept error; in tests, those of the stage-1 model beside them."""
        figures = super().figures(stage)
        errors = self._errors(stage)
        for name, metric in errors.items():
            if self.calibrating or not name.endswith(("_before", "_target")):
                figures[name] = metric.compute()
        errors.reset()
        if stage == "test" and self.calibrating:
            figures["auc_before"] = self.before_metrics.compute()["auc"]
            self.before_metrics.reset()
        return figures

    @torch.no_grad()
    def _measure(self, batch: InteractionBatch, stage: str, trace: Trace, before: Trace | None) -> None:
        """Compare mastery with the mean over the concepts' questions at some points of each log, on some concepts."""
        net, frozen, errors = self.net, self.calibration.frozen, self._errors(stage)
        concept = self._compared(batch)
        group, points = net.table.group[concept], self.measured[0]
        hidden = trace.at(batch.mask, points)
        mastery = net.mastery((hidden,), concept)
        errors["concept_mae"].update(mastery, net.group_success(hidden, group, most=MOST_QUESTIONS))
        if stage == "test":
            draws = self._group_draws(0, 0).at(MEASURED)
            drawn = net.table.sample(draws, self.calibration.questions_per_concept or PAPER_QUESTIONS, True)
            errors["concept_mae_sampled"].update(mastery, net.group_success(hidden, group, drawn))
        if before is not None:
            hidden = before.at(batch.mask, points)
            exact = frozen.group_success(hidden, group, most=MOST_QUESTIONS)
            errors["concept_mae_target"].update(mastery, exact)
            errors["concept_mae_before"].update(frozen.mastery((hidden,), concept), exact)

    def _compared(self, batch: InteractionBatch) -> Tensor:
        """Return the concepts [B, M] on which each log with answers is measured, of those with questions."""
        learner, known = batch.learner[batch.mask.any(1)], self.net.table.known.nonzero().squeeze(1)
        count = len(known) if self.measured[1] is None else min(self.measured[1], len(known))
        if count == len(known):
            return known.expand(len(learner), -1)
        key = Draws.of(0, 0, learner).at(COMPARED).uniform(self.num_concepts)[:, known]
        return known[key.argsort(dim=1, stable=True)[:, :count]]

    def _errors(self, stage: str) -> MetricCollection:
        return self.val_errors if stage == "val" else self.test_errors

    def _group_draws(self, seed: int, step: int) -> Draws:
        return Draws.of(seed, step, torch.arange(self.num_concepts, device=self.device))

    def _remember(self) -> None:
        self.calibration.remember(self.net)

    def _begin_calibration(self) -> None:
        """Go back to the best weights of stage 1; forget the optimizer's moments."""
        self.calibration.restore(self.net)
        for optimizer in self.trainer.optimizers:
            optimizer.state.clear()

    def _connect(self) -> None:
        if not self.connected:
            self.connect(self.data())


def _auc_minus_error(figures: Figures) -> Tensor:
    return (answer_selection(figures) - figures["concept_mae"]).clamp_min(0)


def _share_table(module: CalibratedDKT, _: object) -> None:
    """Let the frozen net go on with the map and the vectors that were just loaded."""
    module.calibration.frozen.table.share(module.net.table)
