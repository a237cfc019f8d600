"""Train and test one configuration on every fold of a data set, and pool the figures.

    python experiments/five_folds.py --config configs/dkt.yaml --data configs/data/assist09.yaml --root DIR \\
        --folds 5 --seed 0 --out runs/dkt -- --model.hidden_size 200

Words after `--` go to the command line of every fold. Learners are cut into folds by `--seed`, which also seeds
weights and batches; each learner is a test learner of exactly one fold. The same command goes on where it was
stopped: finished folds are not run again, and one that was broken off starts from its last checkpoint.

`--out` then holds one folder for each fold, `five_folds.json` and `five_folds.md`: for every test figure its mean over
folds, standard deviation and 95 % interval (Student's t over folds), and the AUC of all answers of all folds together
with the interval of a bootstrap over learners.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from lpr_lightning.cache import atomic_write
from lpr_lightning.cli import main as command_line
from lpr_lightning.functional.bootstrap import grouped_auc

ANSWERS = "answers.safetensors"
_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t, two-sided 95 %, for 1 to 9 degrees of freedom."""


def words_of(options: argparse.Namespace, fold: int) -> list[str]:
    """Return the command line of one fold."""
    words = ["fit", "--config", options.config]
    words += ["--config", options.data] if options.data else []
    words += [f"--data.root={options.root}"] if options.root else []
    words += [f"--seed_everything={options.seed}", f"--data.seed={options.seed}"]
    words += [f"--data.folds={options.folds}", f"--data.fold={fold}", "--trainer.callbacks+=AnswerWriter"]
    return [*words, f"--trainer.default_root_dir={fold_folder(options.out, fold)}", *options.extra]


def fold_folder(out: Path, fold: int) -> Path:
    """Return where a fold's run goes."""
    return out / f"fold_{fold}"


def finished(folder: Path) -> tuple[dict[str, float], Path] | None:
    """Return the test figures and the run folder of a finished fold, else None."""
    for path in sorted(folder.glob("logs/*/version_*/metrics.json"), reverse=True):
        figures = {key: value for key, value in json.loads(path.read_text()).items() if key.startswith("test/")}
        if figures and (path.parent / ANSWERS).is_file():
            return figures, path.parent
    return None


def check_plan(out: Path, plan: list[str]) -> None:
    """Write down what the folds of a folder are, or refuse to mix them with others."""
    path = out / "plan.json"
    if path.is_file() and json.loads(path.read_text()) != plan:
        raise SystemExit(f"error: {out} holds the folds of another command, see {path}. Give another --out.")
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(plan, indent=2) + "\n")


def spread(values: list[float]) -> dict[str, Any]:
    """Return mean, standard deviation and 95 % interval of a figure over folds.

    >>> spread([0.0, 2.0])["mean"]
    1.0
    """
    mean, count = statistics.fmean(values), len(values)
    deviation = statistics.stdev(values)
    half = (_T975[count - 2] if count - 2 < len(_T975) else 1.96) * deviation / math.sqrt(count)
    return {"mean": mean, "sd": deviation, "low": mean - half, "high": mean + half, "folds": values}


def pooled(runs: list[Path], resamples: int) -> dict[str, Any]:
    """Return the AUC of the answers of all folds together; refuse learners that were tested twice."""
    parts = [load_file(run / ANSWERS) for run in runs]
    seen: set[int] = set()
    for part in parts:
        learners = set(part["learner"].tolist())
        if seen & learners:
            raise SystemExit("error: a learner was tested in two folds")
        seen |= learners
    columns: dict[str, Tensor] = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    auc, low, high = grouped_auc(columns["probability"], columns["correct"], columns["learner"], resamples)
    return {"auc": auc, "low": low, "high": high, "answers": len(columns["correct"]), "learners": len(seen)}


def table(result: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    folds = len(next(iter(result["figures"].values()))["folds"])
    lines = ["| figure | mean | sd | 95 % interval | " + " | ".join(f"fold {fold}" for fold in range(folds)) + " |"]
    lines.append("|---" * (4 + folds) + "|")
    for name, one in result["figures"].items():
        each = " | ".join(f"{value:.4f}" for value in one["folds"])
        lines.append(
            f"| {name} | {one['mean']:.4f} | {one['sd']:.4f} | {one['low']:.4f} to {one['high']:.4f} | {each} |"
        )
    whole = result["pooled"]
    lines += [
        "",
        f"All {whole['answers']:,} answers of {whole['learners']:,} learners together: AUC {whole['auc']:.4f}, "
        f"95 % of learner bootstraps {whole['low']:.4f} to {whole['high']:.4f}.",
        "",
        f"`{' '.join(result['command'])}`",
    ]
    return "\n".join(lines) + "\n"


def options_of(words: list[str]) -> argparse.Namespace:
    """Read the command line; what follows `--` is for the folds."""
    place = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="a method's configuration")
    parser.add_argument("--data", help="an overlay of real data, laid over it")
    parser.add_argument("--root", help="folder of the data set")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="default: five_folds/NAME_OF_CONFIG")
    parser.add_argument("--resamples", type=int, default=200, help="of the bootstrap over learners")
    options = parser.parse_args(words[:place])
    options.extra = words[place + 1 :]
    options.out = options.out or Path("five_folds") / Path(options.config).stem
    if options.folds < 2:
        parser.error("--folds must be 2 or more")
    return options


def main(words: list[str] | None = None) -> None:
    """Run what is missing, pool and write."""
    words = sys.argv[1:] if words is None else words
    options = options_of(words)
    check_plan(options.out, words_of(options, 0))
    runs, figures = [], []
    for fold in range(options.folds):
        folder = fold_folder(options.out, fold)
        done = finished(folder)
        if done is None:
            begun = any(folder.glob("logs/*/version_*/checkpoints/*.ckpt"))
            command_line(words_of(options, fold) + (["--ckpt_path", "last"] if begun else []))
            done = finished(folder)
        if done is None:
            raise SystemExit(f"error: fold {fold} left no test figures in {folder}")
        figures.append(done[0])
        runs.append(done[1])
        print(f"fold {fold}: " + ", ".join(f"{name} {value:.4f}" for name, value in done[0].items()))
    result = {
        "figures": {name: spread([one[name] for one in figures]) for name in figures[0]},
        "pooled": pooled(runs, options.resamples),
        "command": ["python", "experiments/five_folds.py", *words],
    }
    for name, text in (("five_folds.json", json.dumps(result, indent=2) + "\n"), ("five_folds.md", table(result))):
        with atomic_write(options.out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
