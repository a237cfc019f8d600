"""CPU time of autoregressive roll-out: the tracer's state carried on against running the prefix again at each step.

Learners answer a given path after their history; each answer is the prediction itself, right from 0.5 on. The plain
side does what pyKT's evaluation does, written anew from its description: learner by learner, at each step `nn.LSTM`
over the whole prefix and outputs for all concepts. Both sides must give the same probabilities (to 1e-6). They
alternate in one process on one thread; medians of process time are compared. The last printed line is JSON: `ratio` is
the plain side's time over ours, `ratio_batched` that of running the prefix again for all learners at once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lpr_lightning.models.dkt import DKT
from lpr_lightning.protocols import Tracer
from lpr_lightning.types import Exercise, InteractionBatch


def histories(learners: int, steps: int, concepts: int) -> InteractionBatch:
    """Return random full histories."""
    generator = torch.Generator().manual_seed(0)
    concept = torch.randint(concepts, (learners, steps, 1), generator=generator)
    correct = torch.randint(2, (learners, steps), generator=generator).float()
    mask = torch.ones(learners, steps, dtype=torch.bool)
    return InteractionBatch(concept, concept[..., 0], correct, mask, torch.arange(learners))


@torch.no_grad()
def carried(tracer: Tracer, history: InteractionBatch, path: Tensor) -> Tensor:
    """Return the predictions [B, L], carrying the state on."""
    state = tracer.encode(history)
    predicted = []
    for concept in path.unbind(1):
        asked = Exercise.of_concepts(concept)
        predicted.append(tracer.predict(state, asked))
        state = tracer.observe(state, asked, (predicted[-1] >= 0.5).float())
    return torch.stack(predicted, 1)


@torch.no_grad()
def again(tracer: DKT, history: InteractionBatch, path: Tensor) -> Tensor:
    """Return the predictions [B, L], running the prefix again at each step."""
    concept, correct = history.concept[..., 0], history.correct
    predicted = []
    for asked in path.unbind(1):
        embedded = tracer.net.embedding(concept + tracer.num_concepts * correct.long())
        everything = torch.sigmoid(tracer.net.head(tracer.net.lstm(embedded)[0]))
        predicted.append(everything[:, -1].gather(1, asked[:, None])[:, 0])
        concept = torch.cat([concept, asked[:, None]], 1)
        correct = torch.cat([correct, (predicted[-1] >= 0.5).float()[:, None]], 1)
    return torch.stack(predicted, 1)


def one_by_one(tracer: DKT, history: InteractionBatch, path: Tensor) -> Tensor:
    """Return `again` of each learner alone."""
    rows = torch.arange(len(path))[:, None]
    return torch.cat([again(tracer, history.select(row), path[row]) for row in rows])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learners", type=int, default=40)
    parser.add_argument("--history", type=int, default=60, help="answers before the roll-out")
    parser.add_argument("--steps", type=int, default=60, help="of the roll-out")
    parser.add_argument("--concepts", type=int, default=167)
    parser.add_argument("--width", type=int, default=200, help="of embedding and state")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tracer = DKT(options.concepts, options.width, options.width).eval()
    history = histories(options.learners, options.history, options.concepts)
    path = torch.randint(options.concepts, (options.learners, options.steps))
    sides: list[Callable[[DKT, InteractionBatch, Tensor], Tensor]] = [carried, one_by_one, again]
    results = [side(tracer, history, path) for side in sides]
    difference = max(float((results[0] - other).abs().max()) for other in results[1:])
    if difference > 1e-6:
        raise SystemExit(f"the predictions differ by {difference:.1e}")
    seconds: list[list[float]] = [[] for _ in sides]
    for _ in range(options.runs):
        for times, side in zip(seconds, sides):
            start = time.process_time()
            side(tracer, history, path)
            times.append(time.process_time() - start)
    ours, single, batched = (1e3 * statistics.median(times) / path.numel() for times in seconds)
    print(f"a prediction takes {ours:.3f} ms carried on, {single:.2f} ms again, {batched:.3f} ms again in one batch")
    print(
        json.dumps(
            {
                "ratio": round(single / ours, 1),
                "ratio_batched": round(batched / ours, 1),
                "ours_ms": round(ours, 4),
                "plain_ms": round(single, 3),
                "difference": difference,
                "what": f"{options.learners} learners, {options.steps} steps after {options.history}, one thread",
            }
        )
    )


if __name__ == "__main__":
    main()
