"""Other policies on the same requests."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import LightningModule, Trainer

from lpr_lightning.callbacks.evaluation import RolloutCallback
from lpr_lightning.callbacks.own_simulator import own_simulator, with_simulator
from lpr_lightning.callbacks.replay import Tally, Truth, named_objectives, needed_request, truth_of
from lpr_lightning.callbacks.settings import Stage
from lpr_lightning.demonstrations.baselines import DKTRec, RandomPaths
from lpr_lightning.demonstrations.beam import BeamSearch
from lpr_lightning.errors import SettingError
from lpr_lightning.simulators.rollout import rollout as follow
from lpr_lightning.types import PathPolicy, PathRequest, Rollout, Simulator


class CompareBaselines(RolloutCallback):
    """Lets other policies plan for the same requests, and logs `test/<name>/learning_effect` and their other figures.

    The figures are those of `RolloutMetrics`, the means of the named objectives where the module has them, and, for
    learners of known truth (`trainer.datamodule.truth`), `test/<name>/true_learning_effect` with its interval. Paths
    are followed on a copy of `pl_module.simulator` with random numbers of its own. Steps must return `"request"`
    beside `"rollout"`.

    Args:
        policies: policies to compare with; by default random paths, DKTRec and beam search, the upper bound.
        stages: evaluation stages to compare in.
        objectives: objectives of the module, by name, whose means are logged too.
        seed: of the answers of learners that answer at random.
        every_n_epochs: while fitting, compare only at every n-th epoch.

    Raises:
        SettingError: an argument is out of its range or (when a run starts) the module has no simulator.
    """

    def __init__(
        self,
        policies: Sequence[PathPolicy] | None = None,
        stages: Sequence[Stage] = ("test",),
        objectives: Sequence[str] = ("zpd",),
        seed: int = 0,
        every_n_epochs: int = 1,
    ) -> None:
        super().__init__(stages, every_n_epochs)
        self.policies: list[PathPolicy] = (
            [RandomPaths(), DKTRec(), BeamSearch()] if policies is None else list(policies)
        )
        names = [getattr(policy, "name", None) for policy in self.policies]
        if not all(isinstance(policy, PathPolicy) for policy in self.policies):
            raise SettingError("policies", self.policies, "objects with a name and a method plan(request, simulator)")
        if len(set(names)) < len(names) or any("/" in str(name) for name in names):
            raise SettingError("policies", names, "policies with different names, without a slash")
        self.objectives, self.seed = list(objectives), seed
        self._tallies: dict[str, Tally] = {}
        self._truths: dict[str, Truth] = {}
        self._simulator: Simulator | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module has what is needed."""
        if stage != "predict":
            with_simulator(pl_module, type(self).__name__)

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        """Start from nothing, with a fresh copy of the simulator."""
        seed, device, truth = self.seed + trainer.global_rank, pl_module.device, truth_of(trainer)
        shared = [name for name in self.objectives if name in named_objectives(pl_module)]
        names = [policy.name for policy in self.policies]
        self._simulator = own_simulator(with_simulator(pl_module, type(self).__name__).simulator, seed, device)
        self._tallies = {name: Tally(shared, device) for name in names}
        self._truths = {name: Truth(truth, seed, device) for name in names} if truth is not None else {}

    def take(
        self, trainer: Trainer, pl_module: LightningModule, stage: Stage, rollout: Rollout, request: PathRequest | None
    ) -> None:
        """Let every policy plan for the batch's requests, and see how it goes."""
        request, simulator = needed_request(request, type(self).__name__), self._simulator
        if simulator is None:
            return
        early_stop = bool(getattr(simulator, "early_stop", False))
        for policy in self.policies:
            followed = follow(simulator, request, policy.plan(request, simulator), early_stop=early_stop)
            self._tallies[policy.name].update(followed, pl_module)
            if policy.name in self._truths:
                self._truths[policy.name].update(request, followed.path)

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        """Log the figures of all ranks, and forget the simulators."""
        for name, tally in self._tallies.items():
            figures = tally.compute()
            if name in self._truths:
                figures |= self._truths[name].compute()
            pl_module.log_dict({f"{stage}/{name}/{key}": value for key, value in figures.items()}, sync_dist=True)
        self._tallies, self._truths, self._simulator = {}, {}, None
