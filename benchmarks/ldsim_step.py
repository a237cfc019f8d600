"""CPU time of a simulated step of LDSim against one of DKT of the same width: predict the answer, go on with it.

Learners are asked questions; each answer is the likelier one, told by `practise` (a step of an episode) or by `observe`
(as a real answer), the state carried on. Both tracers take turns in one process on one thread; medians of process time
are compared. The last printed line is JSON: `ratio` is LDSim's time over DKT's, of episodes as LDSim has them;
`ratio_observed` the same where it reads every answer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Literal

import torch
from torch import Tensor

from lpr_lightning.models.dkt import DKT
from lpr_lightning.models.ldsim import LDSim
from lpr_lightning.protocols import Tracer
from lpr_lightning.types import Exercise, State

Step = Literal["practise", "observe"]


@torch.no_grad()
def run(tracer: Tracer, state: State, concept: Tensor, item: Tensor, step: Step) -> float:
    """Return the process time of going on for the questions [B, L]."""
    begun = time.process_time()
    move = tracer.practise if step == "practise" else tracer.observe
    for place in range(concept.shape[1]):
        asked = Exercise(concept[:, place, None], item[:, place])
        state = move(state, asked, (tracer.predict(state, asked) >= 0.5).float())
    return time.process_time() - begun


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learners", type=int, default=256)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--concepts", type=int, default=147)
    parser.add_argument("--items", type=int, default=17_000)
    parser.add_argument("--width", type=int, default=100, help="of embeddings and state")
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    width, concepts = options.width, options.concepts
    dkt = DKT(concepts, width, width).eval()
    ldsim = LDSim(concepts, options.items, embedding_size=width, hidden_size=width).eval()
    ldsim.net.read.graph.attach(torch.rand(concepts, concepts))
    torch.nn.init.normal_(ldsim.net.read.difficulty.weight)
    item = torch.randint(options.items, (options.learners, options.steps))
    concept = item % concepts
    sides: list[tuple[str, Tracer, Step]] = [
        ("dkt", dkt, "observe"),
        ("ldsim", ldsim, "practise"),
        ("ldsim, observed", ldsim, "observe"),
    ]
    seconds: dict[str, list[float]] = {name: [] for name, _, _ in sides}
    for number in range(options.runs + 1):
        for name, tracer, step in sides:
            taken = run(tracer, tracer.initial_state(options.learners), concept, item, step)
            if number:  # the first one fills the tables
                seconds[name].append(taken)
    each = {name: 1e3 * statistics.median(taken) / options.steps for name, taken in seconds.items()}
    print(", ".join(f"{name} {value:.3f} ms a step" for name, value in each.items()))
    report = {
        "ratio": round(each["ldsim"] / each["dkt"], 2),
        "ratio_observed": round(each["ldsim, observed"] / each["dkt"], 2),
        "ms_a_step": {name: round(value, 3) for name, value in each.items()},
        "what": f"{options.learners} learners, {concepts} concepts, width {width}, one thread",
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
