"""CPU time of one training pass of DKT on logs of ASSIST09's shape: `DKT` against the plain padded loop.

The plain loop is what pyKT runs, written anew from its description: logs cut into rows of 200 and padded, a data set
that yields row by row, batches in the order of the rows, `nn.Embedding`, `nn.LSTM`, outputs for all concepts at all
steps, the asked one picked by a one-hot vector, binary cross-entropy in double precision. Both sides have the same
sizes, batches of 256 rows, dropout 0.1 and Adam; gradients are compared first (dropout 0; to 1e-4 of the largest one).
The sides alternate in one process on one thread; medians of process time are compared. The last printed line is JSON:
`ratio` is the plain loop's time over ours. Where there is a GPU, answers/s of both sides there are printed too, and the
share of a large matrix product's rate that ours reaches.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from lpr_lightning.datamodules.loader import IndexedBatches
from lpr_lightning.models.dkt import DKT
from lpr_lightning.tasks.next_answers import NextAnswers, Windows
from lpr_lightning.types import Interactions


def made_up_logs(learners: int, answers: int, concepts: int, seed: int = 0) -> Interactions:
    """Return random logs whose lengths are spread like ASSIST09's: median 29, long tail, `answers` in all."""
    generator = torch.Generator().manual_seed(seed)
    spread = (2 * torch.log(torch.tensor(answers / learners / 29))).sqrt()
    lengths = torch.exp(spread * torch.randn(learners, generator=generator)).mul(29).round().clamp_(3, 1200)
    lengths = lengths.mul(answers / lengths.sum()).round().clamp_min(3).long()
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    rows = int(offsets[-1])
    concept = torch.randint(concepts, (rows, 1), generator=generator, dtype=torch.int32)
    correct = torch.randint(2, (rows,), generator=generator, dtype=torch.uint8)
    return Interactions(offsets, torch.arange(learners), concept[:, 0], concept, correct)


def every_window(log: Interactions, concepts: int) -> Windows:
    """Return all logs in windows of 200."""
    windows = NextAnswers(200).examples(log, "train", concepts, 0)
    if not isinstance(windows, Windows):
        raise TypeError(f"{type(windows).__name__} instead of Windows")
    return windows


class PaddedRows(Dataset[dict[str, Tensor]]):
    """Rows of 200 answers, padded with -1; each row brings its answers, the following ones, and which are real."""

    def __init__(self, windows: Windows) -> None:
        batch = windows.batch(torch.arange(len(windows.sizes)))
        self.concept = F.pad(batch.concept[..., 0], (0, 200 - batch.mask.shape[1]), value=-1)
        self.correct = F.pad(batch.correct, (0, 200 - batch.mask.shape[1]), value=-1)
        self.both = (self.concept[:, :-1] != -1) & (self.concept[:, 1:] != -1)

    def __len__(self) -> int:
        return len(self.concept)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        both = self.both[row]
        return {
            "concept": self.concept[row, :-1] * both,
            "correct": self.correct[row, :-1] * both,
            "next_concept": self.concept[row, 1:] * both,
            "next_correct": self.correct[row, 1:] * both,
            "mask": both,
        }


class PlainDKT(nn.Module):
    """DKT as it is commonly written, around the layers of `tracer`."""

    def __init__(self, tracer: DKT, dropout: float) -> None:
        super().__init__()
        self.concepts = tracer.num_concepts
        self.embedding, self.lstm, self.head = tracer.net.embedding, tracer.net.lstm, tracer.net.head
        self.dropout = nn.Dropout(dropout)

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean cross-entropy of next answers."""
        hidden, _ = self.lstm(self.embedding(batch["concept"] + self.concepts * batch["correct"].long()))
        everything = torch.sigmoid(self.head(self.dropout(hidden)))
        asked = (everything * F.one_hot(batch["next_concept"].long(), self.concepts)).sum(-1)
        predicted, real = asked[batch["mask"]], batch["next_correct"][batch["mask"]]
        return F.binary_cross_entropy(predicted.double(), real.double())


def plain_pass(plain: PlainDKT, rows: PaddedRows, batch_size: int, device: str) -> None:
    """Train one epoch by the plain loop."""
    plain.to(device).train()
    optimizer = torch.optim.Adam(plain.parameters(), 1e-3)
    for batch in DataLoader(rows, batch_size):
        loss = plain.loss({name: part.to(device) for name, part in batch.items()})
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()


def our_pass(tracer: DKT, windows: Windows, batch_size: int, device: str) -> None:
    """Train one epoch by `DKT`."""
    tracer.to(device).train()
    optimizer = torch.optim.Adam(tracer.parameters(), 1e-3)
    for index in IndexedBatches(windows, batch_size, shuffle=True).index_batches():
        loss = tracer.fit_step(windows.batch(index).to(device), 0)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()


def gradient_difference(windows: Windows, concepts: int, width: int, batch_size: int) -> float:
    """Return the largest difference of the two sides' gradients, as a share of the largest gradient."""
    tracer = DKT(concepts, width, width, dropout=0.0)
    plain = PlainDKT(tracer, dropout=0.0)
    index = torch.arange(min(batch_size, len(windows.sizes)))
    gradients = []
    rows = PaddedRows(Windows(windows.log, windows.learner[index], windows.start[index], windows.stop[index]))
    for loss in (tracer.fit_step(windows.batch(index), 0), plain.loss(next(iter(DataLoader(rows, len(rows)))))):
        tracer.zero_grad()
        torch.autograd.backward(loss)
        gradients.append(torch.cat([one.grad.flatten() for one in tracer.parameters() if one.grad is not None]))
    return float((gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max())


def matmul_rate(device: str) -> float:
    """Return the floating-point operations a second of large single-precision products."""
    matrix = torch.randn(2048, 2048, device=device)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        float((matrix @ matrix)[0, 0])
        taken.append(time.perf_counter() - start)
    return 2 * 2048**3 / statistics.median(taken)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=768, help="random rows of the logs; 0 takes all of them")
    parser.add_argument("--learners", type=int, default=4217)
    parser.add_argument("--answers", type=int, default=346_860)
    parser.add_argument("--concepts", type=int, default=167)
    parser.add_argument("--width", type=int, default=200, help="of embedding and state")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", ".*self.log.*")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    log = made_up_logs(options.learners, options.answers, options.concepts)
    windows = every_window(log, options.concepts)
    every = len(windows.sizes)
    if options.rows:
        drawn = torch.randperm(every, generator=torch.Generator().manual_seed(1))[: options.rows]
        windows = Windows(log, windows.learner[drawn], windows.start[drawn], windows.stop[drawn])
    answers = int((windows.sizes - 1).sum())
    print(f"{every} rows in all; {len(windows.sizes)} of them with {answers} next answers")
    difference = gradient_difference(windows, options.concepts, options.width, options.batch_size)
    if difference > 1e-4:
        raise SystemExit(f"the gradients differ by {difference:.1e} of the largest one")
    tracer = DKT(options.concepts, options.width, options.width, dropout=0.1, learning_rate=1e-3)
    plain = PlainDKT(DKT(options.concepts, options.width, options.width), dropout=0.1)
    rows = PaddedRows(windows)
    sides: list[Callable[[str], None]] = [
        lambda device: our_pass(tracer, windows, options.batch_size, device),
        lambda device: plain_pass(plain, rows, options.batch_size, device),
    ]

    def seconds(device: str, clock: Callable[[], float]) -> list[float]:
        times: list[list[float]] = [[], []]
        for run in range(options.runs):
            for taken, side in zip(times, sides):
                start = clock()
                side(device)
                if device == "cuda":
                    torch.cuda.synchronize()
                taken.append(clock() - start)
            print(f"{device} {run}: ours {times[0][-1]:.2f} s, plain {times[1][-1]:.2f} s", flush=True)
        return [statistics.median(taken) for taken in times]

    ours, padded = seconds("cpu", time.process_time)
    result = {
        "ratio": round(padded / ours, 2),
        "ours_cpu_s": round(ours, 2),
        "plain_cpu_s": round(padded, 2),
        "answers_per_cpu_s": round(answers / ours),
        "gradient_difference": difference,
        "what": f"a training pass over {len(windows.sizes)} rows, {answers} next answers, one thread",
    }
    if torch.cuda.is_available():
        on_gpu = seconds("cuda", time.perf_counter)
        result |= {f"{name}_gpu_answers_per_s": round(answers / one) for name, one in zip(("our", "plain"), on_gpu)}
        needed = 3 * 2 * 4 * options.width * 2 * options.width * answers  # input and recurrent products, both ways
        result["our_gpu_share_of_matmul_rate"] = round(needed / on_gpu[0] / matmul_rate("cuda"), 4)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
