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
   (In validation and test the nearest question by cosine takes the place of an action, gathered row by row in Python:
   `ratio_steps_searched`, with one matrix product for FAISS.)
3. Storing: everything becomes NumPy arrays: observation (state and goal's vector) before and after, action, reward,
   end, and four arrays of further information; places and returns are kept student by student in Python.

Then, in the same process, the goal is the mean mastery of all concepts (task 1; 64 learners, 2 steps, 1,377 concepts).
Ours is `AllConcepts`: mastery once a step by halves of the head, those of concepts memoised. The plain side takes it
before and after each step without gradients, in blocks of 256 concepts, expanded to all students, through the whole
head; it counts no concepts at the reset, and its observation is the state only.

Neither side runs an actor; the plain side has none of tianshou's batch and collector classes. Probabilities and gains
must agree to 1e-5 for the same questions and answers. Sides take turns in one process on one thread; times are medians
of process time. The last printed line is JSON: `ratio` is the plain side's time over ours for whole episodes,
`ratio_steps` for the steps alone; `episodes_steps_per_s` and `steps_per_s` are our learner-steps a second with and
without the reset, `plain_…` the plain side's; `ratio_all_concepts` and `all_concepts_steps_per_s` are those of task 1,
steps alone, without search. The released code itself, on another machine with two cores: 62 to 64 transitions a second
with the reset, 630 to 665 student-steps a second without (task 2).
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
from lpr_lightning.goals import AllConcepts, ConceptGoal, PractisedConcept, SoftExam
from lpr_lightning.nets.question_net import QuestionNet
from lpr_lightning.nets.question_table import QuestionTable
from lpr_lightning.policies.planned import FixedPaths
from lpr_lightning.protocols import Act, Environment
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.types import PAD, Interactions, PathRequest, State

VECTOR, HIDDEN, HEAD = 768, 300, 1200
RECENT, TOLERANCE = 10, 1e-5
STUDENTS, BUFFER, BLOCK = 64, 100, 256  # plain side: students a batch, places of each in the buffer, concepts a block
ALL_CONCEPTS = {"learners": 64, "steps": 2, "concepts": 1377}  # sizes where all concepts are the goal


@dataclass(frozen=True)
class TimedPaths(FixedPaths):
    """Fixed paths that read the clock whenever an action is asked for: before each step, and after the last."""

    read: list[float] = field(default_factory=list)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        """Return the next action of each path."""
        self.read.append(time.process_time())
        return super().act(environment, state, concept, draws)


class World(NamedTuple):
    """Shared by both sides; 2 * history answers of each learner, the questions asked [B, L]."""

    goal: ConceptGoal
    net: QuestionNet
    item_concepts: Tensor
    bank: Tensor
    queries: Tensor
    log: Interactions
    history: int
    path: Tensor
    actions: QuestionActions

    def request(self) -> PathRequest:
        """Return requests of all learners after their first answers."""
        learner = self.log.learner
        history = self.log.batch(learner, stop=torch.full_like(learner, self.history))
        none = torch.zeros(len(learner), len(self.queries), dtype=torch.bool)
        return PathRequest(history, none, torch.full_like(learner, self.path.shape[1]), learner, learner)


class Sequences(Dataset[dict[str, Tensor]]):
    """Answer sequences, one student each, that come as vectors."""

    def __init__(self, world: World) -> None:
        self.item, self.bank = world.log.item.long().view(len(world.path), -1), world.bank
        self.correct = world.log.correct.float().view_as(self.item)
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

    def __init__(self, students: int, observed: int) -> None:
        wide = {"obs": observed, "obs_next": observed, "action": VECTOR, "cell_state": HIDDEN}
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
        self.mastery()

    def goals(self, items: Tensor) -> Tensor:
        """Return the vector [B, D] of the concept that each student practised most among the last answers."""
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
        return torch.sigmoid(self.net.head(self.hidden, vector))

    def mastery(self) -> Tensor:
        """Return the mastery [B] of the goal."""
        return self.success(self.goal)

    def observation(self) -> Tensor:
        """Return what an agent sees, [B, H + D]."""
        return torch.cat([self.hidden, self.goal], 1)

    def step(self, action: np.ndarray, last: bool, search: bool, given: Tensor | None = None) -> dict[str, np.ndarray]:
        """Ask every student the question at `action` [B, D], answered at random or as `given` [B]."""
        vector = torch.tensor(action)
        if search:
            found = (F.normalize(vector, dim=1) @ self.unit.T).numpy().argmax(1)
            vector = torch.stack([self.bank[found[student]] for student in range(len(action))])
        arrays = {"obs": self.observation(), "cell_state": self.memory[1][0], "y_kc_before": self.mastery()}
        with torch.no_grad():
            success = self.success(vector)
        answer = (torch.rand_like(success) < success).float() if given is None else given
        output, self.memory = self.net.lstm((vector + self.net.answer(answer.long()))[:, None], self.memory)
        self.hidden = output[:, -1]
        after = self.mastery()
        arrays.update(obs_next=self.observation(), y_que=success, y_kc_after=after)
        arrays["reward"] = (after - arrays["y_kc_before"]) * 1000
        stored = {name: array.clone().detach().cpu().numpy() for name, array in arrays.items()}
        return {**stored, "action": action, "terminated": np.full(len(action), last)}


class PlainAllConcepts(PlainLoop):
    """The same where the goal is the mean mastery of all concepts."""

    def goals(self, items: Tensor) -> Tensor:
        """Return the vectors [N, D] of all concepts."""
        return self.queries

    @torch.no_grad()
    def mastery(self) -> Tensor:
        """Return the mean mastery [B] of all concepts."""
        blocks = []
        for vectors in torch.split(self.goal, BLOCK):
            hidden = self.hidden[:, None].expand(-1, len(vectors), -1).reshape(-1, HIDDEN)
            pairs = vectors.expand(len(self.hidden), -1, -1).reshape(-1, VECTOR)
            blocks.append(self.net.head(hidden, pairs).sigmoid().view(-1, len(vectors)))
        return torch.cat(blocks, 1).mean(1)

    def observation(self) -> Tensor:
        """Return what an agent sees, [B, H]."""
        return self.hidden


def build(goal: ConceptGoal, learners: int, steps: int, history: int, questions: int, concepts: int) -> World:
    """Return random learners, questions and weights."""
    item_concepts = torch.randint(concepts, (questions, 2))
    item_concepts[torch.rand(questions) > 0.16, 1] = PAD  # XES3G5M has 1.16 concepts a question
    bank, queries = (F.normalize(torch.randn(count, VECTOR), dim=1) * VECTOR**0.5 for count in (questions, concepts))
    table = QuestionTable(questions, concepts, VECTOR, given_items=True, given_concepts=True)
    table.attach(item_concepts, item_vectors=bank, concept_vectors=queries)
    net = QuestionNet(table, HIDDEN, HEAD).eval()
    item, path = torch.randint(questions, (learners * 2 * history,)), torch.randint(questions, (learners, steps))
    correct = torch.randint(2, item.shape, dtype=torch.uint8)
    offsets, concept = torch.arange(learners + 1) * 2 * history, item_concepts[item].int()
    log = Interactions(offsets, torch.arange(learners), item.int(), concept, correct)
    actions = QuestionActions(questions)
    actions.item_concepts = item_concepts
    return World(goal, net, item_concepts, bank, queries, log, history, path, actions)


def difference(world: World, plain: PlainLoop) -> float:
    """Return how far probabilities and gains of both sides are apart at most, for the same questions and answers."""
    simulator, request = KESSimulator(world.net, "threshold", actions=world.actions), world.request()
    ours = rollout(simulator, world.goal, request, FixedPaths(world.path), report_mastery=False)
    plain.reset()
    apart = 0.0
    for number, asked in enumerate(world.path.unbind(1)):
        step = plain.step(world.bank[asked].numpy(), False, False, ours.response[:, number])
        theirs = np.stack([step["y_que"], step["y_kc_after"] - step["y_kc_before"]])
        expected = torch.stack([ours.predicted[:, number], ours.gain[:, number]]).numpy()
        apart = max(apart, float(np.abs(theirs - expected).max()))
    return apart


def time_ours(world: World, simulator: KESSimulator, number: int) -> list[float]:
    """Return the seconds of whole episodes, and of their steps, in the round of that number."""
    policy, horizon = TimedPaths(world.path), world.path.shape[1] + 1  # the paths end one step earlier
    start, request = time.process_time(), world.request()  # the clock is read first
    draws = Draws.of(0, number, request.row)
    rollout(simulator, world.goal, request, policy, draws, horizon=horizon, report_mastery=False)
    return [time.process_time() - start, policy.read[-1] - policy.read[0]]


def time_plain(world: World, plain: PlainLoop, buffer: StudentBuffer) -> list[float]:
    """Return the seconds of whole episodes, of their steps, and of steps that search the bank if these are timed."""
    actions, times = world.bank[world.path.T].numpy(), [time.process_time()]
    plain.reset()
    for search in (False,) if isinstance(world.goal, AllConcepts) else (False, True):
        plain.hidden, plain.memory = plain.start
        times.append(time.process_time())
        for number, action in enumerate(actions, 1):
            buffer.add(plain.step(action, number == len(actions), search))
        times.append(time.process_time())
    return [times[2] - times[0], *(end - start for start, end in zip(times[1::2], times[2::2]))]


def measure(world: World, plain: PlainLoop, rounds: int) -> list[float]:
    """Return the difference of both sides, and the median seconds of `time_ours` and `time_plain`."""
    if (apart := difference(world, plain)) > TOLERANCE:
        raise SystemExit(f"probabilities differ by {apart:.1e}")
    buffer = StudentBuffer(len(world.path), plain.observation().shape[1])
    simulator, times = KESSimulator(world.net, "bernoulli", actions=world.actions), list[list[float]]()
    for number in range(rounds + 1):  # the first round warms up
        times.append([*time_ours(world, simulator, number), *time_plain(world, plain, buffer)])
        print(f"round {number}: ours {times[-1][0]:.3f} s, plain {times[-1][2]:.3f} s")
    return [apart, *(statistics.median(side) for side in zip(*times[1:]))]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    for name, size in {"learners": 512, "steps": 10, "history": 100, "questions": 7652, "concepts": 865}.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    sizes: dict[str, int] = vars(parser.parse_args())
    rounds = sizes.pop("rounds")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    one = build(PractisedConcept(RECENT, SoftExam()), **sizes)
    every = build(AllConcepts(SoftExam()), **{**sizes, **ALL_CONCEPTS})
    apart, whole, steps, plain_whole, plain_steps, searched = measure(one, PlainLoop(one), rounds)
    apart_all, _, all_steps, _, plain_all = measure(every, PlainAllConcepts(every), rounds)
    ratios = {"": plain_whole / whole, "_steps": plain_steps / steps, "_steps_searched": searched / steps}
    rates = {"steps": steps, "episodes_steps": whole, "plain_steps": plain_steps, "plain_episodes_steps": plain_whole}
    report: dict[str, object] = {f"ratio{name}": round(ratio, 1) for name, ratio in ratios.items()}
    report |= {f"{name}_per_s": round(one.path.numel() / seconds) for name, seconds in rates.items()}
    report |= {"ratio_all_concepts": round(plain_all / all_steps, 1), "all_concepts": ALL_CONCEPTS}
    report |= {"all_concepts_steps_per_s": round(every.path.numel() / all_steps), "difference": max(apart, apart_all)}
    print(json.dumps({**report, **sizes, "vector": VECTOR, "hidden": HIDDEN, "head": HEAD, "threads": 1}))


if __name__ == "__main__":
    main()
