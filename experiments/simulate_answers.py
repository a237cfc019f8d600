"""Simulate answers: how well tracers predict the next answer, and go on by themselves after a share of a log.

    python experiments/simulate_answers.py --data assist09 --root DIR --out runs/assist09

Every configuration in configs/tracer, and each method on questions, is fitted on the training learners (or found in
`--out`) and gets a row; the learners of known truth, where they are, and the simplest rivals stand beside them. Data
are those of configs/grpo.yaml (synthetic) or an overlay in configs/data. `--config NAME=FILE` adds a row of another
configuration, `--words NAME=TRACER:WORDS` one of a tracer under other settings, as in
`--words "without graph=ldsim:--model.relations=false"`. Words after `--` go to every fit; those that begin with
`--data.` change the data of everything.

`--out` then holds `simulated.csv` with all figures, the tables in `simulated.md`, and a picture. The same command goes
on where it was stopped: fitted tracers and figures are kept under all that they depend on.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lpr_lightning.cache import atomic_write, fingerprint
from lpr_lightning.datamodules.base import LearnerDataModule
from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.functional.open_loop import Steps, follow_logs
from lpr_lightning.functional.simulation import prefix_lengths, read_histories
from lpr_lightning.metrics import AnswerMetrics
from lpr_lightning.metrics.log_figures import Figures
from lpr_lightning.metrics.simulation_figures import SimulationFigures
from lpr_lightning.nets.simple_rivals import QuestionMean, simple_rivals
from lpr_lightning.protocols import Tracer
from lpr_lightning.simulators.world_learners import WorldLearners
from lpr_lightning.studies.tracer_fits import FitFolder, data_description, data_module, write
from lpr_lightning.types import Exercise, InteractionBatch, Interactions, State

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
METHODS = ("simple_kt", "calibrated_dkt")
"""Configurations of methods whose tracers have none in configs/tracer."""
FORMAT, ROWS, TRUTH = 1, 256, "truth"
"""Of what is kept; learners followed at once; the row of the truth."""


@dataclass(frozen=True)
class Row:
    """A model of learners: name, key of all that it depends on, calls, and the state after histories."""

    name: str
    key: str
    model: Steps
    encode: Callable[[InteractionBatch], State]
    mastery: Callable[[State], Tensor]


def say(text: str) -> None:
    """Show what is about to be done."""
    print(f"== {text}", flush=True)


def tracer_configs() -> dict[str, Path]:
    """Return the configurations of all tracers by name."""
    found = {path.stem: path for path in sorted((CONFIGS / "tracer").glob("*.yaml"))}
    return found | {name: CONFIGS / f"{name}.yaml" for name in METHODS if name not in found}


def rows_of(fits: FitFolder, options: argparse.Namespace) -> list[Row]:
    """Return all rows: tracers, those under other settings, the truth where it is known, the simplest rivals."""
    known, found, data = tracer_configs(), [], fits.data
    if unknown := [name for name in options.tracers or () if name not in known]:
        raise SettingError("tracers", unknown, f"some of {', '.join(known)}")
    wanted: dict[str, tuple[Path, list[str]]] = {
        name: (path, []) for name, path in known.items() if options.tracers is None or name in options.tracers
    }
    for given in options.config:
        name, _, path = given.partition("=")
        wanted[name] = Path(path), []
    for given in options.words:
        name, _, rest = given.partition("=")
        tracer, _, words = rest.partition(":")
        if tracer not in known:
            raise SettingError("words", given, f"NAME=TRACER:WORDS with a tracer of {', '.join(known)}")
        wanted[name] = known[tracer], words.split()
    for name, (path, words) in wanted.items():
        say(f"tracer {name}")
        fitted = replace(fits, words=[*fits.words, *words]).fit(name.replace(" ", "_"), path)
        if not isinstance(fitted.tracer, Tracer):
            raise SettingError("tracer", type(fitted.tracer).__name__, "a module with the calls of a tracer")
        found.append(Row(name, fitted.key, fitted.tracer, fitted.tracer.encode, fitted.tracer.mastery))
    truth = data.truth
    if isinstance(truth, WorldLearners):
        key = fingerprint(TRUTH, data.fingerprint)
        found.append(Row(TRUTH, key, truth, partial(from_the_start, truth), truth.mastery))
    for name, rival in simple_rivals(data.num_concepts, data.num_items, data.interactions("train")).items():
        found.append(Row(name, fingerprint(name, data.fingerprint), rival, rival.encode, rival.mastery))
    return found


def from_the_start(truth: WorldLearners, history: InteractionBatch) -> State:
    """Return the true state after histories."""
    return read_histories(truth, truth.begin(history.learner), history)


def next_answers(row: Row, log: Interactions) -> Figures:
    """Return the figures of the next-answer task: every answer but a learner's first, from all before it."""
    metrics = AnswerMetrics()
    for rows in log.lengths.argsort(descending=True, stable=True).split(ROWS):  # type: ignore[no-untyped-call]
        batch = log.batch(rows)
        nothing = batch.first(torch.zeros_like(batch.lengths))
        answers = follow_logs(row.model, row.encode(nothing), batch, horizon=1, stride=10**6).answers
        metrics.update(answers.probability, answers.correct)
    return {f"next_{name}": float(value) for name, value in metrics.compute().items()}


def question_rates(data: LearnerDataModule) -> Tensor:
    """Return the rate of right answers to each question, as training learners gave them, [Q]."""
    rival = QuestionMean(data.num_concepts, data.num_items, data.interactions("train"))
    item = torch.arange(data.num_items)
    return rival.question_mean(Exercise(data.item_concepts[None], item[None]))[0]


def kept(out: Path, name: str, key: str, compute: Callable[[], Figures]) -> Figures:
    """Return figures, computed where they are not kept yet."""
    path = out / "figures" / f"{name.replace(' ', '_')}_{key}.json"
    if not path.is_file():
        say(f"figures of {name}")
        write(path, json.dumps(compute()))
    found: Figures = json.loads(path.read_text(encoding="utf-8"))
    return found


def mastery_figures(row: Row, truth: WorldLearners, log: Interactions) -> Figures:
    """Return how estimated mastery goes with the true one after half of each log, over learners and concepts.

    `mastery_correlation` and `mastery_error`, the mean absolute difference; `mastery_correlation_within` is the mean
    over learners of the correlation over concepts.
    """
    batch = log.batch(torch.arange(log.num_learners))
    history = batch.first(prefix_lengths(batch.lengths, 0.5))
    true = truth.mastery(read_histories(truth, truth.begin(history.learner), history))
    own = row.mastery(row.encode(history))
    within = torch.stack([torch.corrcoef(pair)[0, 1] for pair in torch.stack([own, true], 1)])
    return {
        "mastery_correlation": float(torch.corrcoef(torch.stack([own.flatten(), true.flatten()]))[0, 1]),
        "mastery_correlation_within": float(within.nanmean()),
        "mastery_error": float((own - true).abs().mean()),
    }


def figures_of(
    rows: Sequence[Row], data: LearnerDataModule, measured: SimulationFigures, out: Path
) -> dict[str, Figures]:
    """Return the figures of every row."""
    log, rate, found = data.interactions(split="test"), question_rates(data), {}
    settings = [list(measured.ratios), list(measured.steps), list(measured.kinds), measured.resamples, measured.most]
    for row in rows:
        key = fingerprint(FORMAT, row.key, data.fingerprint, settings)

        def compute(row: Row = row) -> Figures:
            return next_answers(row, log) | measured.compute(row.model, row.encode, log, rate)

        found[row.name] = kept(out, row.name, key, compute)
        if isinstance(truth := data.truth, WorldLearners) and row.name != TRUTH:
            of_truth = partial(mastery_figures, row, truth, log)
            found[row.name] |= kept(out, f"mastery {row.name}", fingerprint(key, "mastery"), of_truth)
    return found


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; the first column is text."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n"


def by_ratio(found: Mapping[str, Figures], measured: SimulationFigures, kind: str) -> str:
    """Return the AUC of every row at every ratio, beside that of next answers."""
    rows = []
    for name, one in found.items():
        cells = [f"{one['next_auc']:.3f}"]
        for ratio in measured.ratios:
            low, high = one[f"{kind}_{ratio:g}_auc_low"], one[f"{kind}_{ratio:g}_auc_high"]
            cells.append(f"{one[f'{kind}_{ratio:g}_auc']:.3f} [{low:.3f}, {high:.3f}]")
        rows.append([name, *cells])
    return markdown(["row", "next answer", *(f"{ratio:g}" for ratio in measured.ratios)], rows)


def at_half(found: Mapping[str, Figures], measured: SimulationFigures, ratio: float) -> str:
    """Return all figures of every row at one ratio, likelier and drawn answers fed."""
    head = ["row", "accuracy", "ECE", *(f"AUC, step {step}" for step in measured.steps), "score error", "score bias"]
    head += ["AUC, drawn fed", "score error, drawn", "told apart, drawn", "AUC, read as real"]
    known = any("mastery_error" in one for one in found.values())
    head += ["mastery correlation", "within learners", "mastery error"] if known else []
    rows = []
    for name, one in found.items():
        hard, drawn, read = (
            {
                key.removeprefix(start): value
                for key, value in one.items()
                if key.startswith(start := f"{kind}_{ratio:g}_")
            }
            for kind in ("hard", "sampled", "observed")
        )
        cells = [
            hard["accuracy"],
            hard["ece"],
            *(hard.get(f"auc_step_{step}", float("nan")) for step in measured.steps),
        ]
        cells += [hard["score_error"], hard["score_bias"], drawn["auc"], drawn["score_error"], drawn["told_apart"]]
        cells += [read["auc"]]
        names = ("mastery_correlation", "mastery_correlation_within", "mastery_error")
        cells += [one.get(name, float("nan")) for name in names] if known else []
        rows.append([name, *("" if math.isnan(value) else f"{value:.3f}" for value in cells)])
    return markdown(head, rows)


def draw(found: Mapping[str, Figures], measured: SimulationFigures, path: Path) -> None:
    """Draw the AUC against the ratio."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, one in found.items():
        axes.plot(list(measured.ratios), [one[f"hard_{ratio:g}_auc"] for ratio in measured.ratios], "o-", label=name)
    axes.set(xlabel="share of the log that is read", ylabel="AUC of simulated answers", title="Simulation")
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=110, format="png")


def options_of(words: list[str]) -> argparse.Namespace:
    """Read the command line; what follows `--` is for the fits."""
    place = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic", help="synthetic, or the name of an overlay in configs/data")
    parser.add_argument("--root", help="folder of the data set")
    parser.add_argument("--tracers", nargs="*", help="names of configurations; default every one")
    parser.add_argument("--config", action="append", default=[], help="NAME=FILE: one more row")
    parser.add_argument("--words", action="append", default=[], help="NAME=TRACER:WORDS: a tracer under other settings")
    parser.add_argument("--ratios", nargs="+", type=float, default=list(SimulationFigures().ratios))
    parser.add_argument("--most", type=int, help="most answers that are simulated for a learner; default all")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    parser.add_argument("--resamples", type=int, default=200, help="of the bootstraps over learners")
    parser.add_argument("--out", type=Path, help="default: simulate_answers/DATA")
    options = parser.parse_args(words[:place])
    options.extra = words[place + 1 :]
    options.out = (options.out or Path("simulate_answers") / options.data).resolve()
    known = sorted(path.stem for path in (CONFIGS / "data").glob("*.yaml"))
    if options.data != "synthetic" and options.data not in known:
        parser.error(f"--data must be synthetic or one of {', '.join(known)}")
    if options.data != "synthetic" and not options.root:
        parser.error("--data needs --root, the folder of the data set")
    if not all(0 <= ratio < 1 for ratio in options.ratios):
        parser.error("--ratios must be shares from 0 to below 1")
    return options


def main(words: list[str] | None = None) -> None:
    """Fit, measure and write what is missing."""
    words = sys.argv[1:] if words is None else words
    options = options_of(words)
    config = CONFIGS / "grpo.yaml" if options.data == "synthetic" else CONFIGS / "data" / f"{options.data}.yaml"
    try:
        description, extra = data_description(config, options.root, options.extra)
        data = data_module(description)
        fits = FitFolder(options.out / "fits", description, data, options.seed, extra)
        measured = SimulationFigures(options.ratios, resamples=options.resamples, most=options.most)
        found = figures_of(rows_of(fits, options), data, measured, options.out)
    except LPRError as error:
        raise SystemExit(f"error: {error}") from error
    middle = min(options.ratios, key=lambda ratio: abs(ratio - 0.5))
    sections = {
        f"Simulation AUC by share of the log that is read, {data.interactions('test').num_learners} test learners": (
            by_ratio(found, measured, "hard")
        ),
        f"Simulation from a share of {middle:g}": at_half(found, measured, middle),
    }
    text = "\n".join(f"## {title}\n\n{table}" for title, table in sections.items())
    write(
        options.out / "simulated.md", f"{text}\n`{' '.join(['python', 'experiments/simulate_answers.py', *words])}`\n"
    )
    with atomic_write(options.out / "simulated.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "figure", "value"])
        writer.writerows([name, *cell] for name, one in found.items() for cell in one.items())
    with atomic_write(options.out / "simulated.png") as temporary:
        draw(found, measured, temporary)
    print(f"{text}\n{options.out}: simulated.md, simulated.csv, simulated.png")


if __name__ == "__main__":
    main()
