"""Indicator-based group relative policy optimisation of learning paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lpr_lightning.bases.agent import Agent
from lpr_lightning.bases.staged import Outputs, Stage, run_seed, warm_and_fall
from lpr_lightning.cache import fingerprint
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked, checked_positive, checked_share
from lpr_lightning.functional.aggregation import Aggregation
from lpr_lightning.functional.clipping import Level
from lpr_lightning.goals import ConceptGoal, Targets
from lpr_lightning.hparams import arguments, built, built_each, plain
from lpr_lightning.models.dkt import DKT
from lpr_lightning.nets.frozen_weights import FrozenWeights
from lpr_lightning.nets.path_decoder import SmallQwen2
from lpr_lightning.nets.path_net import Backbone, PathNet
from lpr_lightning.objectives import (
    Advantage,
    EpsilonIndicator,
    GroupDiversity,
    LearningEffect,
    LengthReward,
    Objective,
    PolicyLoss,
    ZPDAlignment,
)
from lpr_lightning.objectives.policy_loss import Tokens
from lpr_lightning.policies.demonstrations import Demonstrations
from lpr_lightning.policies.planned import ClosedLoop, Planned, follow_paths
from lpr_lightning.policies.sampled_groups import GroupSampler
from lpr_lightning.policies.search import FoundPaths
from lpr_lightning.policies.under_way import TakenUp
from lpr_lightning.policies.under_way import under_way as taken_up
from lpr_lightning.protocols import Act, Connected, Environment, Examples, Simulator
from lpr_lightning.ranks import mean_count
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.rollout import request_draws
from lpr_lightning.tasks.path_requests import vary_requests
from lpr_lightning.types import PAD, PathRequest, Rollout, State, TensorData

POOL = 10_000
"""Most training requests whose targets varied requests draw from."""
ROWS = 256
"""Training requests whose demonstrations are followed at a time when objectives are fitted."""


class Later(NamedTuple):
    """Training requests taken up in the middle of a path, their demonstrations, and the estimated mastery [E, N]."""

    examples: TakenUp
    found: FoundPaths
    known: Tensor | None


class IBGRPOPolicy(Agent):
    """Recommends learning paths; learns them from demonstrations, then by IB-GRPO (arXiv 2601.14686).

    Before the first stage, searches find demonstrations for every training request, and the objectives are fitted.
    Stage 1, `behaviour cloning` (eq. 7), follows the demonstrations for `clone_epochs` epochs; stage 2, `IB-GRPO`,
    improves the policy on its own paths: K for each request, one reward for each objective, advantages within the
    group (eq. 9-11), clipped policy gradient (eq. 12). Batches are `PathRequest`; steps return
    `{"request", "rollout"}`.

    Differs from the paper:
    1. The policy is a small decoder over concept tokens, trained from scratch, instead of Qwen2.5-7B on text.
    2. Demonstrations come from a genetic and a greedy search; `demonstrations` can name others, and teachers.
    3. The default advantage standardises logarithms of the paper's sums over dominance, after which one badly dominated
       path does not make all others of its group look alike (`EpsilonIndicator(transform="exp")` is the paper to the
       letter).
    4. Requests whose targets are all mastered at the start have no learning effect and are passed over in training.
    5. Where an episode ends early, tokens behind its end get no credit.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        simulator: what answers as the learner, over concepts; default `KESSimulator` over a `DKT`.
        goal: what a path is for; default the targets of each request under a hard exam.
        objectives: what a path is judged by; default the paper's four (eq. 1-5).
        advantage: how rewards become advantages.
        backbone: the policy's network: a `SmallQwen2` over tokens, or a `ConceptScorer` of what is known of each
            concept.
        estimator: whose estimates of the learners' mastery the network reads, if it reads any; default the simulator.
        demonstrations: the searches and teachers that make demonstrations.
        early_stop: end an episode once its exam is full.
        replan: in validation, test and prediction, plan anew after each answer instead of once.
        group_size: K, paths for each request.
        clone_epochs: epochs of behaviour cloning before IB-GRPO begins; 0 leaves it out.
        clone_learning_rate: of AdamW while cloning; falls to a tenth.
        learning_rate: of AdamW while improving; falls to a tenth.
        clone_effect: demonstrations below this learning effect are not cloned.
        temperature: of the policy that is improved, above 0. Below 1 it lies closer to the likeliest path, which is
            what is recommended.
        clip_low: how far a ratio may fall below 1 (paper: 0.2).
        clip_high: how far it may rise above 1 (paper: 0.28).
        ratio: `token` or `sequence` (as eq. 12 is written).
        aggregation: how the losses of tokens are averaged: `grpo`, `dapo` or `dr_grpo` (see `PolicyLoss`); None takes
            `dapo` with ratios of tokens and `grpo`, as eq. 12, with those of sequences.
        dynamic_sampling: how often paths of a request that are alike in every objective are sampled again (DAPO, arXiv
            2503.14476, section 3.2); those that stay alike count in no average. 0, as in the paper, samples once and
            counts them.
        kl_weight: weight of the divergence from the policy as it is when IB-GRPO begins (GRPO, arXiv 2402.03300, eq. 4;
            0 is the paper).
        updates: gradient steps on each set of sampled paths; above 1 the clipping comes into play.
        varied: share of training requests that are changed at every step, from 0 to 1: history cut at a random place,
            another learner's targets. Keeps the policy from learning its training learners by heart (ours; 0 is the
            paper).
        under_way: share of training requests that are taken up in the middle of a path, from 0 to 1: the policy has
            gone some of its steps, and learners gave answers that the simulator draws (ours; 0 is the paper). For
            `replan`.
        entropy_weight: weight of an entropy bonus (ours; 0 is the paper).
        weight_decay: of AdamW.
        max_grad_norm: gradients are clipped to this norm.

    Raises:
        SettingError: a setting is out of range, or (when a fit starts) the data make no requests for paths.
    """

    def __init__(
        self,
        num_concepts: int | None = None,
        simulator: Simulator | None = None,
        goal: ConceptGoal | None = None,
        objectives: Sequence[Objective] | None = None,
        advantage: Advantage | None = None,
        backbone: Backbone | None = None,
        estimator: Simulator | None = None,
        demonstrations: Demonstrations | None = None,
        early_stop: bool = False,
        replan: bool = False,
        group_size: int = 16,
        clone_epochs: int = 4,
        clone_learning_rate: float = 1e-3,
        learning_rate: float = 3e-4,
        clone_effect: float = 0.5,
        temperature: float = 1.0,
        clip_low: float = 0.2,
        clip_high: float = 0.28,
        ratio: Level = "token",
        aggregation: Aggregation | None = None,
        dynamic_sampling: int = 0,
        kl_weight: float = 0.0,
        updates: int = 1,
        varied: float = 0.0,
        under_way: float = 0.0,
        entropy_weight: float = 0.0,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
    ) -> None:
        settings = arguments(locals())
        chosen = built(simulator, Simulator) or KESSimulator(DKT(num_concepts))
        paper: list[Objective] = [LearningEffect(), ZPDAlignment(), LengthReward(), GroupDiversity()]
        wanted = built_each(objectives, Objective) if objectives is not None else paper
        super().__init__(num_concepts, chosen, built(goal, ConceptGoal) or Targets(), wanted, early_stop)
        self.save_hyperparameters(settings)
        for name, count, least in (
            ("group_size", group_size, 2),
            ("clone_epochs", clone_epochs, 0),
            ("updates", updates, 1),
            ("dynamic_sampling", dynamic_sampling, 0),
        ):
            checked(name, count, least)
        for name, number in (
            *(("temperature", temperature), ("learning_rate", learning_rate)),
            *(("clone_learning_rate", clone_learning_rate), ("max_grad_norm", max_grad_norm)),
        ):
            checked_positive(name, number)
        checked_share("varied", varied)
        checked_share("under_way", under_way)
        self.loss = PolicyLoss(clip_low, clip_high, ratio, aggregation, kl_weight, entropy_weight)
        if len(chosen.actions) != self.num_concepts:
            raise SettingError("simulator.actions", len(chosen.actions), "concepts, which this policy recommends")
        self.automatic_optimization = False
        self.advantage: Advantage = built(advantage, Advantage) or EpsilonIndicator()
        self.advantage.check(self.objectives.names)
        self.demonstrations = built(demonstrations, Demonstrations) or Demonstrations()
        self.net: PathNet = (built(backbone, Backbone) or SmallQwen2()).build(self.num_concepts)
        self.estimator = built(estimator, Simulator)
        if self.estimator is not None and self.estimator.num_concepts != self.num_concepts:
            raise SettingError("estimator", self.estimator.num_concepts, f"a simulator of {num_concepts} concepts")
        self.group_size, self.clone_epochs, self.clone_effect = group_size, clone_epochs, clone_effect
        self.temperature, self.updates, self.varied, self.under_way = temperature, updates, varied, under_way
        self.dynamic_sampling = dynamic_sampling
        self.reference = FrozenWeights(self.net) if kl_weight > 0 else None
        self.rates = {"clone": clone_learning_rate, "improve": learning_rate}
        self.weight_decay, self.max_grad_norm = weight_decay, max_grad_norm
        self._policy = ClosedLoop(self, self._reader()) if replan else Planned(self)
        self._found: FoundPaths | None = None
        self._known: Tensor | None = None
        self._later: Later | None = None
        self._pool: Tensor | None = None

    def stages(self) -> Sequence[Stage]:
        """Return cloning, unless there is none, and improvement."""
        rates = {"policy": self.rates["improve"]}
        improve = Stage("IB-GRPO", self.improve, rates, schedule=warm_and_fall, begin=self._take_reference)
        if not self.clone_epochs:
            return [improve]
        rates = {"policy": self.rates["clone"]}
        return [Stage("behaviour cloning", self.clone, rates, self.clone_epochs, schedule=warm_and_fall), improve]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over the policy; the stages set the learning rate at every step."""
        weights = [weight for weight in self.net.parameters() if weight.requires_grad]
        group = {"params": weights, "name": "policy"}
        return torch.optim.AdamW([group], self.rates["improve"], betas=(0.9, 0.95), weight_decay=self.weight_decay)

    @property
    def horizon(self) -> int | None:
        """Most steps of paths that the network ends itself; None where they have the wanted length."""
        return self.net.horizon

    @property
    def demonstrated(self) -> tuple[FoundPaths | None, list[str]]:
        """The demonstrations of training requests, None before they are there; the source of each request's paths."""
        return self._found, self.demonstrations.sources

    def forward(self, request: PathRequest) -> Tensor:
        """Return the likeliest path for each request, [B, L] int64, -1 after its end."""
        return self.net.sample(request, mastery=self.estimated(request)).path

    def plan(self, request: PathRequest) -> Tensor:
        """Return the same: what a path is planned by."""
        path: Tensor = self(request)
        return path

    def next_step(self, request: PathRequest, mastery: Tensor | None) -> Tensor:
        """Return the first step of the likeliest path, [B], -1 where it has none."""
        path = self.net.sample(request, mastery=mastery, steps=1).path
        return path[:, 0] if path.shape[1] else torch.full_like(request.length, PAD)

    @torch.no_grad()
    def estimated(self, request: PathRequest) -> Tensor | None:
        """Return the learners' estimated mastery after their histories, [B, N]; None where the network reads none."""
        reader = self._reader()
        return None if reader is None else reader.mastery(reader.start(request))

    def _reader(self) -> Simulator | None:
        return (self.estimator or self.simulator) if self.net.reads_mastery else None

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Plan the paths, or get ready to plan at each step."""
        return self._policy.begin(environment, request)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the next step of each path."""
        return self._policy.act(environment, state, concept, draws)

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Go on by one step."""
        return self._policy.see(environment, state, action, correct)

    def prepare(self) -> None:
        """Find demonstrations, and fit the objectives on what they teach training learners."""
        super().prepare()
        if isinstance(self.net, Connected):
            self.net.connect(self.data())
        found, examples = self._demonstrated(), self.data().examples("train")
        followed: list[Rollout] = []
        for index in torch.split(torch.arange(len(found.path)), ROWS):
            request = self._requests(examples.batch(index))
            path = found.path[index].to(self.device)
            draws = request_draws(run_seed(), -1, request)
            followed.append(self._follow(request, path.flatten(0, 1), draws))
        self.objectives.fit_paths(Rollout.join(followed))

    def clone(self, request: PathRequest, batch_idx: int) -> Outputs:
        """Take one step of eq. 7 on the demonstrations of these requests, the end of the path included."""
        found = self._demonstrated()
        known = self._known
        draws = Draws.of(run_seed(), self.global_step, torch.zeros(1, dtype=torch.int64, device=self.device))
        if self._later is not None and bool(draws.uniform() < self.under_way):  # alike on every rank
            examples, found, known = self._later
            request = examples.batch(request.row.cpu())
        path, effect = (part[request.row.cpu()].to(self.device) for part in found)
        mastery = None if known is None else known[request.row]
        log_prob, mask, _ = self.net.log_prob(request, path.flatten(0, 1), path.shape[1], mastery=mastery)
        mask = mask & (effect.flatten() >= self.clone_effect)[:, None]
        loss = -(log_prob * mask).sum() / mean_count(mask.sum())
        self.descend(loss, self.max_grad_norm)
        self.count_step()
        self._log_train({"loss": loss, "loss_clone": loss}, len(request))
        return {"request": request}

    def improve(self, request: PathRequest, batch_idx: int) -> Outputs:
        """Sample paths, let learners follow them, and take clipped policy-gradient steps (eq. 8-12)."""
        draws = request_draws(run_seed(), self.global_step, request)
        if self.varied > 0:
            request = vary_requests(request, self.varied, self._target_pool(), draws.at(0))
        if self.under_way > 0:
            request = self._advanced(request, draws.at(3))
        unfinished = self._unfinished(request)
        some = bool(unfinished.any())  # of this process; without any it takes part with a loss of 0
        if some:
            request, draws = request.select(unfinished), draws.select(unfinished)
        mastery = self.estimated(request)
        rounds = self.dynamic_sampling
        sample = GroupSampler(self.net, self._follow, self.objectives, self.group_size, self.temperature, rounds)
        groups = sample(request, mastery, draws)
        sampled, taught = groups.sampled, groups.rollout
        counted = len(request) if some else 0
        advantage = self.advantage({name: reward[:counted] for name, reward in groups.rewards.items()}).flatten()
        advantage = advantage if some else advantage.new_zeros(len(taught))
        taken = taught.length + (~taught.stopped).long()  # the end is the policy's own unless stopped
        counts = ~groups.alike.repeat_interleave(self.group_size) if rounds else torch.ones_like(taught.stopped)
        asked = (request, sampled, self.group_size, self.temperature, mastery)
        reference: Tensor | None = None
        if self.reference is not None:
            with self.reference.in_place(self.net):
                reference = self.net.log_prob_of(*asked)[0]
        for _ in range(self.updates):
            log_prob, mask, entropy = self.net.log_prob_of(*asked)
            width = log_prob.shape[1]
            mask = mask & some & sampled.before(taken, width) & counts[:, None]
            old = log_prob.detach() if self.updates == 1 else sampled.log_prob[:, :width]
            tokens = Tokens(log_prob, old, reference, entropy, mask)
            loss, figures = self.loss(tokens, advantage, self.net.most_choices(request))
            self.descend(loss, self.max_grad_norm)
        self.count_step()
        figures |= {name: reward.mean() for name, reward in groups.rewards.items()}
        figures["path_length"] = taught.length.float().mean()
        if sampled.dropped is not None:
            figures["dropped_names"] = sampled.dropped.float().mean()
        self._log_train(figures, len(request))
        return {"request": request, "rollout": taught}

    def _follow(self, request: PathRequest, path: Tensor, draws: Draws) -> Rollout:
        """Let the learners of each request follow K paths."""
        count = len(path) // max(len(request), 1)
        return follow_paths(self.simulator, self.goal, request, path, draws, count, self.early_stop)

    def _take_reference(self) -> None:
        """Keep the policy as it is now, which the divergence is measured from."""
        if self.reference is not None:
            self.reference.take(self.net)

    @torch.no_grad()
    def _advanced(self, request: PathRequest, draws: Draws) -> PathRequest:
        """Return the requests, a share of them after the first steps of a path that the policy samples."""
        changed = draws.at(0).uniform() < self.under_way
        steps = torch.where(changed, draws.at(1).integers(request.length.clamp_min(1)), 0)
        self.net.eval()
        path = self.net.sample(request, 1, self.temperature, draws.at(2), self.estimated(request)).path
        self.net.train()
        return taken_up(Environment(self.simulator, self.goal), request, path, steps, draws.at(3))

    @torch.no_grad()
    def _unfinished(self, request: PathRequest) -> Tensor:
        """Return which requests have something left to learn."""
        state = self.simulator.start(request)
        standing = self.goal.assess(self.simulator, state, self.goal.choose(self.simulator, state, request))
        return standing.score < standing.best

    def _demonstrated(self) -> FoundPaths:
        if self._found is None:
            data = self.data()
            examples = data.examples("train")
            if isinstance(self.demonstrations, Connected):
                self.demonstrations.connect(data)
            tasks = list(data.tasks.values())
            weights = [task.state_dict() if isinstance(task, nn.Module) else {} for task in tasks]
            key = [data.fingerprint, plain(tasks), *map(fingerprint, weights)]
            environment = Environment(self.simulator, self.goal)
            self._found = self.demonstrations.find(environment, examples, key, self.device)
            self._known = self._estimated_all(examples)
            if self.under_way > 0 and self.clone_epochs:
                taken_up = TakenUp(examples, self._found.path[:, 0], environment, run_seed(), self.device)
                found = self.demonstrations.find(environment, taken_up, [*key, "taken up", run_seed()], self.device)
                self._later = Later(taken_up, found, self._estimated_all(taken_up))
        return self._found

    def _estimated_all(self, examples: Examples) -> Tensor | None:
        """Return the estimated mastery after the histories of all requests, [E, N]; None where it is not read."""
        rows = torch.split(torch.arange(len(examples.sizes)), ROWS) if self.net.reads_mastery else ()
        known = (self.estimated(self._requests(examples.batch(index))) for index in rows)
        found = [mastery for mastery in known if mastery is not None]
        return torch.cat(found) if found else None

    def _target_pool(self) -> Tensor:
        """Return the targets of training requests, [E, N]."""
        if self._pool is None:
            examples = self.data().examples("train")
            some = torch.linspace(0, len(examples.sizes) - 1, min(len(examples.sizes), POOL)).round().long()
            self._pool = torch.cat([self._requests(examples.batch(i)).targets for i in torch.split(some, ROWS)])
        return self._pool

    def _requests(self, batch: TensorData) -> PathRequest:
        if not isinstance(batch, PathRequest):
            raise SettingError("data.task", type(batch).__name__, "a task that makes requests, such as PathRequests")
        return batch.to(self.device)

    def _log_train(self, figures: dict[str, Tensor], batch_size: int) -> None:
        for name, value in figures.items():
            shown = name in ("loss", "learning_effect")
            self.log(f"train/{name}", value.detach(), prog_bar=shown, batch_size=batch_size)
