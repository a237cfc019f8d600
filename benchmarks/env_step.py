"""Rate of an environment's steps: episodes of `KESSimulator` against the loop that ExRec's released code runs.

Learners are asked random questions after a history. The goal is one concept each (task 2 of the paper), and in a
second measurement all concepts (task 1). The plain side, written anew, does for each step of a batch of students what
the paper's released code does:

1. The action is a vector. The nearest question by cosine over the whole bank takes its place, rows gathered one by one
   in Python. (So in its validation and test; in training it feeds the vector as it is: `ratio_unsearched`.)
2. The whole head (W1, W2, W3, output) for the goal before the step, for the question, and for the goal after it;
   question vector + answer vector through `nn.LSTM` for one step. The question's probability and the mastery of all
   concepts (blocks of 256, expanded to all students) are computed without gradients; all else records a graph through
   the episode.
3. Everything becomes NumPy arrays, stored student by student: observation (state and goal's vector) before and after,
   action, reward, end, and four arrays of further information; returns are summed student by student.

It is lighter than that code in two places: the search is one matrix product instead of FAISS (as fast), and the
buffer has none of tianshou's batch and collector classes.

Both sides share random weights, and must give the same probabilities (to 1e-5) for the same questions and answers.
They take turns in one process on one thread. Only steps are timed: not the reading of histories, nor the mastery of
all concepts that `rollout` reports before and after an episode (`rollout_s` is with both). The last printed line is
JSON: `ratio` is the plain side's process time over ours; rates are learner-steps a second of process time; `wall` has
the same by wall time, `all_concepts` the same for task 1.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
import warnings
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.draws import Draws
from lpr_lightning.goals import AllConcepts, ConceptGoal, PractisedConcept, SoftExam
from lpr_lightning.nets.question_net import QuestionNet
from lpr_lightning.nets.question_table import QuestionTable
from lpr_lightning.protocols import Act, Environment
from lpr_lightning.policies.planned import FixedPaths
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.types import PAD, InteractionBatch, PathRequest, State

VECTOR, HIDDEN, HEAD = 768, 300, 1200
BLOCK = 256
"""Concepts that the plain side takes at once."""
TOLERANCE = 1e-5


class Seconds(NamedTuple):
    """Process time and wall time."""

    process: float
    wall: float

    @classmethod
    def now(cls) -> Seconds:
        """Read both clocks."""
        return cls(time.process_time(), time.perf_counter())

    def since(self, start: Seconds) -> Seconds:
        """Return the time between `start` and this."""
        return Seconds(self.process - start.process, self.wall - start.wall)


@dataclass(frozen=True)
class TimedPaths(FixedPaths):
    """Fixed paths that read the clocks whenever an action is asked for: before each step, and after the last."""

    read: list[Seconds] = field(default_factory=list)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the next action of each path."""
        self.read.append(Seconds.now())
        return super().act(environment, state, concept, draws)


class StudentBuffer:
    """The transitions of B students, `room` each, as NumPy arrays, and the returns of their episodes."""

    def __init__(self, students: int, room: int, observed: int) -> None:
        one = (students, room)
        wide = {"obs": observed, "obs_next": observed, "action": VECTOR, "cell_state": HIDDEN}
        self.arrays = {name: np.zeros((*one, width), np.float32) for name, width in wide.items()}
        for name in ("reward", "terminated", "y_kc_before", "y_que", "y_kc_after"):
            self.arrays[name] = np.zeros(one, np.float32)
        self.room = room
        self.place = [0] * students
        self.sum, self.returns = [0.0] * students, [0.0] * students

    def add(self, step: dict[str, np.ndarray]) -> None:
        """Store one step of every student, [B, …] each."""
        for student, place in enumerate(self.place):
            for name, array in self.arrays.items():
                array[student, place] = step[name][student]
            self.place[student] = (place + 1) % self.room
            self.sum[student] += float(step["reward"][student])
            if step["terminated"][student]:
                self.returns[student], self.sum[student] = self.sum[student], 0.0


class PlainLoop:
    """Steps of all students as the paper's released code takes them; see the top of this file.

    Args:
        net: whose weights are copied.
        bank: question vectors [Q, D].
        target: vector of each student's goal [B, D].
        search: put the nearest question in the place of each action.
    """

    def __init__(self, net: QuestionNet, bank: Tensor, target: Tensor, search: bool = True) -> None:
        self.net = copy.deepcopy(net).requires_grad_(True)
        self.bank, self.target, self.search = bank, target, search
        self.unit = F.normalize(bank, dim=1)

    def reset(self, state: State) -> None:
        """Start from states (h, c) [B, H] each."""
        self.hidden, self.memory = state[0], (state[0][None], state[1][None])

    def nearest(self, action: Tensor) -> Tensor:
        """Return the vector of the question nearest to each action [B, D]."""
        found = (F.normalize(action, dim=1) @ self.unit.T).numpy().argmax(1)
        return torch.stack([self.bank[found[student]] for student in range(len(action))])

    def success(self, vector: Tensor) -> Tensor:
        """Return the success probability [B] of vectors [B, D] by the whole head."""
        probability: Tensor = self.net.head(self.hidden, vector).sigmoid()
        return probability

    def mastery(self) -> Tensor:
        """Return the mastery of the goal, [B]."""
        return self.success(self.target)

    def observation(self) -> Tensor:
        """Return what an agent sees, [B, …]."""
        return torch.cat([self.hidden, self.target], 1)

    def step(self, action: np.ndarray, last: bool, given: Tensor | None = None) -> dict[str, np.ndarray]:
        """Ask every student the question at `action` [B, D], answered at random or as `given` [B]."""
        asked = torch.tensor(action)
        vector = self.nearest(asked) if self.search else asked
        arrays = {"obs": self.observation(), "cell_state": self.memory[1][0], "y_kc_before": self.mastery()}
        with torch.no_grad():
            success = self.success(vector)
        answer = (torch.rand_like(success) < success).float() if given is None else given
        inputs = vector + self.net.answer(answer.long())
        output, self.memory = self.net.lstm(inputs[:, None], self.memory)
        self.hidden = output[:, -1]
        after = self.mastery()
        arrays.update(obs_next=self.observation(), y_que=success, y_kc_after=after)
        arrays["reward"] = (after - arrays["y_kc_before"]) * 1000
        stored = {name: array.clone().detach().cpu().numpy() for name, array in arrays.items()}
        return {**stored, "action": action, "terminated": np.full(len(action), last)}


class PlainLoopAllConcepts(PlainLoop):
    """The same where the goal is the mean mastery of all concepts, `target` [N, D]."""

    @torch.no_grad()
    def mastery(self) -> Tensor:
        """Return the mastery of the goal, [B]."""
        blocks = []
        for vectors in self.target.split(BLOCK):  # type: ignore[no-untyped-call]
            pairs = len(self.hidden), len(vectors)
            hidden = self.hidden[:, None].expand(*pairs, -1).reshape(-1, HIDDEN)
            asked = vectors.expand(*pairs, -1).reshape(-1, VECTOR)
            blocks.append(self.net.head(hidden, asked).sigmoid().view(pairs))
        return torch.cat(blocks, 1).mean(1)

    def observation(self) -> Tensor:
        """Return what an agent sees: the state only."""
        return self.hidden


class World(NamedTuple):
    """Shared by both sides: net, actions, requests, the questions asked [B, L], vectors of questions and concepts."""

    net: QuestionNet
    actions: QuestionActions
    request: PathRequest
    path: Tensor
    bank: Tensor
    queries: Tensor

    def loop(self, goal: ConceptGoal, search: bool = True) -> PlainLoop:
        """Return the plain side."""
        if isinstance(goal, AllConcepts):
            return PlainLoopAllConcepts(self.net, self.bank, self.queries, search)
        concept = goal.choose(self.net, self.net.initial_state(len(self.request)), self.request).squeeze(1)
        return PlainLoop(self.net, self.bank, self.queries[concept], search)


class Options(NamedTuple):
    """Sizes of a measurement."""

    learners: int
    steps: int
    rounds: int
    history: int
    questions: int
    concepts: int


def build(options: Options) -> World:
    """Return random learners, questions and weights."""
    of_item = torch.randint(options.concepts, (options.questions, 2))
    of_item[torch.rand(options.questions) > 0.16, 1] = PAD  # XES3G5M has 1.16 concepts a question
    bank = F.normalize(torch.randn(options.questions, VECTOR), dim=1) * VECTOR**0.5
    queries = F.normalize(torch.randn(options.concepts, VECTOR), dim=1) * VECTOR**0.5
    table = QuestionTable(options.questions, options.concepts, VECTOR, given_items=True, given_concepts=True)
    table.attach(of_item, item_vectors=bank, concept_vectors=queries)
    net = QuestionNet(table, HIDDEN, HEAD).eval()
    actions = QuestionActions(options.questions)
    actions.item_concepts = of_item
    item = torch.randint(options.questions, (options.learners, options.history))
    log = InteractionBatch(
        concept=of_item[item],
        item=item,
        correct=torch.randint(2, item.shape).float(),
        mask=torch.ones_like(item, dtype=torch.bool),
        learner=torch.arange(options.learners),
    )
    targets = torch.zeros(options.learners, options.concepts, dtype=torch.bool)
    request = PathRequest(log, targets, torch.full_like(log.learner, options.steps), log.learner, log.learner)
    path = torch.randint(options.questions, (options.learners, options.steps))
    return World(net, actions, request, path, bank, queries)


def difference(world: World, goal: ConceptGoal) -> float:
    """Return how far probabilities and gains of both sides are apart at most, for the same questions and answers."""
    simulator = KESSimulator(world.net, "threshold", actions=world.actions)
    ours = rollout(simulator, goal, world.request, FixedPaths(world.path))
    plain = world.loop(goal)
    plain.reset(simulator.start(world.request))
    apart = 0.0
    for number, asked in enumerate(world.path.unbind(1)):
        step = plain.step(world.bank[asked].numpy(), last=False, given=ours.response[:, number])
        gain = step["y_kc_after"] - step["y_kc_before"]
        apart = max(apart, float(np.abs(step["y_que"] - ours.predicted[:, number].numpy()).max()))
        apart = max(apart, float(np.abs(gain - ours.gain[:, number].numpy()).max()))
    return apart


def time_ours(world: World, goal: ConceptGoal, simulator: KESSimulator, draws: Draws) -> tuple[Seconds, Seconds]:
    """Return the time of an episode's steps, and of the whole `rollout`."""
    policy, steps = TimedPaths(world.path), world.path.shape[1]
    start = Seconds.now()
    rollout(simulator, goal, world.request, policy, draws, horizon=steps + 1)  # the paths end one step before
    whole = Seconds.now().since(start)
    return policy.read[steps].since(policy.read[0]), whole


def time_plain(world: World, plain: PlainLoop, state: State, buffer: StudentBuffer) -> Seconds:
    """Return the time of an episode's steps."""
    plain.reset(state)
    actions = world.bank[world.path.T].numpy()
    start = Seconds.now()
    for number, action in enumerate(actions, 1):
        buffer.add(plain.step(action, last=number == len(actions)))
    return Seconds.now().since(start)


def measure(options: Options, goal: ConceptGoal, unsearched: bool) -> dict[str, object]:
    """Check that both sides agree, let them take turns, and return what to report."""
    world = build(options)
    if (apart := difference(world, goal)) > TOLERANCE:
        raise SystemExit(f"probabilities differ by {apart:.1e}")
    simulator = KESSimulator(world.net, "bernoulli", actions=world.actions)
    loops = [world.loop(goal), *([world.loop(goal, search=False)] if unsearched else [])]
    with torch.no_grad():
        state = simulator.start(world.request)
    loops[0].reset(state)
    buffer = StudentBuffer(*world.path.shape, observed=loops[0].observation().shape[1])
    times: list[list[Seconds]] = []
    for number in range(options.rounds + 1):  # the first round warms up
        ours = time_ours(world, goal, simulator, Draws.of(0, number, world.request.row))
        times.append([*ours, *(time_plain(world, loop, state, buffer) for loop in loops)])
        print(f"round {number}: ours {ours[0].process:.3f} s, plain {times[-1][2].process:.3f} s")
    steps, whole, plain, *fed = (Seconds(*map(statistics.median, zip(*side))) for side in zip(*times[1:]))
    asked = world.path.numel()
    rates = [
        {"ratio": round(slow / fast, 1), "steps_per_s": round(asked / fast), "plain_steps_per_s": round(asked / slow)}
        for fast, slow in zip(steps, plain)
    ]
    return {
        **rates[0],
        **({"ratio_unsearched": round(fed[0].process / steps.process, 1)} if fed else {}),
        "wall": rates[1],
        "rollout_s": round(whole.process, 3),
        "difference": apart,
        "what": f"{options.learners} learners x {options.steps} steps, {options.questions} questions, "
        f"{options.concepts} concepts, vectors {VECTOR}, hidden {HIDDEN}, head {HEAD}, float32, one thread",
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", type=int, default=512)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--history", type=int, default=20, help="answers before the episode")
    parser.add_argument("--questions", type=int, default=7652)
    parser.add_argument("--concepts", type=int, default=865)
    parser.add_argument("--clusters", type=int, default=1377, help="concepts of the second measurement; 0: none")
    given = vars(parser.parse_args())
    clusters: int = given.pop("clusters")
    options = Options(**given)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.filterwarnings("ignore", "QuestionNet does not record")
    report = measure(options, PractisedConcept(exam=SoftExam()), unsearched=True)
    if clusters:
        fewer = options._replace(learners=64, steps=2, rounds=3, concepts=clusters)  # seconds a step on the plain side
        report["all_concepts"] = measure(fewer, AllConcepts(SoftExam()), unsearched=False)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
