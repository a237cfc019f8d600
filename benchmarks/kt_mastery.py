"""CPU time of the mastery of many learners over all concepts, against the whole head on every (learner, concept) pair.

The plain side is what the authors' code does: each block of concepts is expanded to all learners and goes through
every layer of the head. Both sides have the same weights, take turns in one process on one thread, and medians of
process CPU time are compared. The factorised side is measured as a roll-out uses it, with the concepts' half kept,
and, for the record, with that half computed anew each time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lpr_lightning.nets.question_net import QuestionNet
from lpr_lightning.nets.question_table import QuestionTable

BLOCK = 256
"""Concepts that the plain side takes at once."""


def plain(net: QuestionNet, state: tuple[Tensor, ...]) -> Tensor:
    """Return the mastery [B, N] by the whole head on expanded pairs."""
    blocks = []
    for vectors in net.table.concepts().split(BLOCK):  # type: ignore[no-untyped-call]
        pairs = len(state[0]), len(vectors)
        hidden = state[0][:, None].expand(*pairs, -1).reshape(-1, state[0].shape[1])
        blocks.append(net.head(hidden, vectors.expand(*pairs, -1).reshape(-1, vectors.shape[1])).view(pairs))
    return torch.cat(blocks, 1).sigmoid()


def factorised(net: QuestionNet, state: tuple[Tensor, ...]) -> Tensor:
    """Return the same by halves."""
    return net.mastery(state)


def afresh(net: QuestionNet, state: tuple[Tensor, ...]) -> Tensor:
    """Return the same by halves, none of them kept."""
    half = net.head.vector_half(net.table.concepts())
    return net.head.logits(net.head.state_half(state[0])[None], half)[0].sigmoid()


def cpu_seconds(ask: Callable[[QuestionNet, tuple[Tensor, ...]], Tensor], net: QuestionNet, state: Tensor) -> float:
    """Return the process CPU time of one call."""
    start = time.process_time()
    ask(net, (state,))
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learners", type=int, default=64)
    parser.add_argument("--concepts", type=int, default=1377)
    parser.add_argument("--rounds", type=int, default=7)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table = QuestionTable(1, settings.concepts, 768, given_items=True, given_concepts=True)
    net = QuestionNet(table, hidden_size=300, head_size=1200).eval()
    vectors = torch.nn.functional.normalize(torch.randn(settings.concepts, 768), dim=1) * 768**0.5
    table.attach(torch.zeros(1, 1, dtype=torch.int64), concept_vectors=vectors)
    state = torch.randn(settings.learners, 300).tanh()
    sides = {"plain": plain, "factorised": factorised, "afresh": afresh}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    with torch.no_grad():
        difference = float((plain(net, (state,)) - factorised(net, (state,))).abs().max())
        for number in range(settings.rounds):
            for name, ask in sides.items():
                seconds[name].append(cpu_seconds(ask, net, state))
            print(f"round {number}: " + ", ".join(f"{name} {values[-1]:.3f} s" for name, values in seconds.items()))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    report = {
        "ratio": round(median["plain"] / median["factorised"], 1),
        "ratio_afresh": round(median["plain"] / median["afresh"], 1),
        "cpu_s": {name: round(value, 4) for name, value in median.items()},
        "largest_difference": difference,
        "measured": f"{settings.learners} learners x {settings.concepts} concepts, vectors 768, hidden 300, "
        "joint 1200, float32, one thread",
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
