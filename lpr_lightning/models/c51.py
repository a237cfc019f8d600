"""Categorical deep Q-learning: distributions of returns instead of their means."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lpr_lightning.bases.off_policy import ReplaySettings
from lpr_lightning.bases.replay import Transitions
from lpr_lightning.bases.step_agent import Candidates, needed_simulator
from lpr_lightning.bases.value_agent import ValueAgent
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.functional.q_learning import atoms_loss, greedy, projected
from lpr_lightning.functional.schedules import LinearSchedule
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import arguments, built, built_each
from lpr_lightning.nets.action_nets import ActionNet, ConceptNetwork, NetSettings, Observation
from lpr_lightning.nets.encoders import Encoder
from lpr_lightning.objectives import Objective
from lpr_lightning.objectives.step_rewards import StepReward
from lpr_lightning.protocols import Simulator


class C51(ValueAgent):
    """Recommends the action of the greatest mean return, from a distribution on atoms (arXiv 1707.06887).

    The distribution of each action's return is a softmax over evenly spaced atoms, trained by cross-entropy on the
    target network's distribution at its own best action, moved by reward and discount and projected back (eq. 7).
    Batches are `PathRequest`; steps return `{"request", "rollout"}`.

    Differs from the paper: as `DQN` does; `atoms` is 51 there, and `low` and `high` -10 and 10.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.
        simulator: what answers as the learner; its actions are recommended.
        goal: what a path is for; default the targets of each request under a hard exam.
        objectives: what a path is judged by, in reports alone.
        early_stop: end an episode once its exam is full.
        encoder: what the agent sees of a learner; default `TracerState`.
        reward: what a step is worth; default `AttainableGain`.
        net: the network; default `ConceptNetwork`, which needs concepts as actions.
        replay: what is kept, drawn and updated.
        exploration: share of actions taken at random, by batches; default from 1 to 0.05 in 100.
        atoms: how many, at least 2.
        low: the lowest return that is told apart.
        high: the highest.
        discount: gamma, from 0 to 1.
        candidates: which actions may be taken: `all`, on the `targets`, or on their `closure` under prerequisites.
        repeats: an action may be taken again within an episode.
        target_every: batches between two copies to the target network.
        learning_rate: of Adam.
        max_grad_norm: gradients are clipped to this norm.

    Raises:
        SettingError: a setting is out of range, or no simulator is given.
    """

    support: Tensor

    def __init__(
        self,
        num_concepts: int | None = None,
        simulator: Simulator | None = None,
        goal: ConceptGoal | None = None,
        objectives: Sequence[Objective] = (),
        early_stop: bool = False,
        encoder: Encoder | None = None,
        reward: StepReward | None = None,
        net: NetSettings | None = None,
        replay: ReplaySettings | None = None,
        exploration: LinearSchedule | None = None,
        atoms: int = 51,
        low: float = -0.5,
        high: float = 1.0,
        discount: float = 1.0,
        candidates: Candidates = "all",
        repeats: bool = True,
        target_every: int = 5,
        learning_rate: float = 1e-3,
        max_grad_norm: float = 10.0,
    ) -> None:
        settings = arguments(locals())
        wanted, learners = built_each(objectives, Objective), needed_simulator(simulator)
        super().__init__(
            num_concepts,
            learners,
            goal,
            wanted,
            early_stop,
            encoder,
            reward,
            discount,
            candidates,
            repeats,
            max_grad_norm,
        )
        self.save_hyperparameters(settings)
        self.start_replay(built(replay, ReplaySettings) or ReplaySettings())
        self.register_buffer("support", support_of(atoms, low, high))
        chosen = self.network(built(net, NetSettings) or ConceptNetwork(), atoms)
        schedule = built(exploration, LinearSchedule) or LinearSchedule(1.0, 0.05, 100)
        self.start_values(chosen, schedule, target_every, learning_rate)

    def network(self, net: NetSettings, atoms: int) -> ActionNet:
        """Return the network: a logit of each atom of each action."""
        return net.build(self.sizes, per_action=atoms)

    def logits(self, net: ActionNet, seen: Observation) -> Tensor:
        """Return the logits of atoms, [..., A, Z]."""
        logit: Tensor = net(seen)[0]
        return logit

    def values(self, net: ActionNet, seen: Observation) -> Tensor:
        """Return the mean returns of all actions."""
        return self.logits(net, seen).softmax(-1) @ self.support

    def best_later(self, later: Observation, target: Tensor) -> Tensor:
        """Return the actions whose distributions are the targets: the best by the target network."""
        return greedy(target.softmax(-1) @ self.support, self.allowed(later))

    def update(self, drawn: Transitions, seen: Observation, later: Observation, draws: Draws) -> dict[str, Tensor]:
        """Take a step towards the projected distribution."""
        with torch.no_grad():
            logit = self.logits(self.target, later)
            probability = at(logit, self.best_later(later, logit)).softmax(1)
            wanted = projected(drawn.reward, drawn.discount, probability, self.support)
        logit = at(self.logits(self.net, seen), drawn.action)
        loss, error = atoms_loss(logit, wanted, drawn.weight)
        self.descend_part("critic", loss)
        return {"loss": loss, "value": (logit.softmax(1) @ self.support).mean(), "errors": error}


def support_of(atoms: int, low: float, high: float) -> Tensor:
    """Return evenly spaced atoms."""
    if not low < high:
        raise SettingError("low", low, f"a number below high={high}")
    return torch.linspace(low, high, checked("atoms", atoms, 2))


def at(logit: Tensor, action: Tensor) -> Tensor:
    """Return the atoms [R, Z] of actions [R] among [R, A, Z]."""
    return logit.gather(1, action[:, None, None].expand(-1, 1, logit.shape[2])).squeeze(1)
