"""LDSim: a simulator of answers with a graph of concept relations, labels of mastery, and roll-outs in its training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.bases.growth_tracer import GrowthTracer
from lpr_lightning.bases.staged import Figures, Stage, datamodule_of, run_seed
from lpr_lightning.bases.tracer import mean_cross_entropy
from lpr_lightning.distilled_files import MasteryLabels, load_concept_relations, load_mastery_labels
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked, checked_positive, checked_share
from lpr_lightning.functional.concept_relations import relation_weights
from lpr_lightning.functional.prerequisites import direct_prerequisites
from lpr_lightning.functional.simulation import Feed, exercises, following, prefix_lengths, simulate
from lpr_lightning.hparams import arguments
from lpr_lightning.metrics import AnswerMetrics, answer_selection
from lpr_lightning.nets.answer_windows import AnswerWindows, random_starts
from lpr_lightning.nets.ldsim import LDSimNet, Moments
from lpr_lightning.nets.question_reader import QuestionReader
from lpr_lightning.protocols import LearnerData
from lpr_lightning.ranks import mean_count
from lpr_lightning.types import PAD, Exercise, InteractionBatch, TensorData, keep_rows

PREFIX, LONGEST = 0.5, 100
"""Share of a log that is read before the roll-outs of validation and test, and the most answers of one."""
WINDOWS, QUESTIONS, FED = 0, 1, 2  # streams of random numbers


class LDSim(GrowthTracer):
    """Simulates answers, distilled from what a language model said offline (Liu, Long and Fu 2025, arXiv 2509.09226).

    Published are a graph of prerequisites between concepts that a language model gave, labels of mastery that it gave
    to histories, pseudo answers to questions that were not attempted, and simulation by roll-out; formulas are not.
    These are ours, with `LDSimNet` as the network. The loss is the sum of
    `answers`: next answers; `mastery`: the same answers by level and difficulty alone, which makes mastery mean
    something without labels; `reasoning`: cross-entropy of labelled mastery, weighted by the label's confidence;
    `pseudo`: that of random unattempted questions, from what a moving average of this network says (blended with the
    label of a question's concept where there is one at that time); `roll_out`: that of the answers of random windows,
    predicted without reading them. Training begins with a warm-up without the last two. `val/selection` is the AUC of
    validation roll-outs from half of each log.

    Differs from the paper:
    1. Growth by practice (`NeuralGrowthNet`) is a part of the level, and in an episode the only one that moves
       (`practice="growth"`): roll-outs in training then predict windows from the evidence before them, without
       feeding answers. With `practice="answers"`, as published, an episode reads the simulator's own answers, and
       training feeds them with a probability that grows to `most_fed`.
    2. Without a file of relations the graph is the data's prerequisites or, without any, that of
       `functional.concept_relations`.
    3. Sums of residuals stand beside the LSTM (`ResidualEvidence`).

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        num_items: number of questions; the command line fills it in from the data.
        graph: file of relations between concepts (`distilled_files`); None takes the data's.
        labels: file of mastery labels (`distilled_files`); None trains without.
        relations: use the graph at all.
        neighbours: most concepts that one builds on in the graph.
        embedding_size: width of the vectors of concepts.
        hidden_size: width of the LSTM state.
        head_size: width of the response's hidden layer.
        dropout: on hidden states, in [0, 1).
        item_dropout: share of answers whose question is hidden in a training step, in [0, 1).
        mastery_weight: of the loss `mastery`; 0 leaves it out, as in all weights below.
        reasoning_weight: of the loss `reasoning`.
        pseudo_weight: of the loss `pseudo`.
        pseudo_questions: questions drawn at each moment.
        teacher_decay: of the moving average, in [0, 1).
        roll_out_weight: of the loss `roll_out`.
        practice: what a step of an episode moves: growth, or all that an answer moves.
        fed: own answers that roll-outs in training feed: the likelier ones or drawn ones.
        most_fed: probability of feeding an own answer instead of the real one, after `ramp_epochs` epochs.
        ramp_epochs: epochs over which that grows from 0.
        moments: random moments of each row, at which windows begin and pseudo questions are asked.
        window_length: answers in a window.
        gate: let growth on a concept through only as far as its prerequisites hold.
        penalty: weight of the summed squared differences between the concepts' learning rates.
        difficulty_decay: weight of the mean squared difficulty of a batch's questions.
        warm_up_epochs: epochs of the warm-up; 0 leaves it out.
        learning_rate: of AdamW.
        structure_rate: of AdamW on the few numbers of evidence, growth, gate and base rates.
        weight_decay: of AdamW; not on these.

    Raises:
        SettingError: a setting is out of range, or (when the data are there) does not fit them.

    >>> tracer = LDSim(num_concepts=4, num_items=6).eval()
    >>> asked, state = Exercise(torch.tensor([[1]]), torch.tensor([5])), tracer.initial_state(1)
    >>> tracer.mastery(tracer.observe(state, asked, torch.ones(1))).shape
    torch.Size([1, 4])
    """

    net: LDSimNet
    teacher: LDSimNet | None

    def __init__(
        self,
        num_concepts: int | None = None,
        num_items: int | None = None,
        graph: str | None = None,
        labels: str | None = None,
        relations: bool = True,
        neighbours: int = 4,
        embedding_size: int = 100,
        hidden_size: int = 100,
        head_size: int = 64,
        dropout: float = 0.4,
        item_dropout: float = 0.1,
        mastery_weight: float = 0.5,
        reasoning_weight: float = 0.5,
        pseudo_weight: float = 0.1,
        pseudo_questions: int = 4,
        teacher_decay: float = 0.99,
        roll_out_weight: float = 0.5,
        practice: Literal["growth", "answers"] = "growth",
        fed: Feed = "hard",
        most_fed: float = 0.5,
        ramp_epochs: int = 5,
        moments: int = 8,
        window_length: int = 16,
        gate: bool = True,
        penalty: float = 2e-3,
        difficulty_decay: float = 1e-2,
        warm_up_epochs: int = 1,
        learning_rate: float = 2e-3,
        structure_rate: float = 2e-2,
        weight_decay: float = 1e-3,
    ) -> None:
        super().__init__(num_concepts, gate, penalty)
        self.save_hyperparameters(arguments(locals()))
        num_items = checked("num_items", num_items, 1)
        sizes = {"embedding_size": embedding_size, "hidden_size": hidden_size, "head_size": head_size}
        counts = {"neighbours": neighbours, "pseudo_questions": pseudo_questions, "moments": moments}
        for name, size in (sizes | counts | {"ramp_epochs": ramp_epochs}).items():
            checked(name, size, 1)
        for name, share in (("dropout", dropout), ("item_dropout", item_dropout), ("teacher_decay", teacher_decay)):
            checked(name, share, 0.0, 1.0)
        self.weights = {
            "mastery": checked("mastery_weight", mastery_weight, 0.0),
            "reasoning": checked("reasoning_weight", reasoning_weight, 0.0),
            "pseudo": checked("pseudo_weight", pseudo_weight, 0.0),
            "roll_out": checked("roll_out_weight", roll_out_weight, 0.0),
        }
        for name, word, allowed in (("practice", practice, ("growth", "answers")), ("fed", fed, ("hard", "sampled"))):
            if word not in allowed:
                raise SettingError(name, word, " or ".join(allowed))
        if graph is not None and not relations:
            raise SettingError("graph", graph, "null with relations=false", "a graph that is not used need not be read")
        self.files, self.item_dropout = (graph, labels), item_dropout
        self.pseudo_questions, self.teacher_decay = pseudo_questions, teacher_decay
        self.fed, self.ramp = fed, (checked_share("most_fed", most_fed), ramp_epochs)
        self.moments, self.window_length = moments, checked("window_length", window_length, 2)
        self.difficulty_decay = checked("difficulty_decay", difficulty_decay, 0.0)
        self.warm_up_epochs = checked("warm_up_epochs", warm_up_epochs, 0)
        self.learning_rate = checked_positive("learning_rate", learning_rate)
        self.structure_rate = checked_positive("structure_rate", structure_rate)
        self.weight_decay = checked("weight_decay", weight_decay, 0.0)
        graph_sizes = (2, neighbours) if relations else (0, 0)
        widths = embedding_size, hidden_size, head_size
        reader = QuestionReader(self.num_concepts, num_items, *widths, *graph_sizes, dropout)
        self.net = LDSimNet(self.num_concepts, reader, practice == "answers")
        self.teacher = copy.deepcopy(self.net).requires_grad_(False) if pseudo_weight else None
        self.val_roll_outs, self.test_roll_outs = AnswerMetrics(), AnswerMetrics()
        self.told: MasteryLabels | None = None
        self.item_concepts: Tensor | None = None

    def connect(self, data: LearnerData) -> None:
        """Take prerequisites from the data, and read the file of relations.

        Raises:
            MissingFileError: the file is not there.
            DataError: it does not fit the data.
        """
        super().connect(data)
        graph, count = self.net.read.graph, self.num_concepts
        if self.files[0] is not None:
            graph.attach(load_concept_relations(self.files[0], data.concept_vocabulary, count))
        elif data.prerequisites is not None and len(data.prerequisites):
            graph.attach(direct_prerequisites(data.prerequisites, count).float())

    @property
    def connected(self) -> bool:
        """Whether prerequisites and the file of relations were taken, where they are wanted."""
        return super().connected and (self.files[0] is None or bool(self.net.read.graph.known))

    def on_fit_start(self) -> None:
        """Read what training alone needs: the labels, and which questions are on which concepts."""
        data = datamodule_of(self.trainer)
        if isinstance(data, LearnerData):
            if self.net.read.num_items != data.num_items:
                raise SettingError("num_items", self.net.read.num_items, f"{data.num_items}, as in the data")
            self.item_concepts = data.item_concepts.to(self.device)
            if self.files[1] is not None:
                self.told = self._labels(self.files[1], data).to(self.device)
        super().on_fit_start()

    def prepare(self) -> None:
        """Start from the share of right answers on each concept, and the graph of answers where there is no other."""
        super().prepare()
        data, graph = datamodule_of(self.trainer), self.net.read.graph
        if isinstance(data, LearnerData) and not bool(graph.known):
            graph.attach(relation_weights(data.interactions("train"), self.num_concepts))
        if self.teacher is not None:
            self.teacher.load_state_dict(self.net.state_dict())

    def stages(self) -> Sequence[Stage]:
        """Return the warm-up, where there is one, and the training of everything."""
        warm_up = Stage("warm-up", self.fit_step, epochs=self.warm_up_epochs or None, select=roll_out_selection)
        joint = Stage("joint", self.fit_step, select=roll_out_selection)
        return [warm_up, joint] if self.warm_up_epochs else [joint]

    def fit_step(self, batch: InteractionBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, with moments of its learners drawn anew."""
        draws = Draws.of(run_seed(), self.current_epoch, batch.learner).at(batch_idx)
        joint = self.stage_number == len(self._stages) - 1
        self.move_teacher()
        with self.net.read.tables_once():
            losses = self.all_losses(batch, draws, joint)
        loss = self.total(losses, len(batch), self.batch_weight(batch))
        # one process must step as several do, in which weights that no term reaches have a gradient of 0, not none
        return loss + 0.0 * sum(one.sum() for one in self.net.parameters() if one.requires_grad)

    def all_losses(self, batch: InteractionBatch, draws: Draws, joint: bool = True) -> dict[str, Tensor]:
        """Return the terms of the loss; `draws` of the batch's rows; those of the warm-up only unless `joint`."""
        hidden = torch.rand_like(batch.correct) < self.item_dropout
        shown = replace(batch, item=batch.item.masked_fill(hidden, PAD))
        found, weight = self.net.readings(shown), self.weights
        target = batch.correct[:, 1:].flatten()[found.place]
        losses = {"answers": mean_cross_entropy(found.logit, target), "penalty": self.penalty * self.net.penalty()}
        if self.difficulty_decay:
            square = self.net.read.difficulties(batch.item[batch.mask]).square()
            losses["difficulty"] = self.difficulty_decay * square.sum() / mean_count(square.new_tensor(len(square)))
        if weight["mastery"]:
            losses["mastery"] = weight["mastery"] * mean_cross_entropy(found.level, target)
        if weight["reasoning"] and self.told is not None:
            number, row, step = self.told.within(batch)
            start, place = _listed(row, step, len(batch))
            at = self.net.moments(shown, found, start)
            logit = at.theta[row * start.shape[1] + place].gather(1, self.told.concept[number, None]).squeeze(1)
            loss, sure = _cross_entropy(logit, self.told.mastery[number]), self.told.confidence[number]
            losses["reasoning"] = weight["reasoning"] * (sure * loss).sum() / mean_count(sure.sum())
        if not joint or not (weight["pseudo"] or weight["roll_out"]):
            return losses
        start = random_starts(batch, self.moments, draws.at(WINDOWS))
        at = self.net.moments(shown, found, start)
        if weight["roll_out"]:
            windows = AnswerWindows.of(shown, start, self.window_length)
            live = windows.live
            logit = self.net.practised_at(at, windows)
            losses["roll_out"] = weight["roll_out"] * mean_cross_entropy(logit[live], windows.correct[live])
            if self.net.own_answers:
                losses["own_answers"] = weight["roll_out"] * self.own_answers_loss(shown, draws)
        if weight["pseudo"] and self.item_concepts is not None and self.teacher is not None:
            losses["pseudo"] = weight["pseudo"] * self.pseudo_loss(batch, shown, start, at, draws)
        return losses

    def own_answers_loss(self, batch: InteractionBatch, draws: Draws) -> Tensor:
        """Return the loss of a window of each row in which own answers are fed, or real ones."""
        first = int(self.stage_state[1])
        fed = self.ramp[0] * min(1.0, (self.current_epoch - first + 1) / self.ramp[1])
        seen = random_starts(batch, 1, draws.at(FED)).squeeze(1)
        with torch.no_grad():
            state = self.net.encode(batch.first(seen))
        ahead, total = following(batch, seen, self.window_length), batch.correct.new_zeros(())
        for step in range(ahead.mask.shape[1]):
            there, real = ahead.mask[:, step], ahead.correct[:, step]
            asked = exercises(ahead.concept[:, step], ahead.item[:, step])
            chance = self.net.predict(state, asked).clamp(1e-6, 1 - 1e-6)
            total = total + (F.binary_cross_entropy(chance, real, reduction="none") * there).sum()
            drawn = draws.at(FED + 1 + step).uniform(2)
            limit = drawn[:, 1] if self.fed == "sampled" else 0.5
            answer = torch.where(drawn[:, 0] < fed, (chance.detach() > limit).to(real), real)
            state = keep_rows(state, self.net.observe(state, asked, answer), there)
        return total / mean_count(ahead.mask.sum())

    def pseudo_loss(
        self, batch: InteractionBatch, shown: InteractionBatch, start: Tensor, at: Moments, draws: Draws
    ) -> Tensor:
        """Return the loss of answers to random unattempted questions at moments, from what the teacher says."""
        items, teacher = self.item_concepts, self.teacher
        if items is None or teacher is None:
            raise SettingError("pseudo_weight", self.weights["pseudo"], "0 without the data's questions")
        count = start.shape[1]
        item = draws.at(QUESTIONS).integers(len(items), count * self.pseudo_questions)
        new = ~(item[:, :, None] == batch.item[:, None, :]).any(2)
        asked = Exercise(items[item], item)
        asked = asked._map(lambda one: one.view(len(at.theta), self.pseudo_questions, *one.shape[2:]))
        with torch.no_grad(), teacher.eval().read.tables_once():
            said = teacher.asked_at(teacher.moments(shown, teacher.readings(shown), start), asked).sigmoid()
            if self.told is not None:
                said = self._blended(said, batch, start, asked)
        loss = _cross_entropy(self.net.asked_at(at, asked), said) * new.view(said.shape)
        return loss.sum() / mean_count(new.sum())

    def move_teacher(self) -> None:
        """Move the teacher towards the network; before a step, so that checkpoints after one hold what comes next."""
        if self.teacher is not None:
            with torch.no_grad():
                for old, new in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
                    old.lerp_(new, 1 - self.teacher_decay)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW, with a rate of its own for what is not a network's weight."""
        few: list[Tensor] = []
        many: list[Tensor] = []
        for name, weight in self.net.named_parameters():
            (many if name.startswith("read.") and name != "read.bias" else few).append(weight)
        groups = [
            {"params": [weight for weight in many if weight.numel()], "weight_decay": self.weight_decay},
            {"params": few, "lr": self.structure_rate, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, self.learning_rate)

    def evaluate(self, batch: InteractionBatch, stage: str) -> dict[str, TensorData]:
        """Predict the answers of a batch, and simulate the second half of its logs."""
        seen = prefix_lengths(batch.lengths, PREFIX)
        ahead = following(batch, seen, LONGEST)
        simulated = simulate(self.net, self.net.encode(batch.first(seen)), ahead, seen, None)
        self._roll_outs(stage).update(simulated.probability, simulated.correct, simulated.mask)
        return super().evaluate(batch, stage)

    def figures(self, stage: str) -> dict[str, Tensor]:
        """Return the figures of next answers, and those of the roll-outs."""
        metrics, figures = self._roll_outs(stage), super().figures(stage)
        figures |= {f"roll_out_{name}": value for name, value in metrics.compute().items()}
        metrics.reset()
        return figures

    def _roll_outs(self, stage: str) -> AnswerMetrics:
        return self.val_roll_outs if stage == "val" else self.test_roll_outs

    def _labels(self, path: str, data: LearnerData) -> MasteryLabels:
        """Return the labels of a file; say how many belong to answers of training learners."""
        labels = load_mastery_labels(path, data.concept_vocabulary)
        log = data.interactions("train")
        size = torch.zeros(int(max(log.learner.max(), labels.learner.max())) + 1 if len(labels) else 1).long()
        size[log.learner] = log.lengths
        there = labels.step <= size[labels.learner] if len(labels) else torch.zeros(0, dtype=torch.bool)
        rank_zero_info(f"{int(there.sum())} of {len(labels)} labels in {path} belong to answers of training learners.")
        if not bool(there.any()):
            rank_zero_warn(f"no label in {path} belongs to an answer of a training learner: it changes nothing.")
        return labels.select(there)

    def _blended(self, said: Tensor, batch: InteractionBatch, start: Tensor, asked: Exercise) -> Tensor:
        """Return the teacher's probabilities [W, A], drawn to a label of the concept at that time by its confidence."""
        if self.told is None or not len(self.told):
            return said
        number, row, step = self.told.within(batch)
        moment = (start[row] == step[:, None]).nonzero()
        one, place = moment[:, 0], row[moment[:, 0]] * start.shape[1] + moment[:, 1]
        sure, level = said.new_zeros(len(said), self.num_concepts), said.new_zeros(len(said), self.num_concepts)
        concept = self.told.concept[number[one]]
        sure[place, concept], level[place, concept] = self.told.confidence[number[one]], self.told.mastery[number[one]]
        first = asked.concept[..., 0].clamp_min(0)
        return torch.lerp(said, level.gather(1, first), sure.gather(1, first))


def roll_out_selection(figures: Figures) -> Tensor:
    """Return what chooses the checkpoint: the AUC of roll-outs, or 1 less their Brier score where it is undefined.

    >>> roll_out_selection({"roll_out_auc": torch.tensor(0.7), "roll_out_brier": torch.tensor(0.2)})
    tensor(0.7000)
    """
    return answer_selection({name: figures[f"roll_out_{name}"] for name in ("auc", "brier")})


def _cross_entropy(logit: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logit, target, reduction="none")


def _listed(row: Tensor, step: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Return the distinct steps of each row [B, S], 0 where unused, and the place of each pair among them, [M].

    >>> _listed(torch.tensor([0, 0, 1]), torch.tensor([3, 3, 2]), 2)
    (tensor([[3],
            [2]]), tensor([0, 0, 0]))
    """
    width = int(step.max()) + 1 if len(step) else 1
    distinct, index = torch.unique(row * width + step, return_inverse=True)
    owner = distinct // width
    first = torch.searchsorted(owner, torch.arange(rows, device=row.device))
    place = torch.arange(len(distinct), device=row.device) - first[owner]
    start = row.new_zeros(rows, int(place.max()) + 1 if len(place) else 1)
    start[owner, place] = distinct % width
    return start, place[index]
