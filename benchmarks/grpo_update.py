"""How many paths a second the policy's update takes in: prompts shared by their K paths against K full passes.

The two sides compute the same gradients (checked here, to 1e-4 of the largest one); they alternate in one process,
and medians are compared. The last printed line is JSON: `ratio` is ours over the full passes, in paths per second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lpr_lightning.nets.path_decoder import PathDecoder
from lpr_lightning.types import InteractionBatch, PathRequest


def requests(count: int, concepts: int, history: int) -> PathRequest:
    """Return random requests with full histories and six targets each."""
    generator = torch.Generator().manual_seed(0)
    concept = torch.randint(concepts, (count, history, 1), generator=generator)
    correct = torch.randint(2, (count, history), generator=generator).float()
    mask = torch.ones(count, history, dtype=torch.bool)
    targets = torch.zeros(count, concepts, dtype=torch.bool)
    targets[:, :6] = True
    rows = torch.arange(count)
    return PathRequest(
        InteractionBatch(concept, concept[..., 0], correct, mask, rows), targets, torch.full((count,), 10), rows, rows
    )


def gradient(net: PathDecoder, log_prob: Tensor, mask: Tensor) -> Tensor:
    """Return the gradient of the mean log-probability as one vector."""
    net.zero_grad()
    torch.autograd.backward(log_prob[mask].mean())
    return torch.cat([weight.grad.flatten() for weight in net.parameters() if weight.grad is not None])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--group", type=int, default=16)
    parser.add_argument("--history", type=int, default=53, help="with six targets and the length: 60 tokens")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    concepts = 149
    net = PathDecoder(concepts, hidden_size=128, num_layers=3, num_heads=4, history_length=options.history)
    request = requests(options.prompts, concepts, options.history)
    path = torch.randint(concepts, (options.prompts * options.group, options.steps))
    copies = request.repeat(options.group)

    def shared() -> Tensor:
        return gradient(net, *net.log_prob(request, path, options.group)[:2])

    def full() -> Tensor:
        return gradient(net, *net.log_prob(copies, path, 1)[:2])

    one, other = shared(), full()
    difference = float((one - other).abs().max() / other.abs().max())
    if difference > 1e-4:
        raise SystemExit(f"the gradients differ by {difference:.1e} of the largest one")
    sides: list[Callable[[], Tensor]] = [shared, full]
    seconds: list[list[float]] = [[], []]
    for _ in range(options.runs):
        for times, side in zip(seconds, sides):
            start = time.perf_counter()
            side()
            times.append(time.perf_counter() - start)
    ours, plain = (len(path) / statistics.median(times) for times in seconds)
    print(f"prompt shared: {ours:.0f} paths/s; {options.group} full passes: {plain:.0f} paths/s")
    print(
        json.dumps(
            {
                "ratio": round(ours / plain, 2),
                "shared_paths_per_s": round(ours),
                "full_paths_per_s": round(plain),
                "gradient_difference": difference,
                "what": f"forward and backward, {options.prompts} prompts, {options.group} paths each, one thread",
            }
        )
    )


if __name__ == "__main__":
    main()
