"""Rate of collecting episodes: `KESSimulator` over a question net against the loop that ExRec's released code runs.

512 learners of an answer log are asked ten random questions each, towards the concept that they practised most among
their last ten answers (task 2 of the paper). Both sides share random weights and one answer log.

Ours is one `rollout` with `report_mastery=False`: histories of 100 answers cut from the log by learner number, encoded,
the goal chosen, ten steps. What it returns (questions, answers, probabilities, gains, scores) is all that is stored.

The plain side, written anew, does what the released code does to collect transitions in training:

1. Reset: a `Dataset` that looks up the vectors of a student's answers 1 to 199 and 2 to 200 (2 x [199, 768] float32),
   a `DataLoader` that collates 64 students (the second tensor twice: inputs and targets), both joined again and cut to
   100 answers; question vector + answer vector through `nn.LSTM`; in Python, student by student, the count of the
   concepts of the last ten answers (`.item()` each) and the goal's vector.
2. Each step: the action is a vector. The whole head (W1, W2, W3, output) for the goal, for the question (without
   gradients) and for the goal after the answer; one step of `nn.LSTM`. A graph is recorded through the episode.
3. Storing: everything becomes NumPy arrays: observation (state and goal's vector) before and after, action, reward,
   end, and four arrays of further information; places and returns are kept student by student in Python.

In validation and test it puts the nearest question by cosine in the place of an action, gathered row by row in Python:
`ratio_steps_searched`, with one matrix product for FAISS. Neither side runs an actor; the plain side has none of
tianshou's batch and collector classes. The released code itself was measured on another machine, with two cores: 62 to
64 transitions a second with the reset, 630 to 665 student-steps a second without.

Probabilities and gains of both sides must agree to 1e-5 for the same questions and answers. Sides take turns in one
process on one thread; times are medians of process time. The last printed line is JSON: `ratio` is the plain side's
time over ours for whole episodes, `ratio_steps` for the steps alone; `episodes_steps_per_s` and `steps_per_s` are our
learner-steps a second with and without the reset, `plain_…` those of the plain side.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import statistics
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lpr_lightning.draws import Draws
from lpr_lightning.goals import PractisedConcept, SoftExam
from lpr_lightning.nets.question_net import QuestionNet
from lpr_lightning.nets.question_table import QuestionTable
from lpr_lightning.policies.planned import FixedPaths
from lpr_lightning.protocols import Act, Environment
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.kes import KESSimulator, Response
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.types import PAD, Interactions, PathRequest, State

VECTOR, HIDDEN, HEAD = 768, 300, 1200
RECENT, TOLERANCE = 10, 1e-5
STUDENTS, BUFFER = 64, 100  # students of a batch of the plain side's loader, and places of each in its buffer


@dataclass(frozen=True)
class TimedPaths(FixedPaths):
    """Fixed paths that read the clock whenever an action is asked for: before each step, and after the last."""

    read: list[float] = field(default_factory=list)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the next action of each path."""
        self.read.append(time.process_time())
        return super().act(environment, state, concept, draws)


class World(NamedTuple):
    """Shared by both sides; the answers are [B, 2 * history], the questions asked [B, L]."""

    net: QuestionNet
    item_concepts: Tensor
    bank: Tensor
    queries: Tensor
    item: Tensor
    correct: Tensor
    history: int
    path: Tensor

    def simulator(self, response: Response) -> KESSimulator:
        """Return our learners."""
        actions = QuestionActions(len(self.bank))
        actions.item_concepts = self.item_concepts
        return KESSimulator(self.net, response, actions=actions)

    def log(self) -> Interactions:
        """Return the answers as the package stores them."""
        (learners, steps), item = self.item.shape, self.item.flatten()
        offsets, concept = torch.arange(learners + 1) * steps, self.item_concepts[item].int()
        correct = self.correct.flatten().to(torch.uint8)
        return Interactions(offsets, torch.arange(learners), item.int(), concept, correct)

    def request(self, log: Interactions) -> PathRequest:
        """Return requests of all learners after their first answers."""
        learner = log.learner
        history = log.batch(learner, stop=torch.full_like(learner, self.history))
        none = torch.zeros(len(learner), len(self.queries), dtype=torch.bool)
        return PathRequest(history, none, torch.full_like(learner, self.path.shape[1]), learner, learner)


class Sequences(Dataset[dict[str, Tensor]]):
    """Answer sequences, one student each, that come as vectors."""

    def __init__(self, world: World) -> None:
        self.item, self.correct, self.bank = world.item, world.correct.float(), world.bank
        self.mask = torch.ones_like(self.item[:, 1:], dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.item)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        mask, item, correct = self.mask[index], self.item[index], self.correct[index]
        found = {"item": item[:-1] * mask, "next_item": item[1:] * mask}
        found |= {"correct": correct[:-1] * mask, "next_correct": correct[1:] * mask, "mask": mask}
        shifted = F.embedding(found["next_item"], self.bank)
        return found | {"vector": F.embedding(found["item"], self.bank), "next_vector": shifted, "target": shifted}


class StudentBuffer:
    """The transitions of B students as NumPy arrays, and the returns of their episodes."""

    def __init__(self, students: int) -> None:
        wide = {"obs": HIDDEN + VECTOR, "obs_next": HIDDEN + VECTOR, "action": VECTOR, "cell_state": HIDDEN}
        shapes: dict[str, tuple[int, ...]] = {name: (width,) for name, width in wide.items()}
        shapes |= dict.fromkeys(("reward", "terminated", "y_kc_before", "y_que", "y_kc_after"), ())
        self.arrays = {name: np.zeros((students * BUFFER, *shape), np.float32) for name, shape in shapes.items()}
        self.place, self.sum, self.returns = [0] * students, [0.0] * students, [0.0] * students

    def add(self, step: dict[str, np.ndarray]) -> None:
        """Store one step of every student, [B, …] each."""
        rows = np.zeros(len(self.place), np.int64)
        for student, place in enumerate(self.place):
            rows[student] = student * BUFFER + place
            self.place[student] = (place + 1) % BUFFER
            self.sum[student] += float(step["reward"][student])
            if step["terminated"][student]:
                self.returns[student], self.sum[student] = self.sum[student], 0.0
        for name, array in self.arrays.items():
            array[rows] = step[name]


class PlainLoop:
    """Episodes of all students as the paper's released code runs them; see the top of this file."""

    def __init__(self, world: World) -> None:
        self.net = copy.deepcopy(world.net).requires_grad_(True)
        self.bank, self.queries, self.history = world.bank, world.queries, world.history
        self.unit = F.normalize(world.bank, dim=1)
        self.loader = DataLoader(Sequences(world), batch_size=STUDENTS)
        concepts = world.item_concepts.tolist()
        self.concepts = {str(item): [one for one in some if one != PAD] for item, some in enumerate(concepts)}
        self.cluster = {str(concept): [concept] for concept in range(len(world.queries))}

    def reset(self) -> None:
        """Encode the histories of all students, and choose their goals."""
        items, hidden, memory = [], [], []
        for batch in self.loader:
            vector, item, correct = (
                torch.cat([batch[name][:, :1], batch["next_" + name]], 1)[:, : self.history]
                for name in ("vector", "item", "correct")
            )
            output, last = self.net.lstm(vector + self.net.answer(correct.long()))
            items.append(item)
            hidden.append(output[:, -1])
            memory.append(last)
        self.start = torch.cat(hidden), (torch.cat([h for h, _ in memory], 1), torch.cat([c for _, c in memory], 1))
        self.hidden, self.memory = self.start
        self.goal = self.goals(torch.cat(items))
        self.success(self.goal)

    def goals(self, items: Tensor) -> Tensor:
        """Return the vector [B, D] of the concept that each student practised most of late."""
        count = np.zeros((len(items), len(self.cluster)), int)
        for student in range(len(items)):
            for item in items[student][-RECENT:]:
                for concept in self.concepts[str(item.item())]:
                    count[student, concept] += 1
        goal = torch.zeros(len(items), VECTOR)
        for student, most in enumerate(count.argmax(1)):
            concept = torch.tensor(random.sample(self.cluster[str(most)], k=1))
            goal[student] = F.embedding(concept, self.queries).squeeze(0)
        return goal

    def success(self, vector: Tensor) -> Tensor:
        """Return the success probability [B] of vectors [B, D] by the whole head."""
        probability: Tensor = self.net.head(self.hidden, vector).sigmoid()
        return probability

    def observation(self) -> Tensor:
        """Return what an agent sees, [B, H + D]."""
        return torch.cat([self.hidden, self.goal], 1)

    def step(self, action: np.ndarray, last: bool, search: bool, given: Tensor | None = None) -> dict[str, np.ndarray]:
        """Ask every student the question at `action` [B, D], answered at random or as `given` [B]."""
        vector = torch.tensor(action)
        if search:
            found = (F.normalize(vector, dim=1) @ self.unit.T).numpy().argmax(1)
            vector = torch.stack([self.bank[found[student]] for student in range(len(action))])
        arrays = {"obs": self.observation(), "cell_state": self.memory[1][0], "y_kc_before": self.success(self.goal)}
        with torch.no_grad():
            success = self.success(vector)
        answer = (torch.rand_like(success) < success).float() if given is None else given
        output, self.memory = self.net.lstm((vector + self.net.answer(answer.long()))[:, None], self.memory)
        self.hidden = output[:, -1]
        after = self.success(self.goal)
        arrays.update(obs_next=self.observation(), y_que=success, y_kc_after=after)
        arrays["reward"] = (after - arrays["y_kc_before"]) * 1000
        stored = {name: array.clone().detach().cpu().numpy() for name, array in arrays.items()}
        return {**stored, "action": action, "terminated": np.full(len(action), last)}


def build(learners: int, steps: int, history: int, questions: int, concepts: int) -> World:
    """Return random learners, questions and weights."""
    item_concepts = torch.randint(concepts, (questions, 2))
    item_concepts[torch.rand(questions) > 0.16, 1] = PAD  # XES3G5M has 1.16 concepts a question
    bank, queries = (F.normalize(torch.randn(count, VECTOR), dim=1) * VECTOR**0.5 for count in (questions, concepts))
    table = QuestionTable(questions, concepts, VECTOR, given_items=True, given_concepts=True)
    table.attach(item_concepts, item_vectors=bank, concept_vectors=queries)
    net = QuestionNet(table, HIDDEN, HEAD).eval()
    item = torch.randint(questions, (learners, 2 * history))
    path = torch.randint(questions, (learners, steps))
    return World(net, item_concepts, bank, queries, item, torch.randint(2, item.shape), history, path)


def difference(world: World, plain: PlainLoop) -> float:
    """Return how far probabilities and gains of both sides are apart at most, for the same questions and answers."""
    goal, request = PractisedConcept(RECENT, SoftExam()), world.request(world.log())
    ours = rollout(world.simulator("threshold"), goal, request, FixedPaths(world.path), report_mastery=False)
    plain.reset()
    apart = 0.0
    for number, asked in enumerate(world.path.unbind(1)):
        step = plain.step(world.bank[asked].numpy(), False, False, ours.response[:, number])
        theirs = np.stack([step["y_que"], step["y_kc_after"] - step["y_kc_before"]])
        expected = torch.stack([ours.predicted[:, number], ours.gain[:, number]]).numpy()
        apart = max(apart, float(np.abs(theirs - expected).max()))
    return apart


def time_ours(world: World, simulator: KESSimulator, log: Interactions, round_number: int) -> list[float]:
    """Return the seconds of whole episodes, and of their steps."""
    policy, steps = TimedPaths(world.path), world.path.shape[1]
    start = time.process_time()
    goal, request = PractisedConcept(RECENT, SoftExam()), world.request(log)
    draws = Draws.of(0, round_number, request.row)
    rollout(simulator, goal, request, policy, draws, horizon=steps + 1, report_mastery=False)  # paths end one earlier
    return [time.process_time() - start, policy.read[steps] - policy.read[0]]


def time_plain(world: World, plain: PlainLoop, buffer: StudentBuffer) -> list[float]:
    """Return the seconds of whole episodes, of their steps, and of steps that search the bank."""
    actions = world.bank[world.path.T].numpy()
    times = [time.process_time()]
    plain.reset()
    for search in (False, True):
        plain.hidden, plain.memory = plain.start
        times.append(time.process_time())
        for number, action in enumerate(actions, 1):
            buffer.add(plain.step(action, number == len(actions), search))
        times.append(time.process_time())
    return [times[2] - times[0], times[2] - times[1], times[4] - times[3]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = {"learners": 512, "steps": 10, "history": 100, "questions": 7652, "concepts": 865, "rounds": 5}
    for name, size in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    sizes: dict[str, int] = vars(parser.parse_args())
    rounds = sizes.pop("rounds")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    world = build(**sizes)
    plain, buffer, log = PlainLoop(world), StudentBuffer(sizes["learners"]), world.log()
    if (apart := difference(world, plain)) > TOLERANCE:
        raise SystemExit(f"probabilities differ by {apart:.1e}")
    simulator, times = world.simulator("bernoulli"), list[list[float]]()
    for number in range(rounds + 1):  # the first round warms up
        times.append([*time_ours(world, simulator, log, number), *time_plain(world, plain, buffer)])
        print(f"round {number}: ours {times[-1][0]:.3f} s, plain {times[-1][2]:.3f} s")
    whole, steps, plain_whole, plain_steps, searched = (statistics.median(side) for side in zip(*times[1:]))
    ratios = {"": plain_whole / whole, "_steps": plain_steps / steps, "_steps_searched": searched / steps}
    rates = {"steps": steps, "episodes_steps": whole, "plain_steps": plain_steps, "plain_episodes_steps": plain_whole}
    report: dict[str, object] = {f"ratio{name}": round(ratio, 1) for name, ratio in ratios.items()}
    report |= {f"{name}_per_s": round(world.path.numel() / seconds) for name, seconds in rates.items()}
    more = {"vector": VECTOR, "hidden": HIDDEN, "head": HEAD, "threads": 1}
    print(json.dumps({**report, "difference": apart, **sizes, **more}))


if __name__ == "__main__":
    main()
