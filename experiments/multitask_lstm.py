"""What arXiv 2507.05295 claims, and its baselines: one command, one table, one figure.

    python experiments/multitask_lstm.py --data assist09 --root DIR --seeds 0 1 2 --epochs 30 --out runs/multitask \\
        -- --data.batch_size 128

1. Paths with the tracing task beside them (lambda_1 = 1) and without (0).
2. The weight of repeats lambda_2 in 0, 0.5, 1, 2.
3. Paths of L = 3, 5, 7, 9 steps.
Beside them RNN, LSTM and Seq2Seq, which are settings of the same module, and copying the last concept, the bigram and
the commonest concept, which every run reports of its own test learners.

Runs differ in the settings named above only; words after `--` go to the command line of every run. The same command
goes on where it was stopped: finished runs are not run again. `--out` then holds one folder for each run, `results.csv`
(one row for each run and seed), `results.md` (means over seeds) and `results.png`.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lpr_lightning.cache import atomic_write, fingerprint
from lpr_lightning.cli import main as command_line

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FIGURES = ("accuracy", "precision", "recall", "f1", "repeat_rate", "label_repeat_rate", "tracing_auc")
BASELINES = ("bigram", "copy_last", "majority")


@dataclass(frozen=True)
class Experiment:
    """A run: its name, what is set, and how its command line is made."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)

    def words(self, options: argparse.Namespace, seed: int) -> list[str]:
        """Return the command line of this run."""
        words = ["fit", "--config", str(CONFIGS / "multitask_lstm.yaml")]
        if options.data != "synthetic":
            words += ["--config", str(CONFIGS / "data" / f"{options.data}.yaml"), f"--data.root={options.root}"]
        words += [f"--seed_everything={seed}", f"--data.task.labels={options.labels}"]
        words += [f"--trainer.max_epochs={options.epochs}"] if options.epochs else []
        return [*words, *(f"--{key}={value}" for key, value in self.settings.items()), *options.extra]

    def folder(self, options: argparse.Namespace, seed: int) -> Path:
        """Return where this run goes; other settings go to another folder."""
        return Path(options.out) / "runs" / f"{self.name}_seed{seed}_{fingerprint(self.words(options, seed))[:8]}"


MULTITASK = Experiment("multitask")
PATHS_ONLY = Experiment("lambda1_0", {"model.lambda_tracing": 0})
REPEATS = {
    0.0: Experiment("lambda2_0", {"model.lambda_repeat": 0}),
    0.5: Experiment("lambda2_0.5", {"model.lambda_repeat": 0.5}),
    1.0: Experiment("lambda2_1", {"model.lambda_repeat": 1.0}),
    2.0: Experiment("lambda2_2", {"model.lambda_repeat": 2.0}),
}
LENGTHS = {length: Experiment(f"length_{length}", {"data.task.length": length}) for length in (3, 5, 7, 9)}
PLAIN = {"model.lambda_tracing": 0, "model.lambda_repeat": 0}
RIVALS = {
    "RNN": Experiment("rnn", {"model.cell": "rnn", "model.decoder": "shared", **PLAIN}),
    "LSTM": Experiment("lstm", {"model.decoder": "shared", **PLAIN}),
    "Seq2Seq": Experiment("seq2seq", PLAIN),
}
UNTRACED = {PATHS_ONLY.name, *(one.name for one in RIVALS.values())}
"""Runs whose tracing branch learns nothing, so that it has no AUC."""
EVERYTHING = (MULTITASK, PATHS_ONLY, *REPEATS.values(), *LENGTHS.values(), *RIVALS.values())


def same_as_default(experiment: Experiment, default: dict[str, Any]) -> bool:
    """Say whether a run sets nothing but what the configuration says anyway, so that it need not be run twice."""
    return all(default.get(key) == value for key, value in experiment.settings.items())


def defaults() -> dict[str, Any]:
    """Return the settings of the configuration that experiments change."""
    import yaml

    config = yaml.safe_load((CONFIGS / "multitask_lstm.yaml").read_text(encoding="utf-8"))
    found = {f"model.{key}": value for key, value in config["model"]["init_args"].items()}
    task = config["data"]["init_args"]["task"]["init_args"]
    return found | {f"data.task.{key}": value for key, value in task.items()}


def finished(folder: Path) -> dict[str, float] | None:
    """Return the test figures of a finished run, else None."""
    for path in sorted(folder.glob("logs/*/version_*/metrics.json"), reverse=True):
        kept = json.loads(path.read_text(encoding="utf-8"))
        figures = {key.removeprefix("test/"): kept[key] for key in kept if key.startswith("test/")}
        if figures:
            return figures
    return None


def run(experiment: Experiment, options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Return the test figures of a run, running it where that has not been done."""
    folder = experiment.folder(options, seed)
    figures = finished(folder)
    if figures is None:
        print(f"== {folder.name}", flush=True)
        command_line([*experiment.words(options, seed), f"--trainer.default_root_dir={folder}"])
        figures = finished(folder)
    if figures is None:
        raise SystemExit(f"error: {folder} holds no test figures")
    return figures


def mean(rows: Sequence[dict[str, float]], name: str) -> float:
    """Return the mean of a figure over seeds."""
    return statistics.fmean(row[name] for row in rows)


def spread(rows: Sequence[dict[str, float]], name: str) -> str:
    """Return mean and standard deviation over seeds as text."""
    deviation = f" ± {statistics.stdev(row[name] for row in rows):.4f}" if len(rows) > 1 else ""
    return f"{mean(rows, name):.4f}{deviation}"


def table(results: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> str:
    """Return the means over seeds as Markdown tables."""
    head = (
        "| run | accuracy | precision | recall | F1 | repeat rate | repeats in labels | tracing AUC |\n|:--|"
        + "--:|" * 7
    )
    seeds = ", ".join(map(str, options.seeds))
    lines = [f"Data: {options.data}, labels: {options.labels}, test learners, seeds {seeds}.", ""]

    def section(title: str, rows: Sequence[tuple[str, str, str]]) -> None:
        lines.extend([f"## {title}", "", head])
        for label, key, prefix in rows:
            traced = not prefix and key not in UNTRACED
            shown = [prefix + name if traced or name != "tracing_auc" else "" for name in FIGURES]
            cells = [spread(results[key], name) if name else "" for name in shown]
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
        lines.append("")

    section(
        "1. With and without the tracing task, and baselines",
        [
            ("multi-task, lambda_1 = 1", MULTITASK.name, ""),
            ("paths only, lambda_1 = 0", PATHS_ONLY.name, ""),
            *((label, one.name, "") for label, one in RIVALS.items()),
            *((name.replace("_", " "), MULTITASK.name, f"{name}/") for name in BASELINES),
        ],
    )
    section("2. The weight of repeats", [(f"lambda_2 = {weight:g}", one.name, "") for weight, one in REPEATS.items()])
    section(
        "3. Path length",
        [
            (f"L = {length}{label}", one.name, prefix)
            for length, one in LENGTHS.items()
            for label, prefix in (("", ""), (", bigram", "bigram/"), (", copy last", "copy_last/"))
        ],
    )
    return "\n".join(lines)


def draw(results: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Draw the three experiments side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    bars = {
        "multi-task": mean(results[MULTITASK.name], "accuracy"),
        "λ₁ = 0": mean(results[PATHS_ONLY.name], "accuracy"),
    }
    bars |= {label: mean(results[one.name], "accuracy") for label, one in RIVALS.items()}
    bars |= {name.replace("_", " "): mean(results[MULTITASK.name], f"{name}/accuracy") for name in BASELINES}
    colours = ["C0"] * 2 + ["C1"] * len(RIVALS) + ["0.6"] * len(BASELINES)
    first.barh(list(bars)[::-1], list(bars.values())[::-1], color=colours[::-1])
    first.set(title="1. Tracing task and baselines", xlabel="accuracy")
    weights = [f"{weight:g}" for weight in REPEATS]
    for name, colour in (("accuracy", "C0"), ("repeat_rate", "C3")):
        values = [mean(results[one.name], name) for one in REPEATS.values()]
        second.plot(weights, values, "o-", color=colour, label=name.replace("_", " "))
    labels = mean(results[MULTITASK.name], "label_repeat_rate")
    second.axhline(labels, color="C3", linestyle=":", label="repeat rate of the labels")
    second.set(title="2. Weight of repeats", xlabel="λ₂", ylim=(0, None))
    second.legend(fontsize=8)
    for prefix, label in (("", "multi-task"), ("bigram/", "bigram"), ("copy_last/", "copy last")):
        values = [mean(results[one.name], f"{prefix}accuracy") for one in LENGTHS.values()]
        third.plot(list(LENGTHS), values, "o-" if not prefix else "s--", label=label)
    third.set(title="3. Path length", xlabel="L", ylabel="accuracy", ylim=(0, None), xticks=list(LENGTHS))
    third.legend(fontsize=8)
    figure.savefig(path, dpi=120, format="png")


def write(results: dict[str, list[dict[str, float]]], options: argparse.Namespace, command: str) -> None:
    """Write table, figures of every run and picture."""
    out = Path(options.out)
    with atomic_write(out / "results.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        names = sorted({name for rows in results.values() for row in rows for name in row})
        writer = csv.writer(file)
        writer.writerow(["run", "seed", *names])
        for name, rows in results.items():
            for seed, row in zip(options.seeds, rows):
                writer.writerow([name, seed, *(row.get(column, "") for column in names)])
    with atomic_write(out / "results.md") as temporary:
        temporary.write_text(f"{table(results, options)}\n`{command}`\n", encoding="utf-8")
    with atomic_write(out / "results.png") as temporary:
        draw(results, temporary)


def options_of(words: list[str]) -> argparse.Namespace:
    """Read the command line; what follows `--` is for the runs."""
    place = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic", help="synthetic, or the name of an overlay in configs/data")
    parser.add_argument("--root", help="folder of the data set")
    parser.add_argument("--labels", default="distinct", choices=["distinct", "next"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="instead of the configuration's")
    parser.add_argument("--out", type=Path, default=Path("multitask_lstm"))
    options = parser.parse_args(words[:place])
    options.extra = words[place + 1 :]
    if options.data != "synthetic" and not options.root:
        parser.error("--data needs --root, the folder of the data set")
    if options.data != "synthetic" and not (CONFIGS / "data" / f"{options.data}.yaml").is_file():
        names = ", ".join(sorted(path.stem for path in (CONFIGS / "data").glob("*.yaml")))
        parser.error(f"--data must be synthetic or one of {names}")
    return options


def main(words: list[str] | None = None) -> None:
    """Run what is missing and write the results."""
    words = sys.argv[1:] if words is None else words
    options, default = options_of(words), defaults()
    results: dict[str, list[dict[str, float]]] = {}
    for experiment in EVERYTHING:
        own = MULTITASK if same_as_default(experiment, default) else experiment
        results[experiment.name] = [run(own, options, seed) for seed in options.seeds]
    write(results, options, " ".join(["python", "experiments/multitask_lstm.py", *words]))
    print(f"{options.out}/results.md, results.csv and results.png")


if __name__ == "__main__":
    main()
