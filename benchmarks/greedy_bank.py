"""Exact greedy search over a bank of questions: time, memory, and what its tables are worth.

At XES3G5M's scale (7,652 questions, 1,377 concepts; `--map` takes the real concept map, ExRec's
`cluster_to_que_ids_map.json`), with the paper's sizes (768, 300, 1,200) and random weights, on which time and memory do
not depend. One step ahead looks at every question with both answers, and at the goal's concepts after each.

Ours is `ExactGreedy`: products of all questions with both answers and both halves of the head are tabulated. The plain
side does the same for a sample of the questions in the way of a plain loop: question vector + answer vector through
`nn.LSTM`'s cell, the whole head for each question and each concept after it. Expectations must agree to 1e-4.

Sides take turns on one thread; times are medians of process time. The last printed line is JSON: `seconds_per_choice`
for one learner and a goal of one concept, `seconds_per_choice_all` for all concepts, `ratio` and `ratio_all` the plain
side's time over ours for the same questions, `peak_mb` the memory of the process at its most.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time

import torch
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.datamodules.concept_map import ConceptMap
from lpr_lightning.goals import AllConcepts, ConceptGoal, PractisedConcept, SoftExam
from lpr_lightning.models.calibrated_dkt import CalibratedDKT
from lpr_lightning.nets.question_net import QuestionNet
from lpr_lightning.policies import ExactGreedy
from lpr_lightning.protocols import Environment
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.kes import KESSimulator


def learners(on: Tensor, concepts: int, sizes: tuple[int, int, int]) -> KESSimulator:
    """Return learners of random weights."""
    torch.manual_seed(0)
    vector, hidden, head = sizes
    tracer = CalibratedDKT(concepts, len(on), embedding_size=vector, hidden_size=hidden, head_size=head)
    tracer.net.table.attach(on, None, None, None)
    bank = QuestionActions(len(on))
    bank.item_concepts = on
    return KESSimulator(tracer.requires_grad_(False), response="bernoulli", actions=bank)


def net_of(simulator: KESSimulator) -> QuestionNet:
    """Return the learners' network."""
    if not isinstance(simulator.tracer, CalibratedDKT):
        raise TypeError("the learners are those of a CalibratedDKT")
    return simulator.tracer.net


@torch.no_grad()
def plain(simulator: KESSimulator, state: tuple[Tensor, Tensor], questions: Tensor, concept: Tensor) -> Tensor:
    """Return the expected mean mastery after each question, question by question, for one learner."""
    net = net_of(simulator)
    vectors, concepts = net.table.all_items(), net.table.concepts()[concept]
    weights = dict(net.lstm.named_parameters())
    cell = [weights[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    found = []
    for question in questions.tolist():
        chance = net.head(state[0], vectors[question : question + 1]).sigmoid()
        value = torch.zeros(())
        for answer, weight in ((1, chance), (0, 1 - chance)):
            asked = vectors[question : question + 1] + net.answer.weight[answer]
            gates = F.linear(asked, cell[0], cell[2]) + F.linear(state[0], cell[1], cell[3])
            entry, forget, candidate, output = gates.chunk(4, 1)
            memory = forget.sigmoid() * state[1] + entry.sigmoid() * candidate.tanh()
            hidden = output.sigmoid() * memory.tanh()
            mastery = net.head(hidden.expand(len(concepts), -1), concepts).sigmoid()
            value = value + weight.squeeze() * mastery.mean()
        found.append(value)
    return torch.stack(found)


def timed(call: object, times: int) -> float:
    """Return the median of process times."""
    seconds = []
    for _ in range(times):
        begun = time.process_time()
        if callable(call):
            call()
        seconds.append(time.process_time() - begun)
    return statistics.median(seconds)


def compared(
    simulator: KESSimulator, goal: ConceptGoal, concept: Tensor, sample: int, times: int
) -> tuple[float, float]:
    """Return our seconds for a choice among all questions, and how much longer the plain side takes."""
    size = net_of(simulator).hidden_size
    state = torch.randn(1, size), torch.randn(1, size)
    every, some = torch.arange(len(simulator.actions))[None], torch.arange(sample)
    search, environment = ExactGreedy(max_rows=2048), Environment(simulator, goal)
    ours = search.values(environment, state, concept, every)
    theirs = plain(simulator, state, some, concept[0])
    torch.testing.assert_close(ours[0, :sample], theirs, atol=1e-4, rtol=0)
    own = timed(lambda: search.values(environment, state, concept, every), times)
    other = timed(lambda: plain(simulator, state, some, concept[0]), times)
    return own, other / sample * len(simulator.actions) / own


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--map", help="JSON file {concept: [questions]}; default a random one of the same size")
    parser.add_argument("--sizes", type=int, nargs=3, default=(768, 300, 1200), help="vectors, state, head")
    parser.add_argument("--sample", type=int, default=24, help="questions of the plain side")
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.map:
        read = ConceptMap.read(options.map)
        on, concepts = read.item_concepts, len(read.concepts)
    else:
        on, concepts = torch.arange(7652)[:, None] % 1377, 1377
    simulator, exam = learners(on, concepts, tuple(options.sizes)), SoftExam()
    one = compared(simulator, PractisedConcept(exam=exam), torch.tensor([[0]]), options.sample, options.times)
    few = max(options.sample // 8, 1)
    every = compared(simulator, AllConcepts(exam), torch.arange(concepts)[None], few, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "questions": len(on),
                "concepts": concepts,
                "seconds_per_choice": round(one[0], 3),
                "ratio": round(one[1], 1),
                "seconds_per_choice_all": round(every[0], 2),
                "ratio_all": round(every[1], 1),
                "peak_mb": round(peak),
            }
        )
    )


if __name__ == "__main__":
    main()
