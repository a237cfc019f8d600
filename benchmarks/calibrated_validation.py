"""A validation of CalibratedDKT against an epoch of training, at the size of XES3G5M (7,652 questions, 865 concepts).

Logs are drawn at random. An epoch trains on windows of 200 answers with the sizes of `configs/calibrated_dkt.yaml`; a
validation predicts the answers of a seventh as many learners and measures mastery on the sample that the module draws.
Beside it stands the measure that it took the place of: all questions and all concepts at the same points of each log.
The last printed line is JSON: `validation_share` and `full_share` are the times of a validation, sampled and full,
divided by that of the epoch, `concept_mae` and `concept_mae_full` what they measure.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings

import torch

from lpr_lightning.draws import Draws
from lpr_lightning.metrics.concept_error import ConceptError
from lpr_lightning.models.calibrated_dkt import CalibratedDKT
from lpr_lightning.types import InteractionBatch


def batches(learners: int, item_concepts: torch.Tensor, answers: int, size: int, seed: int) -> list[InteractionBatch]:
    """Return random logs of `answers` answers each."""
    generator = torch.Generator().manual_seed(seed)
    item = torch.randint(len(item_concepts), (learners, answers), generator=generator)
    logs = InteractionBatch(
        concept=item_concepts[item],
        item=item,
        correct=torch.randint(2, item.shape, generator=generator).float(),
        mask=torch.ones_like(item, dtype=torch.bool),
        learner=torch.arange(learners),
    )
    return [logs.select(torch.arange(start, min(start + size, learners))) for start in range(0, learners, size)]


@torch.no_grad()
def full(tracer: CalibratedDKT, batch: InteractionBatch, error: ConceptError) -> None:
    """Predict the answers and compare all concepts with all of their questions."""
    table, net = tracer.net.table, tracer.net
    trace = net.trace(batch)
    net.trace_logits(trace, batch)
    state = (trace.at(batch.mask, tracer.measured[0]),)
    mastery, chance = net.mastery(state), net.item_logits(state).sigmoid()
    group = torch.arange(table.num_concepts).repeat_interleave(table.count)
    total = torch.zeros_like(mastery).index_add_(1, group, chance.index_select(1, table.question))
    error.update(mastery[:, table.known], (total / table.count.clamp_min(1))[:, table.known])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=7652)
    parser.add_argument("--concepts", type=int, default=865)
    parser.add_argument("--learners", type=int, default=448, help="to train on; a seventh as many are validated")
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--calibrating", action="store_true", help="an epoch of the second stage instead of the first")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", ".*self.log.*")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tracer = CalibratedDKT(
        options.concepts,
        options.questions,
        embedding_size=64,
        hidden_size=64,
        head_size=256,
        dropout=0.2,
        questions_per_concept=None,
    )
    item_concepts = torch.randint(options.concepts, (options.questions, 1))
    tracer.net.table.attach(item_concepts)
    tracer.calibration.frozen.table.share(tracer.net.table)
    if tracer.net.table.own is not None:
        torch.nn.init.normal_(tracer.net.table.own, std=0.5)  # questions that differ, as after training
    optimizer = tracer.configure_optimizers()
    train = batches(options.learners, item_concepts, options.answers, 32, 0)
    val = batches(options.learners // 7, item_concepts, options.answers, 32, 1)
    groups = Draws.of(0, 0, torch.arange(options.concepts))

    def epoch() -> None:
        for batch in train:
            optimizer.zero_grad()
            if options.calibrating:
                losses = tracer.calibration.losses(tracer.net, batch, Draws.of(0, 1, batch.learner), groups)
            else:
                losses = tracer.losses(batch)
            torch.autograd.backward(torch.stack(list(losses.values())).sum())
            optimizer.step()

    def validation() -> None:
        with torch.no_grad():
            for batch in val:
                tracer.evaluate(batch, "val")

    def before() -> None:
        for batch in val:
            full(tracer, batch, error)

    seconds, error = {}, ConceptError()
    for name, run in (("epoch", epoch), ("validation", validation), ("full", before)):
        tracer.train(name == "epoch")
        start = time.perf_counter()
        run()
        seconds[name] = time.perf_counter() - start
    figures = {name: round(value, 3) for name, value in seconds.items()}
    figures |= {f"{name}_share": round(seconds[name] / seconds["epoch"], 3) for name in ("validation", "full")}
    figures["concept_mae"] = round(float(tracer.figures("val")["concept_mae"]), 5)
    figures["concept_mae_full"] = round(float(error.compute()), 5)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
