"""What agents have in common that choose step by step: what they see, what they remember, how they descend."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, distributed, nn

from lpr_lightning.bases.agent import Agent
from lpr_lightning.bases.replay import Episodes, unpacked_bits
from lpr_lightning.bases.staged import run_seed
from lpr_lightning.draws import Draws
from lpr_lightning.errors import NonFiniteError, SettingError, checked_positive, checked_share
from lpr_lightning.functional.prerequisites import ancestors, direct_prerequisites
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import built
from lpr_lightning.nets.action_nets import ActionNet, Observation, Sizes, times_taken
from lpr_lightning.nets.encoders import Encoder, Memory, TracerState
from lpr_lightning.objectives import Objective
from lpr_lightning.objectives.step_rewards import AttainableGain, StepReward
from lpr_lightning.protocols import Act, Connected, Environment, Simulator
from lpr_lightning.ranks import rank_and_world
from lpr_lightning.simulators.rollout import request_draws, rollout
from lpr_lightning.types import PAD, PathRequest, Rollout, State

Candidates = Literal["all", "closure", "targets"]
"""Which actions may be taken."""
LEFT, TAKEN, KNOWN = 0, 1, 2
"""Places in a policy's state: steps left, actions taken, where the encoder's state begins."""


class Part(NamedTuple):
    """What one optimizer trains, and how fast."""

    weights: Sequence[nn.Parameter]
    rate: float


class StepAgent(Agent):
    """An agent that sees an encoded learner, the goal's concepts, the steps left and what was taken, and acts on it.

    A subclass gives `parts`, the weights of each optimizer by name, `choose`, and stages whose steps `play` episodes,
    call `descend_part` as often as they like, and `count_step` once a batch. State of the policy: steps left [B], the
    actions taken [B, L], then the encoder's. The horizon's end is terminal: what comes behind it is worth nothing.

    Args:
        num_concepts: number of concepts of the data.
        simulator: what answers as the learner; its actions are the agent's.
        goal: what a path is for; default the targets of each request.
        objectives: what a path is judged by.
        early_stop: end an episode once its exam is full.
        encoder: what the agent sees of a learner; default `TracerState`.
        reward: what a step is worth; default `AttainableGain`.
        discount: gamma, from 0 to 1; episodes are short, so that 1 is fine.
        candidates: which actions may be taken: `all`, those on the `targets`, or on their `closure`, the targets and
            all that they build on, where the data have prerequisites. Others have no probability, no value and no part
            in any target.
        repeats: an action may be taken again within an episode; if False, those taken are no candidates, unless all
            were.
        max_grad_norm: gradients are clipped to this norm.

    Raises:
        SettingError: a setting is out of range, or (when a fit starts) the trainer's precision or strategy can't work.
    """

    ancestors: Tensor

    def __init__(
        self,
        num_concepts: int | None,
        simulator: Simulator,
        goal: ConceptGoal | None = None,
        objectives: Sequence[Objective] = (),
        early_stop: bool = False,
        encoder: Encoder | None = None,
        reward: StepReward | None = None,
        discount: float = 1.0,
        candidates: Candidates = "all",
        repeats: bool = True,
        max_grad_norm: float = 10.0,
    ) -> None:
        super().__init__(num_concepts, simulator, goal, objectives, early_stop)
        self.automatic_optimization = False
        self.encoder: Encoder = built(encoder, Encoder) or TracerState()
        self.encoder.configure(simulator)
        self.reward: StepReward = built(reward, StepReward) or AttainableGain()
        if candidates not in get_args(Candidates):
            raise SettingError("candidates", candidates, f"one of {', '.join(get_args(Candidates))}")
        self.discount, self.candidates, self.repeats = checked_share("discount", discount), candidates, repeats
        nothing = torch.zeros(self.num_concepts, self.num_concepts, dtype=torch.bool)
        self.register_buffer("ancestors", nothing if candidates == "closure" else nothing[:0])
        self.max_grad_norm = checked_positive("max_grad_norm", max_grad_norm)
        self.sizes = Sizes(self.encoder.size, self.encoder.channels, self.num_concepts, len(simulator.actions))

    @abstractmethod
    def parts(self) -> Mapping[str, Part]:
        """Return what is trained, by name."""

    @abstractmethod
    def choose(self, seen: Observation, allowed: Tensor, draws: Draws | None) -> Act:
        """Return actions [B] among the allowed [B, A] bool: sampled or explored by `draws`, the best without."""

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return Adam for each part."""
        return [
            torch.optim.Adam([{"params": list(part.weights), "name": name}], part.rate)
            for name, part in self.parts().items()
        ]

    def on_fit_start(self) -> None:
        """Refuse what replay and several optimizers cannot do."""
        super().on_fit_start()
        if "16" in str(self.trainer.precision) and "bf16" not in str(self.trainer.precision):
            allowed = "32-true, bf16-mixed or bf16-true"
            raise SettingError("trainer.precision", self.trainer.precision, allowed, "fp16 scales one optimizer's loss")
        strategy = type(self.trainer.strategy).__name__
        if any(word in strategy for word in ("FSDP", "DeepSpeed", "ModelParallel")):
            allowed = "ddp or a single device"
            raise SettingError("trainer.strategy", strategy, allowed, "weights of agents are small and not sharded")

    def prepare(self) -> None:
        """Fit goal and objectives, and take the prerequisites from the data."""
        super().prepare()
        edges = self.data().prerequisites
        if self.candidates == "closure" and edges is not None:
            self.ancestors.copy_(ancestors(direct_prerequisites(edges, self.num_concepts)))
        for part in self.modules():
            if isinstance(part, ActionNet) and isinstance(part, Connected):
                part.connect(self.data())

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return steps left, nothing taken, and what the encoder knows."""
        left = request.length if self.horizon is None else (request.length > 0) * self.horizon
        most = max(int(left.max()) if len(left) else 0, 1)
        return left, left.new_full((len(left), most), PAD), *self.encoder.begin(environment, request)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Choose the next actions; rows without steps left end."""
        goal = torch.zeros(len(concept), self.num_concepts + 1, dtype=torch.bool, device=concept.device)
        goal = goal.scatter(1, torch.where(concept < 0, self.num_concepts, concept), True)[:, :-1]
        seen = Observation(self.encoder(state[KNOWN:]), goal, state[LEFT], state[TAKEN])
        act = self.choose(seen, self.allowed(seen), draws)
        return act._replace(action=act.action.masked_fill(state[LEFT] <= 0, PAD))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Note what was taken, and let the encoder see the answers."""
        left, taken = state[LEFT], state[TAKEN]
        place = (taken != PAD).sum(1, keepdim=True).clamp_max(taken.shape[1] - 1)
        going = action != PAD
        noted = taken.scatter(1, place, torch.where(going, action, taken.gather(1, place).squeeze(1))[:, None])
        return left - going.long(), noted, *self.encoder.see(environment, state[KNOWN:], action, correct)

    def allowed(self, seen: Observation) -> Tensor:
        """Return which actions may be taken, [..., A] bool, at least one of each row."""
        allowed = torch.ones(*seen.left.shape, self.sizes.actions, dtype=torch.bool, device=seen.left.device)
        if self.candidates != "all":
            wanted = seen.goal
            if self.candidates == "closure":
                wanted = wanted | ((wanted.float() @ self.ancestors.float()) > 0)
            concept = self.simulator.actions.at(torch.arange(self.sizes.actions, device=wanted.device)).concept
            allowed = (wanted[..., concept.clamp_min(0)] & (concept >= 0)).any(-1)
            allowed = allowed | ~allowed.any(-1, keepdim=True)
        if not self.repeats:
            free = allowed & (times_taken(seen.taken, self.sizes.actions) == 0)
            allowed = torch.where(free.any(-1, keepdim=True), free, allowed)
        return allowed

    def play(self, request: PathRequest, group_size: int = 1) -> tuple[Rollout, Episodes]:
        """Teach each learner `group_size` times, exploring; return what happened and what is learned from."""
        draws = request_draws(run_seed(), self.global_step, request)
        taught = rollout(
            self.simulator,
            self.goal,
            request,
            self,
            draws,
            group_size,
            horizon=self.horizon,
            early_stop=self.early_stop,
            sample=True,
            keep=True,
        )
        return taught, self.remembered(taught, request.row.repeat_interleave(group_size, 0))

    def remembered(self, taught: Rollout, row: Tensor) -> Episodes:
        """Return what is learned from a kept rollout."""
        states, goals = taught.states, taught.goals
        if states is None or goals is None:
            raise SettingError("rollout", "without `states`", "rollout(..., keep=True)")
        memory, action = self.encoder.remember(states[KNOWN:]), taught.action
        return Episodes(
            once=memory.once,
            steps=memory.steps,
            goals=goals if self.goal.every_step else goals[:, :1],
            action=action,
            reward=self.reward.steps(taught).float(),
            limit=states[LEFT][:, 0],
            row=row,
            vector=action.new_zeros(*action.shape, 0, dtype=torch.float) if taught.vector is None else taught.vector,
        )

    def recalled(self, episodes: Episodes, episode: Tensor, place: Tensor) -> Observation:
        """Return what the agent saw, or sees now, at `place` [R, P] of the episodes [R]."""
        vector = self.encoder.recall(Memory(episodes.once, episodes.steps), episode, place)
        goals = episodes.goals
        goal = goals[episode[:, None], place if goals.shape[1] > 1 else torch.zeros_like(place)]
        goal = goal if goal.dtype == torch.bool else unpacked_bits(goal, self.num_concepts)
        action = episodes.action[episode].long()[:, None]
        before = torch.arange(action.shape[2], device=place.device) < place[..., None]
        taken = torch.where(before, action, PAD)
        return Observation(vector, goal, episodes.limit[episode][:, None] - place, taken)

    def descend_part(self, name: str, loss: Tensor, retain_graph: bool = False) -> None:
        """Take one step of a part's optimizer down `loss`: the part's gradients alone, the mean over ranks, clipped.

        On every rank as often. `loss` is that of this rank's rows; where ranks have different numbers of rows, divide a
        sum by `ranks.mean_count`.

        Raises:
            NonFiniteError: the loss is NaN or infinite.
        """
        self.refuse_non_finite(f"the loss of {name}", loss)
        optimizer = self.optimizer_of(name)
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        found = torch.autograd.grad(loss, weights, retain_graph=retain_graph, allow_unused=True)
        gradients = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]
        for weight, gradient in zip(weights, averaged(gradients), strict=True):
            weight.grad = gradient
        nn.utils.clip_grad_norm_(weights, self.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

    def optimizer_of(self, name: str) -> torch.optim.Optimizer:
        """Return the optimizer of a part."""
        (optimizer,) = (one for one in self.trainer.optimizers if one.param_groups[0]["name"] == name)
        return optimizer

    def refuse_non_finite(self, what: str, value: Tensor) -> None:
        """Raise NonFiniteError where a value is NaN or infinite."""
        if not bool(value.detach().isfinite().all()):
            batch = self.trainer.fit_loop.batch_idx if self._trainer is not None else 0
            advice = "lower the learning rate, or start from an earlier checkpoint"
            raise NonFiniteError(what, "NaN or infinite", self.current_epoch, batch, self.global_step, advice)

    def log_train(self, figures: Mapping[str, Tensor | float], taught: Rollout) -> None:
        """Log figures as `train/<name>`, and what the episodes brought."""
        brought = {"return": self.reward.steps(taught).sum(1).mean(), "path_length": taught.length.float().mean()}
        for name, value in (brought | dict(figures)).items():
            value = value.detach() if isinstance(value, Tensor) else value
            self.log(f"train/{name}", value, prog_bar=name in ("loss", "return"), batch_size=len(taught))


def needed_simulator(simulator: Simulator | None) -> Simulator:
    """Return the simulator, or say that one is needed."""
    chosen = built(simulator, Simulator)
    if chosen is None:
        raise SettingError("simulator", None, "a simulator, such as KESSimulator over a tracer")
    return chosen


def categorical_act(log_prob: Tensor, draws: Draws | None) -> Act:
    """Return actions sampled by log-probabilities [B, A], with theirs; the likeliest without draws."""
    action = log_prob.argmax(1) if draws is None else draws.pick(log_prob.exp())
    return Act(action, log_prob.gather(1, action[:, None]).squeeze(1))


def averaged(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return the mean of gradients over all ranks, sent as one."""
    if rank_and_world()[1] == 1:
        return list(gradients)
    flat = torch.cat([one.flatten() for one in gradients])
    distributed.all_reduce(flat)
    parts = torch.split(flat / rank_and_world()[1], [one.numel() for one in gradients])
    return [part.view_as(one) for part, one in zip(parts, gradients, strict=True)]
