"""Whether the simulator prefers the paths that teach most in truth."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lpr_lightning.callbacks.compare_baselines import connect_policies
from lpr_lightning.callbacks.evaluation import RolloutCallback, Stage
from lpr_lightning.callbacks.module_parts import episodes_of
from lpr_lightning.callbacks.true_effect import needed_request, true_learners
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.functional.bootstrap import bootstrap_mean_interval
from lpr_lightning.functional.rank_fidelity import rank_fidelity, rank_fidelity_defined
from lpr_lightning.policies import BeamSearch, PrerequisiteRule, TargetActions, TargetsInTurn
from lpr_lightning.policies.mixed_paths import fitted_length, mixed_paths, path_gains
from lpr_lightning.protocols import Environment, HasEpisodes, Policy, Simulator
from lpr_lightning.ranks import gathered
from lpr_lightning.simulators.rollout import request_draws, rollout
from lpr_lightning.types import PathRequest, Rollout

SEED = 47
"""Of the sample of learners, the paths and the true answers."""


class RankFidelity(RolloutCallback):
    """Logs `test/rank_fidelity`: the rank correlation of the simulator's gain with the true one, within learners.

    A sample of learners follows the same mixed paths in the simulator and in truth: the module's own path, one of each
    policy, and of the rest a quarter each drawn from all actions, drawn from those on targets, drawn from both in a
    share that differs from path to path, and mutations of the policies' paths. The gain is that of soft marks; in truth
    it is the mean over `draws` draws of the answers. Logged is the mean of `functional.rank_fidelity` over learners
    with its 95 % interval (`rank_fidelity_low`, `…_high`). A simulator may promise too much of every path and be
    faithful; one that is not leads whoever plans in it astray.

    Nothing is logged where the datamodule has no learners of known truth. The sample and the paths depend on the
    requests' rows alone, not on batches or processes. Steps must return `"request"` beside `"rollout"`.

    Args:
        policies: whose paths are among the mixed ones; default targets in turn, the prerequisite rule and beam search.
        paths: paths of each learner.
        learners: most learners looked at.
        draws: draws of the true answers to each path.
        stages: evaluation stages to look at.
        every_n_epochs: while fitting, look only at every n-th epoch.

    Raises:
        SettingError: an argument is out of its range, the module lacks a simulator or a goal, or a step returns no
            request.
    """

    def __init__(
        self,
        policies: Sequence[Policy] | None = None,
        paths: int = 48,
        learners: int = 64,
        draws: int = 8,
        stages: Sequence[Stage] = ("test",),
        every_n_epochs: int = 1,
    ) -> None:
        super().__init__(stages, every_n_epochs)
        usual: list[Policy] = [TargetsInTurn(), PrerequisiteRule(), BeamSearch()]
        self.policies = usual if policies is None else list(policies)
        self.learners, self.draws = checked("learners", learners, 1), checked("draws", draws, 1)
        self.paths = checked("paths", paths, 2)
        if paths <= len(self.policies) + 1:
            allowed = f"more than {len(self.policies) + 1}, one for each policy and one for the module"
            raise SettingError("paths", paths, allowed)
        self._truth: Simulator | None = None
        self._sample: list[tuple[Tensor, PathRequest, Tensor]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module has what is needed, and connect the policies to the data."""
        if stage != "predict":
            episodes_of(pl_module, type(self).__name__)
            connect_policies(self.policies, trainer)

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start from nothing."""
        self._truth, self._sample = true_learners(trainer, pl_module), []

    def take(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, rollout: Rollout, request: PathRequest | None
    ) -> None:
        """Add the learners of a batch to the sample, as far as they belong to it so far."""
        if self._truth is None:
            return
        request = needed_request(request, type(self).__name__)
        own = rollout.action[:: len(rollout) // max(len(request), 1)] if len(request) else rollout.action
        order = request_draws(SEED, 0, request).uniform().masked_fill(request.length < 1, torch.inf)
        self._sample.append((order, request, own))
        self._keep(torch.cat([part[0] for part in self._sample]))

    def finish(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log the mean over the sample of all ranks."""
        if self._truth is None:
            return
        device = pl_module.device
        own = [part[0] for part in self._sample]
        self._keep(gathered(torch.cat(own) if own else torch.empty(0, device=device), device).to(device))
        episodes, found = episodes_of(pl_module, type(self).__name__), [torch.empty(0, device=device)]
        found += [self._fidelity(episodes, self._truth, request, path) for _, request, path in self._sample]
        value = gathered(torch.cat(found), device).to(device).sort().values
        low, high = bootstrap_mean_interval(value, 1000, SEED)
        figures = {"": value.mean(), "_low": low, "_high": high}
        pl_module.log_dict({f"{stage}/rank_fidelity{name}": one for name, one in figures.items()}, sync_dist=True)
        self._truth, self._sample = None, []

    def _keep(self, order: Tensor) -> None:
        """Forget whoever is not among the first learners by `order` [R]."""
        last = order.sort().values[: self.learners][-1:]
        kept = [(part, part[0] <= last if len(last) else part[0] < 0) for part in self._sample]
        self._sample = [(one[0][k], one[1].select(k), one[2][k]) for one, k in kept if bool(k.any())]

    def _fidelity(self, episodes: HasEpisodes, truth: Simulator, request: PathRequest, own: Tensor) -> Tensor:
        """Return the fidelity of each learner for whom there is one, [R]."""
        path = self._mixed(episodes, request, own)
        simulated = path_gains(episodes.simulator, episodes.goal, request, path, None)
        draws = request_draws(SEED, 2, request)
        true = path_gains(truth, episodes.goal, request, path.repeat_interleave(self.draws, 1), draws)
        true = true.view(*simulated.shape, self.draws).mean(2)
        return rank_fidelity(simulated, true)[rank_fidelity_defined(simulated, true)]

    def _mixed(self, episodes: HasEpisodes, request: PathRequest, own: Tensor) -> Tensor:
        """Return the paths of each learner, [B, K, L], -1 from the wanted length on."""
        environment = Environment(episodes.simulator, episodes.goal)
        draws, length = request_draws(SEED, 1, request), int(request.length.max())
        taught = [rollout(*environment, request, policy, draws).action for policy in self.policies]
        planned = torch.stack([fitted_length(path, length) for path in (own, *taught)], 1)
        state = episodes.simulator.start(request)
        concept = episodes.goal.choose(episodes.simulator, state, request)
        allowed = TargetActions().allowed(environment, state, concept)
        return mixed_paths(planned, allowed, request.length, self.paths - planned.shape[1], draws)
