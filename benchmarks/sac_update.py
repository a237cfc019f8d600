"""Rate of updates: `SACwithMVE` against the critic that ExRec's released code runs, its shape bug repaired.

512 steps are drawn from a replay of learners in the paper's sizes: vectors of 768, states of 2 x 300, heads of 1,200,
7,652 questions, 1,377 concepts, one target concept each (task 2). Both sides share random weights of the tracer.

Ours is one whole update of `SACwithMVE`: the steps are drawn from the replay; twin critics, copies of the tracer, value
the steps and, by target copies, the next ones with fresh actions; the actor climbs the critics; all optimizers step.

The plain side, written anew, does what the released code does on a minibatch, with what makes its rows independent
(`r` of shape [B] instead of [B, 1]):

1. Critic: `nn.LSTM` over one step for each answer (vector + answer vector), from state and cell; the head (W1, W2,
   W3, output) over state and goal after each; p and the value before are those that were logged. Twins are two such
   networks; their targets take (as released) the logged p, value and cell of the step before.
2. Actor: state 300 to 300, goal 768 to 300, both to 1,200, then to 768 for location and scale; a sample, its
   log-probability, and its projection to the sphere.
3. Update: targets without gradients, a step of Adam on each critic's squared error, a step of Adam on the actor's loss
   (whose gradients reach the critics too, as in the released code), target critics that follow by Polyak averages.
4. Batches are NumPy arrays taken from host memory and made tensors: observation and next observation [B, 1068], actions
   [B, 768], four arrays of further information.

Sides take turns in one process on one thread; times are medians of process time. The last printed line is JSON: `ratio`
is the plain side's time over ours; `updates_per_s` is ours, `plain_updates_per_s` the plain side's. The released code
itself, on another machine with two cores and a batch of 512: more than 260 s an update as released (a row's sequence
is all rows' actions), 7.4 s with the shape repaired.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.bases.off_policy import ReplaySettings
from lpr_lightning.draws import Draws
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.models.calibrated_dkt import CalibratedDKT
from lpr_lightning.models.sac_mve import SACwithMVE
from lpr_lightning.nets.action_nets import Observation
from lpr_lightning.nets.encoders import TracerState
from lpr_lightning.nets.question_net import QuestionNet
from lpr_lightning.nets.sphere_actors import PlainActor
from lpr_lightning.objectives.step_rewards import MeanGain
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.types import InteractionBatch, PathRequest

VECTOR, HIDDEN, HEAD, LENGTH = 768, 300, 1200, 768**0.5


class PlainModel(nn.Module):
    """The released critic with its shape repaired: LSTM, answers' vectors and head of the tracer, trained."""

    def __init__(self, net: QuestionNet) -> None:
        super().__init__()
        self.lstm, self.answer, self.head = (copy.deepcopy(one) for one in (net.lstm, net.answer, net.head))
        self.requires_grad_(True)

    def forward(self, seen: Tensor, cell: Tensor, action: Tensor, success: Tensor, before: Tensor) -> Tensor:
        """Return values [B] of actions [B, D]."""
        hidden, goal = seen[:, :HIDDEN], seen[:, HIDDEN:]
        after = []
        for answer in (0, 1):
            right = self.answer(torch.full((len(seen),), answer))
            state, _ = self.lstm((action + right)[:, None], (hidden[None].contiguous(), cell[None].contiguous()))
            after.append(torch.sigmoid(self.head(state[:, 0], goal)))
        value: Tensor = (success * after[1] + (1 - success) * after[0] - before) * 1000
        return value


class PlainActorNet(nn.Module):
    """The released actor: location and scale of a normal distribution, its sample projected."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.goal = nn.Linear(HIDDEN, HIDDEN), nn.Linear(VECTOR, HIDDEN)
        self.joint = nn.Linear(2 * HIDDEN, HEAD)
        self.location, self.scale = nn.Linear(HEAD, VECTOR), nn.Linear(HEAD, VECTOR)

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return projected samples and the log-probabilities of the samples before."""
        pair = torch.cat([self.state(seen[:, :HIDDEN]).relu(), self.goal(seen[:, HIDDEN:]).relu()], 1)
        hidden = self.joint(pair).relu()
        location = F.normalize(self.location(hidden), dim=1) * LENGTH
        normal = torch.distributions.Normal(location, 0.2 * torch.sigmoid(self.scale(hidden)))
        sample = normal.rsample()
        return F.normalize(sample, dim=1) * LENGTH, normal.log_prob(sample).sum(1)  # type: ignore[no-untyped-call]


class PlainSAC:
    """Updates as the released code takes them."""

    def __init__(self, net: QuestionNet, store: dict[str, np.ndarray], batch: int) -> None:
        self.critics = [PlainModel(net) for _ in range(2)]
        self.targets = copy.deepcopy(self.critics)
        self.actor, self.store, self.batch = PlainActorNet(), store, batch
        self.optimizers = [torch.optim.Adam(one.parameters(), 5e-5) for one in (*self.critics, self.actor)]
        self.rng = np.random.default_rng(0)

    def update(self) -> None:
        """Take one."""
        rows = self.rng.integers(len(self.store["reward"]), size=self.batch)
        of = {name: torch.as_tensor(array[rows]) for name, array in self.store.items()}
        info = of["cell"], of["success"], of["before"]
        with torch.no_grad():
            action, log_prob = self.actor(of["later"])
            following = [one(of["later"], info[0], action, *info[1:]) for one in self.targets]
            wanted = of["reward"] + 0.99 * (1 - of["ended"]) * (torch.min(*following) - 0.2 * log_prob)
        for critic, optimizer in zip(self.critics, self.optimizers):
            loss = (critic(of["seen"], info[0], of["action"], *info[1:]) - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        action, log_prob = self.actor(of["seen"])
        judged = torch.min(*(one(of["seen"], info[0], action, *info[1:]) for one in self.critics))
        self.optimizers[2].zero_grad()
        (0.2 * log_prob - judged).mean().backward()
        self.optimizers[2].step()
        with torch.no_grad():
            for target, critic in zip(self.targets, self.critics):
                for own, its in zip(target.parameters(), critic.parameters()):
                    own.lerp_(its, 0.01)


class Updates(SACwithMVE):
    """`SACwithMVE` outside a trainer: its own optimizers, one update at a time."""

    def start(self) -> None:
        """Make the optimizers."""
        self.by_part = dict(zip(self.parts(), self.configure_optimizers()))

    def descend_part(self, name: str, loss: Tensor, retain_graph: bool = False) -> None:
        """Take one step of a part's optimizer."""
        optimizer = self.by_part[name]
        weights = optimizer.param_groups[0]["params"]
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True)):
            weight.grad = gradient
        nn.utils.clip_grad_norm_(weights, self.max_grad_norm)
        optimizer.step()

    def one(self, number: int) -> None:
        """Draw steps and learn from them, as `OffPolicyAgent.improve` does."""
        draws, size = Draws.of(0, number, torch.zeros(1, dtype=torch.int64)), self.replay_settings.batch_size
        drawn = self.replay.draw(size, draws.fork(size), 1, self.discount, 0.0)
        both = self.recalled(self.replay.episodes, drawn.episode, torch.stack([drawn.place, drawn.end], 1))
        seen, later = (Observation(*(part[:, which] for part in both)) for which in (0, 1))
        self.update(drawn, seen, later, draws)


def build(batch: int, questions: int, concepts: int) -> tuple[Updates, QuestionNet]:
    """Return our side with a filled replay, and the tracer's network."""
    tracer = CalibratedDKT(
        concepts, questions, embedding_size=VECTOR, hidden_size=HIDDEN, head_size=HEAD, learn_queries=False
    ).eval()
    with torch.no_grad():
        for weight in (tracer.net.table.own, tracer.net.table.base):
            if weight is not None:
                weight.copy_(F.normalize(torch.randn_like(weight), dim=1) * LENGTH)
    tracer.net.table.attach(torch.randint(concepts, (questions, 1)))
    actions = QuestionActions(questions)
    actions.item_concepts = tracer.net.table.item_concepts
    agent = Updates(
        concepts,
        KESSimulator(tracer, "bernoulli", actions=actions),
        Targets(SoftExam()),
        encoder=TracerState(mastery=False),
        reward=MeanGain(1000.0),
        actor=PlainActor(HIDDEN, HEAD),
        replay=ReplaySettings(capacity=batch, batch_size=batch),
        noise=None,
        temperature=0.2,
    )
    wanted = torch.zeros(batch, concepts, dtype=torch.bool)
    wanted[torch.arange(batch), torch.randint(concepts, (batch,))] = True
    rows = torch.arange(batch)
    request = PathRequest(InteractionBatch.empty(batch), wanted, torch.full((batch,), 10), rows, rows)
    agent.replay.add(agent.play(request)[1])
    agent.start()
    return agent, tracer.net


def stored(count: int) -> dict[str, np.ndarray]:
    """Return transitions as the released code keeps them."""
    rng = np.random.default_rng(0)
    wide = {"seen": HIDDEN + VECTOR, "later": HIDDEN + VECTOR, "action": VECTOR, "cell": HIDDEN}
    arrays = {name: rng.normal(size=(count, size)).astype(np.float32) for name, size in wide.items()}
    return arrays | {name: rng.random(count).astype(np.float32) for name in ("reward", "ended", "success", "before")}


def timed(act: object) -> float:
    """Return the seconds of process time of a call."""
    start = time.process_time()
    assert callable(act)
    act()
    return time.process_time() - start


def main() -> None:
    """Print medians of both sides, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("batch", 512), ("questions", 7652), ("concepts", 1377), ("rounds", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    ours, net = build(options.batch, options.questions, options.concepts)
    plain = PlainSAC(net, stored(10 * options.batch), options.batch)
    ours.one(0)
    plain.update()
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(options.rounds):
        times["ours"].append(timed(partial(ours.one, number + 1)))
        times["plain"].append(timed(plain.update))
    own, its = (statistics.median(times[name]) for name in ("ours", "plain"))
    print(f"ours {own:.3f} s, plain {its:.3f} s an update of {options.batch}")
    figures = {"ratio": its / own, "updates_per_s": 1 / own, "plain_updates_per_s": 1 / its}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
