"""Peak memory of training DKT on five million answers, all of them in memory.

Logs are drawn at random, cut into windows of 200 and trained on for some batches of 256 with the sizes that pyKT uses.
The last printed line is JSON: `peak_gb` is the largest resident memory of the process, libraries included.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import warnings

import torch

from lpr_lightning.datamodules.loader import IndexedBatches
from lpr_lightning.models.dkt import DKT
from lpr_lightning.tasks.next_answers import NextAnswers
from lpr_lightning.types import InteractionBatch, Interactions


def logs(answers: int, learners: int, concepts: int) -> Interactions:
    """Return random logs, every tensor as a datamodule keeps it."""
    generator = torch.Generator().manual_seed(0)
    ends = torch.randperm(answers - 1, generator=generator)[: learners - 1].sort().values + 1
    concept = torch.randint(concepts, (answers, 1), generator=generator, dtype=torch.int32)
    return Interactions(
        offsets=torch.cat([torch.tensor([0]), ends, torch.tensor([answers])]),
        learner=torch.arange(learners),
        item=concept[:, 0].clone(),
        concept=concept,
        correct=torch.randint(2, (answers,), generator=generator, dtype=torch.uint8),
        time=torch.arange(answers),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=5_000_000)
    parser.add_argument("--learners", type=int, default=50_000)
    parser.add_argument("--concepts", type=int, default=800)
    parser.add_argument("--width", type=int, default=200, help="of embedding and state")
    parser.add_argument("--batches", type=int, default=12)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", ".*self.log.*")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    log = logs(options.answers, options.learners, options.concepts)
    tracer = DKT(options.concepts, options.width, options.width)
    optimizer = tracer.configure_optimizers()
    examples = NextAnswers(200).examples(log, "train", options.concepts, 0)
    trained = 0
    for place, batch in enumerate(IndexedBatches(examples, 256, shuffle=True)):
        if place == options.batches:
            break
        if not isinstance(batch, InteractionBatch):
            raise TypeError(f"{type(batch).__name__} instead of InteractionBatch")
        optimizer.zero_grad()
        torch.autograd.backward(tracer.fit_step(batch, place))
        optimizer.step()
        trained += int(batch.mask.sum())
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    print(
        json.dumps(
            {
                "peak_gb": round(peak, 2),
                "what": f"{len(log)} answers in memory, {trained} of them trained on in {options.batches} batches",
            }
        )
    )


if __name__ == "__main__":
    main()
