"""Compare simulators: how well tracers predict unseen learners, and what paths planned in one bring in another.

    python experiments/compare_simulators.py --data assist09 --root DIR --out runs/assist09

Every configuration in configs/tracer, and each method on questions, is fitted on the training learners and gets a row;
`--ensemble` makes one more tracer of several of them, and the simplest rivals stand beside them. Data are those of
configs/grpo.yaml (synthetic learners of known truth) or an overlay in configs/data; requests for paths are those of
configs/grpo.yaml. Words after `--` go to every fit; those that begin with `--data.` change the data of everything.

`--out` then holds `simulators.csv` and `policies.csv`, both tables and more in `simulators.md`, and a picture. The same
command goes on where it was stopped: fitted tracers, paths and figures are kept under all that they depend on, so that
with another tracer only what is new is computed.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from lpr_lightning.cache import atomic_write, fingerprint
from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.functional.gain_calibration import NUMBERS
from lpr_lightning.functional.simulator_agreement import mean_agreement, simulator_agreement
from lpr_lightning.metrics.log_figures import Figures, LogFigures
from lpr_lightning.models.ensemble import Ensemble
from lpr_lightning.nets.simple_rivals import simple_rivals
from lpr_lightning.policies import (
    FixedPaths,
    NearestTarget,
    PrerequisiteRule,
    RandomTargets,
    TargetsInTurn,
)
from lpr_lightning.protocols import Policy
from lpr_lightning.simulators.world_learners import WorldLearners
from lpr_lightning.studies.exercise_tables import markdown
from lpr_lightning.studies.simulator_study import TRUTH, Study, Subject, beginning, fidelity, of_tracer, of_truth
from lpr_lightning.studies.tracer_fits import (
    FitFolder,
    Fitted,
    data_description,
    data_module,
    path_requests,
    unseen_requests,
    write,
)

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
METHODS = ("simple_kt", "calibrated_dkt")
"""Configurations of methods whose tracers have none in configs/tracer."""
STEPS = (1, 5, 10, 20)


def say(name: str) -> None:
    """Show what is about to be done."""
    print(f"== {name}", flush=True)


def tracer_configs(names: list[str] | None) -> dict[str, Path]:
    """Return the configurations of the tracers by name: every one there is, or those of `names`."""
    found = {path.stem: path for path in sorted((CONFIGS / "tracer").glob("*.yaml"))}
    found |= {name: CONFIGS / f"{name}.yaml" for name in METHODS if name not in found}
    if unknown := [name for name in names or () if name not in found]:
        raise SettingError("tracers and ensemble", unknown, f"some of {', '.join(found)}")
    return {name: path for name, path in found.items() if names is None or name in names}


def subjects(fits: FitFolder, options: argparse.Namespace) -> dict[str, Subject]:
    """Return all rows by name: tracers, their ensemble, the truth where it is known, then the simplest rivals."""
    tracer_configs(options.ensemble)  # of unknown names nothing is fitted
    tracers = {}
    for name, config in tracer_configs(options.tracers).items():
        say(f"tracer {name}")
        tracers[name] = fits.fit(name, config)
    members = [tracers[name] for name in options.ensemble if name in tracers]
    if len(members) > 1:
        both, key = Ensemble([one.tracer for one in members]).eval(), fingerprint([one.key for one in members])
        tracers["ensemble"] = Fitted("ensemble", key, both, sum(one.seconds for one in members))
    found = {name: of_tracer(name, one.key, one.tracer, one.seconds) for name, one in tracers.items()}
    data, truth = fits.data, fits.data.truth
    if isinstance(truth, WorldLearners):
        found[TRUTH] = of_truth(data, truth)
    for name, rival in simple_rivals(data.num_concepts, data.num_items, data.interactions("train")).items():
        key = fingerprint(name, data.fingerprint)
        found[name] = Subject(name, key, rival, beginning(rival))
    return found


def simulator_rows(study: Study, rows: Mapping[str, Subject]) -> dict[str, Figures]:
    """Return the figures of every row."""
    found = {name: study.log_figures(one) for name, one in rows.items()}
    planners = [one for one in rows.values() if one.planner is not None and one.name != TRUTH]
    pool = study.pool(planners)
    gain = torch.stack([study.gains(one, pool) for one in planners])
    matrix = simulator_agreement(gain)
    for one, pairs, mean in zip(planners, matrix.tolist(), mean_agreement(matrix).tolist(), strict=True):
        found[one.name] |= {"seconds": one.seconds or 0.0, "agreement": mean}
        found[one.name] |= {f"agreement_with_{other.name}": value for other, value in zip(planners, pairs, strict=True)}
    if TRUTH in rows:
        true = study.gains(rows[TRUTH], pool)
        for one, own in zip(planners, gain, strict=True):
            found[one.name] |= fidelity(own, true)
    return found


def policy_rows(study: Study, rows: Mapping[str, Subject]) -> dict[str, dict[str, Figures]]:
    """Return the learning effect of every policy (rows) by every judge."""
    judges = [one for one in rows.values() if one.simulator is not None]
    plain: list[Policy] = [RandomTargets(), TargetsInTurn()]
    found = {one.name: {judge.name: study.effect(one.name, one, None, judge) for judge in judges} for one in plain}
    for one in judges:
        policies: list[Policy] = [FixedPaths(study.planned(one), "search")]
        policies += [] if one.name == TRUTH else [NearestTarget(), PrerequisiteRule()]
        for policy in policies:
            effects = {judge.name: study.effect(policy.name, policy, one, judge) for judge in judges}
            found[f"{policy.name} in {one.name}"] = effects
    return found


def shown(figures: Figures, name: str, digits: int = 3) -> str:
    """Return a figure with its interval as text, empty where there is none."""
    value = figures.get(name)
    if value is None or math.isnan(value):
        return ""
    low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
    bounds = f" [{low:.{digits}f}, {high:.{digits}f}]" if low is not None and high is not None and low != high else ""
    return f"{value:.{digits}f}{bounds}"


def simulators_table(found: Mapping[str, Figures]) -> str:
    """Return the table of simulators."""
    columns = {"AUC": ("auc", 3), "ECE": ("ece", 3)}
    columns |= {f"open loop, {step}": (f"open_loop_{step}", 3) for step in STEPS}
    columns |= {"gain slope": ("gain_slope", 2), "gain error": ("gain_error", 3), "rank fidelity": ("rank_fidelity", 2)}
    columns |= {"agreement": ("agreement", 2), "seconds to fit": ("seconds", 0)}
    rows = [[name, *(shown(one, *column) for column in columns.values())] for name, one in found.items()]
    return markdown(["row", *columns], rows)


def policies_table(found: Mapping[str, Mapping[str, Figures]]) -> str:
    """Return the table of policies across simulators."""
    judges = list(next(iter(found.values())))
    rows = [
        [name, *(f"{one[j]['effect']:.3f} [{one[j]['low']:.3f}, {one[j]['high']:.3f}]" for j in judges)]
        for name, one in found.items()
    ]
    return markdown(["policy", *(f"by {name}" for name in judges)], rows)


def cells_table(found: Mapping[str, Figures], group: str, names: Sequence[str]) -> str:
    """Return predicted and observed changes, cell by cell."""
    some = next(iter(found.values()))
    rows = [["pairs", *(f"{some[f'gain_{group}_{cell}_count']:,.0f}" for cell in range(len(names)))]]
    for name, one in found.items():
        cells = [f"gain_{group}_{cell}" for cell in range(len(names))]
        rows.append([name, *(f"{one[f'{cell}_predicted']:+.3f} / {one[f'{cell}_observed']:+.3f}" for cell in cells)])
    return markdown(["predicted / observed", *names], rows)


def agreement_table(found: Mapping[str, Figures]) -> str:
    """Return the agreement of each pair of simulators."""
    names = [name for name, one in found.items() if "agreement" in one]
    rows = [[name, *(f"{found[name][f'agreement_with_{other}']:.2f}" for other in names)] for name in names]
    return markdown(["simulator", *names], rows)


def draw(found: Mapping[str, Figures], policies: Mapping[str, Mapping[str, Figures]], path: Path) -> None:
    """Draw open-loop AUC, predicted against observed changes, and searches across simulators."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 5), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    for name, one in found.items():
        line = "o-" if "agreement" in one else ("k*-" if name == TRUTH else "x:")
        first.plot([str(step) for step in STEPS], [one[f"open_loop_{step}"] for step in STEPS], line, label=name)
        if shown(one, "gain_slope"):
            both = [
                [one[f"gain_number_{cell}_{column}"] for cell in range(len(NUMBERS))]
                for column in ("predicted", "observed")
            ]
            second.plot(*both, line[:-1] + "-", label=name)
    first.set(title="Open-loop prediction", xlabel="steps ahead", ylabel="AUC")
    second.axline((0, 0), slope=1, color="0.7")
    second.set(title="Gain, by number of answers in between", xlabel="predicted change", ylabel="observed change")
    for axes in (first, second):
        axes.legend(fontsize=7, ncols=2, loc="lower left", framealpha=0.5)
    rows = {name: one for name, one in policies.items() if name.startswith("search in") or " in " not in name}
    judges = list(next(iter(rows.values())))
    values = [[one[judge]["effect"] for judge in judges] for one in rows.values()]
    image = third.imshow(values, aspect="auto", cmap="viridis")
    third.set_xticks(range(len(judges)), judges, rotation=40, ha="right", fontsize=8)
    third.set_yticks(range(len(rows)), list(rows), fontsize=8)
    third.set(title="Learning effect", xlabel="judge")
    figure.colorbar(image, ax=third)
    figure.savefig(path, dpi=110, format="png")


def save(study: Study, found: dict[str, Figures], policies: dict[str, dict[str, Figures]], command: str) -> None:
    """Write tables, figures and picture."""
    out = study.out
    effects = {f"{name}|{judge}": one for name, row in policies.items() for judge, one in row.items()}
    for file_name, table in (("simulators.csv", found), ("policies.csv", effects)):
        with atomic_write(out / file_name) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["row", "figure", "value"])
            writer.writerows([name, *cell] for name, one in table.items() for cell in one.items())
    numbers, kinds = ("0", "1", "2", "3-4", "5+"), ("none", "mostly wrong", "mixed", "mostly right")
    sections = {
        f"Simulators, {study.data.interactions('test').num_learners} test learners": simulators_table(found),
        f"Policies across simulators, learning effect, {len(study.request)} requests": policies_table(policies),
        "Gain by the number of answers in between": cells_table(found, "number", numbers),
        "Gain by the kind of answers in between": cells_table(found, "kind", kinds),
        "Agreement": agreement_table(found),
    }
    text = "\n".join(f"## {title}\n\n{table}\n" for title, table in sections.items())
    write(out / "simulators.md", f"{text}\n`{command}`\n")
    with atomic_write(out / "simulators.png") as temporary:
        draw(found, policies, temporary)
    print(f"{text}\n{out}: simulators.md, simulators.csv, policies.csv, simulators.png")


def options_of(words: list[str]) -> argparse.Namespace:
    """Read the command line; what follows `--` is for the fits."""
    place = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic", help="synthetic, or the name of an overlay in configs/data")
    parser.add_argument("--root", help="folder of the data set")
    parser.add_argument("--tracers", nargs="+", help="names of configurations; default every one")
    parser.add_argument("--ensemble", nargs="*", default=["performance_factors", "state_space"], help="its members")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    parser.add_argument("--stride", type=int, default=5, help="answers from one frozen state to the next")
    parser.add_argument("--learners", type=int, default=200, help="most requests that paths are planned for")
    parser.add_argument("--paths", type=int, default=48, help="mixed paths of each learner")
    parser.add_argument("--resamples", type=int, default=200, help="of the bootstraps over learners")
    parser.add_argument("--out", type=Path, help="default: compare_simulators/DATA")
    options = parser.parse_args(words[:place])
    options.extra = words[place + 1 :]
    options.out = (options.out or Path("compare_simulators") / options.data).resolve()
    known = sorted(path.stem for path in (CONFIGS / "data").glob("*.yaml"))
    if options.data != "synthetic" and options.data not in known:
        parser.error(f"--data must be synthetic or one of {', '.join(known)}")
    if options.data != "synthetic" and not options.root:
        parser.error("--data needs --root, the folder of the data set")
    if min(options.stride, options.learners, options.resamples) < 1:
        parser.error("--stride, --learners and --resamples must be 1 or more")
    return options


def main(words: list[str] | None = None) -> None:
    """Fit, measure and write what is missing."""
    words = sys.argv[1:] if words is None else words
    options = options_of(words)
    config = CONFIGS / "grpo.yaml" if options.data == "synthetic" else CONFIGS / "data" / f"{options.data}.yaml"
    try:
        description, extra = data_description(config, options.root, options.extra)
        data = data_module(description)
        request, key = unseen_requests(data, path_requests(CONFIGS / "grpo.yaml"), options.learners)
        rows = subjects(FitFolder(options.out / "fits", description, data, options.seed, extra), options)
        figures = LogFigures(STEPS, options.stride, options.resamples)
        study = Study(options.out, data, request, key, figures, options.paths, say)
        found = simulator_rows(study, rows)
        policies = policy_rows(study, rows)
    except LPRError as error:
        raise SystemExit(f"error: {error}") from error
    save(study, found, policies, " ".join(["python", "experiments/compare_simulators.py", *words]))


if __name__ == "__main__":
    main()
