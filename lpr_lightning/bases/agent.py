"""What every policy that learns has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection

from lpr_lightning.bases.staged import Staged, datamodule_of, figures_name
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.functional.diversity import path_diversity
from lpr_lightning.functional.learning_effect import learning_effect, learning_effect_defined
from lpr_lightning.functional.length import length_score
from lpr_lightning.goals import ConceptGoal, Targets
from lpr_lightning.hparams import built
from lpr_lightning.metrics import FrontFigures, RolloutMetrics
from lpr_lightning.objectives import Objective, Objectives
from lpr_lightning.protocols import Act, Environment, LearnerData, Simulator
from lpr_lightning.simulators.actions import ActionSet
from lpr_lightning.simulators.expected_answers import expected_answers
from lpr_lightning.simulators.rollout import request_draws, rollout
from lpr_lightning.types import PathRequest, Rollout, State, TensorData

REFERENCE = (-1.0, 0.0, 0.0, 0.0)
"""The worst that counts for the hypervolume of learning effect, length score, path diversity and ZPD alignment."""
IDEAL = (1.0, 1.0, 1.0, 1.0)
"""The best that there can be of each of them, which IGD+ is measured from."""
EVALUATION_SEED = 0
"""Seed of random answers in validation, test and prediction: the same learners answer alike in every one of them."""


class Agent(Staged):
    """A policy that learns on a simulator: a LightningModule and a `protocols.Policy` in one.

    Batches are `PathRequest`. Validation, test and prediction let learners be taught by the module itself, which
    begins, acts and sees; steps return `{"request", "rollout"}`. Logged are the figures of `RolloutMetrics`, the mean
    of every objective by its name, and, where there is an objective `zpd`, hypervolume, non-dominated share and IGD+ of
    the set of all requests' points. A subclass gives `begin`, `act` and `see`, `stages`, and an optimizer.

    Args:
        num_concepts: number of concepts of the data.
        simulator: what answers as the learner.
        goal: what a path is for; default the targets of each request.
        objectives: what a path is judged by.
        early_stop: end an episode once its exam is full.

    Raises:
        SettingError: `num_concepts` is missing, or the simulator is of other data.
    """

    monitor = ("val/learning_effect", "max")
    name = "policy"

    def __init__(
        self,
        num_concepts: int | None,
        simulator: Simulator,
        goal: ConceptGoal | None = None,
        objectives: Sequence[Objective] = (),
        early_stop: bool = False,
    ) -> None:
        super().__init__()
        self.num_concepts = checked("num_concepts", num_concepts, 1)
        if simulator.num_concepts != self.num_concepts:
            raise SettingError("simulator", simulator.num_concepts, f"a simulator of {num_concepts} concepts")
        self.simulator = simulator
        self.goal: ConceptGoal = built(goal, ConceptGoal) or Targets()
        self.objectives = Objectives(objectives)
        self.objectives.configure(self.num_concepts)
        self.early_stop = early_stop
        self.val_figures, self.test_figures = (AgentFigures(self.objectives.names, count) for count in (0, 1000))

    def setup(self, stage: str) -> None:
        """Connect actions to the trainer's data where nobody has."""
        data = datamodule_of(self.trainer)
        for part in self.modules():
            if isinstance(part, ActionSet) and not part.connected and isinstance(data, LearnerData):
                part.connect(data)

    @property
    def horizon(self) -> int | None:
        """Most steps of an episode; None takes the wanted length of each request."""
        return None

    def prepare(self) -> None:
        """Fit goal and objectives on the answer logs of training learners."""
        log = self.data().interactions("train")
        self.goal.fit(log)
        self.objectives.fit(log)

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the policy's state before the first step."""
        raise NotImplementedError

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Choose the next action."""
        raise NotImplementedError

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Return the policy's state after the answers."""
        raise NotImplementedError

    def teach(self, request: PathRequest) -> Rollout:
        """Return what happens when learners are taught by the likeliest actions."""
        draws = request_draws(EVALUATION_SEED, 0, request)
        return rollout(
            self.simulator, self.goal, request, self, draws, horizon=self.horizon, early_stop=self.early_stop
        )

    def validation_step(self, request: PathRequest, batch_idx: int) -> dict[str, TensorData]:
        """Let validation learners be taught."""
        return self.evaluate(request, self.val_figures)

    def on_validation_epoch_end(self) -> None:
        """Log what was achieved."""
        self.validated(self.report("val", self.val_figures))

    def test_step(self, request: PathRequest, batch_idx: int) -> dict[str, TensorData]:
        """Let test learners be taught."""
        return self.evaluate(request, self.test_figures)

    def on_test_epoch_end(self) -> None:
        """Log what was achieved."""
        self.report(figures_name(self.trainer, "test"), self.test_figures)

    def predict_step(self, request: PathRequest, batch_idx: int) -> dict[str, TensorData]:
        """Return the recommended paths, and what the simulator expects of them.

        Raises:
            SettingError: paths lead to targets, and a request has none.
        """
        if isinstance(self.goal, Targets) and not bool(request.targets.any(1).all()):
            allowed = "a CSV file with targets for every learner"
            raise SettingError("predict_goals", "requests without targets", allowed, "paths are planned towards them")
        return {"request": request, "rollout": self.foresee(request)}

    def foresee(self, request: PathRequest) -> Rollout:
        """Return what is recommended, and what the simulator expects: answers that it would draw are expected ones."""
        learners = expected_answers(self.simulator)
        if learners is self.simulator:
            return self.teach(request)
        return rollout(
            *(learners, self.goal, request, self),
            horizon=self.horizon,
            early_stop=self.early_stop,
            model=self.simulator,
        )

    def evaluate(self, request: PathRequest, figures: AgentFigures) -> dict[str, TensorData]:
        """Teach the learners of a batch and count how it went."""
        taught = self.teach(request)
        figures.update(taught, self.objectives(taught))
        return {"request": request, "rollout": taught}

    def report(self, stage: str, figures: AgentFigures) -> dict[str, Tensor]:
        """Log the figures of a stage as `<stage>/<name>`, and return them."""
        found = figures.compute()
        figures.reset()
        for name, value in found.items():
            self.log(f"{stage}/{name}", value, prog_bar=stage == "val" and name == "learning_effect", sync_dist=True)
        return found


class AgentFigures(nn.Module):
    """The figures of rollouts: those of `RolloutMetrics`, the mean of every objective, those of `FrontFigures`.

    The front is that of the set of all points (learning effect, length score, path diversity, ZPD alignment), of rows
    with something to learn; there is none without an objective `zpd`. Of an objective and a figure of the same
    name the figure is reported.

    Args:
        objectives: names of the objectives.
        bootstrap: resamples of the interval.
    """

    def __init__(self, objectives: Sequence[str], bootstrap: int) -> None:
        super().__init__()
        self.metrics, self.front = RolloutMetrics(bootstrap), FrontFigures(REFERENCE, IDEAL)
        self.means = MetricCollection({name: MeanMetric() for name in objectives}, compute_groups=False)

    def update(self, taught: Rollout, values: Mapping[str, Tensor]) -> None:
        """Add a batch with the objectives' values [B]."""
        self.metrics.update(taught)
        for name, mean in self.means.items():
            mean.update(values[name])
        if "zpd" in values:
            self.front.update(points(taught, values["zpd"]))

    def compute(self) -> dict[str, Tensor]:
        """Return all figures over all ranks as scalars."""
        figures = {name: mean.compute() for name, mean in self.means.items()} | self.metrics.compute()
        return figures | (self.front.compute() if "zpd" in figures else {})

    def reset(self) -> None:
        """Forget everything."""
        for metric in (self.metrics, self.front, *self.means.values()):
            metric.reset()


def points(taught: Rollout, zpd: Tensor) -> Tensor:
    """Return learning effect, length score, path diversity and ZPD alignment of rows that may still learn, [R, 4]."""
    defined = learning_effect_defined(taught.score_before, taught.score_max)
    effect = learning_effect(taught.score_before, taught.score_after, taught.score_max)
    length = length_score(taught.length, taught.wanted_length, stopped=taught.stopped)
    columns = (effect, length, path_diversity(taught.action), zpd)
    return torch.stack([column.float() for column in columns], 1)[defined]
