"""Compare recommenders of exercises: rules, searches and agents on a bank of questions (ExRec, figures 3, 4, 5 and 9).

    python experiments/compare_exercises.py --data dbe_kt22 --root DIR --out runs/exercises --starts 2048

Methods are configurations: the rules and searches of configs/exercises, and any file of an agent, what is laid over
it behind a +, as in `--methods exact_greedy configs/dqn.yaml+configs/exercises/over/plain_network.yaml`. Rules and
searches look into the first tracer; an agent is trained on it, for each goal and seed. Every method then teaches the
same unseen learners towards each of ExRec's four goals: (a) as the first tracer answers, (b) as tracers answer that
no method was trained on, another seed of the first among them, and (c) where learners are synthetic, as they truly
do, closed loop. `exact_greedy` also looks into each other tracer, judged by that tracer, whose bound it is, and by
the truth, which shows what the tracer is worth; and into the truth itself (`oracle`, judged by it alone).

`--vectors` asks what questions are worth that a tracer has never seen (figure 4): one over these vectors is fitted on
answers to a third of the questions, and the others enter as vectors only; a second one, fitted on answers to all, says
what rules and searches with either bank bring. (The paper's new questions are written by a language model.)

`--out` then holds `exercises.csv`, `exercises.md`, `figure_3.png` and, for a few learners, `figure_9_….png`; the
pictures also go to TensorBoard there. The same command goes on where it was stopped: fits and figures are kept under
all that they depend on. Words after `--` go to every fit; those that begin with `--data.` change the data of all.
"""

from __future__ import annotations

import argparse
import copy
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lpr_lightning.cache import atomic_write, fingerprint
from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.hparams import plain
from lpr_lightning.policies import ExactGreedy
from lpr_lightning.simulators.world_learners import WorldLearners
from lpr_lightning.studies.exercise_methods import GOALS, ConfiguredMethod, bank_of, goal_named, learner_of
from lpr_lightning.studies.exercise_pictures import Growth, draw_bars, draw_growth, show
from lpr_lightning.studies.exercise_study import ExerciseStudy, Judge, Method, Values, mastery_path
from lpr_lightning.studies.exercise_tables import Table, judge_table, over_table
from lpr_lightning.studies.extended_bank import ExtendedBank
from lpr_lightning.studies.tracer_fits import FitFolder, Fitted, data_description, data_module, tracer_file, write
from lpr_lightning.tasks.exercise_requests import ExerciseRequests
from lpr_lightning.types import PathRequest

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FRAME = "recommend"
"""The configuration in configs/exercises that is no method, but what the others are laid over."""
LEAST_BOUND = 0.01
"""Of a smaller bound no share is told."""
TRUTH, ORACLE, EPISODES = "truth", "oracle", 4
"""The judge that is the truth, the search with access to it, and the draws of its answers."""
BOUNDS, BOUND = ("exact_greedy", "beam"), "exact_greedy_in_"
"""The searches whose better one is the bound of the first tracer, and what that of another one begins with."""


def say(name: str) -> None:
    """Show what is about to be done."""
    print(f"== {name}", flush=True)


def method_files(names: Sequence[str] | None) -> list[list[Path]]:
    """Return the files of methods: all of configs/exercises, or those that are named, or given by paths joined by +."""
    known = {path.stem: path for path in sorted((CONFIGS / "exercises").glob("*.yaml")) if path.stem != FRAME}
    files = [[known.get(part, Path(part)) for part in name.split("+")] for name in names or known]
    if missing := [str(path) for one in files for path in one if not path.is_file()]:
        raise SettingError("methods", missing, f"some of {', '.join(known)}, or paths of configurations")
    return files


def fitted_tracers(fits: FitFolder, names: Sequence[str], other_seed: bool) -> list[Fitted]:
    """Return the tracers, the first one with another seed too."""
    files, found = [tracer_file(CONFIGS, name) for name in names], []
    for name, file in [(file.stem, file) for file in files]:
        say(f"tracer {name}")
        found.append(fits.fit(name, file))
        if other_seed and len(found) == 1:
            say(f"tracer {name}, another seed")
            again = replace(fits, seed=fits.seed + 1).fit(name, file)
            found.append(replace(again, name=f"{name}_other_seed"))
    return found


@dataclass(frozen=True)
class Comparison:
    """All that methods are made from and judged by."""

    study: ExerciseStudy
    fits: FitFolder
    tracers: Sequence[Fitted]
    judges: Sequence[Judge]
    files: Sequence[Sequence[Path]]
    task: ExerciseRequests
    seeds: int

    def methods(self, goal: str) -> dict[str, list[Method]]:
        """Return the methods by name for one goal; those that learn, one for each seed."""
        first, found = self.judges[0], dict[str, list[Method]]()
        for one in [ConfiguredMethod.read(*paths) for paths in self.files]:
            if one.learns:
                found[one.name] = [self._trained(one, goal, seed) for seed in range(self.seeds)]
                continue
            method = one.untrained(first.simulator, first.key)
            found[one.name] = [method]
            if one.real:  # the same questions, answered as the judge does
                found[f"{one.name}_questions"] = [replace(method, name=f"{one.name}_questions", real=False)]
        for other in self.judges[1:]:
            model = other.simulator
            if isinstance(model, WorldLearners):
                found[ORACLE] = [Method(ORACLE, fingerprint(ORACLE, other.key), ExactGreedy(), model.expected())]
                continue
            name = BOUND + other.name
            found[name] = [Method(name, fingerprint("exact_greedy", other.key), ExactGreedy(), model)]
        return found

    def extended(self, goals: Sequence[str], banks: ExtendedBank) -> dict[tuple[str, str, str], list[Values]]:
        """Return what rules and searches bring with the known and with the extended bank."""
        found = {}
        for name in goals:
            for bank in banks.banks():
                for method, one in banks.methods(self.files, bank).items():
                    for judge in banks.judges(bank):
                        goal = goal_named(name, self.fits.data)
                        found[name, method, judge.name] = [self.study.values(one, goal, name, judge)]
        return found

    def judged_by(self, method: str) -> list[str]:
        """Return the only judges of a method, where it has not all."""
        own = [one.name for one in self.judges if method == f"{BOUND}{one.name}"]
        return [TRUTH] if method == ORACLE else [*own, TRUTH] if own else []

    def _trained(self, one: ConfiguredMethod, goal: str, seed: int) -> Method:
        say(f"{one.name} towards {goal}, seed {seed}")
        tracer, wanted = self.tracers[0], goal_named(goal, self.fits.data)
        return one.trained(replace(self.fits, seed=seed), tracer, wanted, plain(self.task))

    def values(self, goals: Sequence[str]) -> dict[tuple[str, str, str], list[Values]]:
        """Return what every method brings on every goal by every judge, by seeds."""
        found = {}
        for name in goals:
            goal = goal_named(name, self.fits.data)
            for method, members in self.methods(name).items():
                for judge in self.judges:
                    if judge.name in (self.judged_by(method) or [judge.name]):
                        found[name, method, judge.name] = [self.study.values(one, goal, name, judge) for one in members]
        return found


def judges_of(tracers: Sequence[Fitted], fits: FitFolder) -> list[Judge]:
    """Return the learners by whom methods are judged: each tracer, then the truth where it is known."""
    data = fits.data
    found = [Judge(one.name, one.key, learner_of(one.tracer, data)) for one in tracers]
    if isinstance(data.truth, WorldLearners):
        learners = copy.deepcopy(data.truth)
        learners.action_set = bank_of(data)
        found.append(Judge(TRUTH, fingerprint(TRUTH, data.fingerprint), learners, EPISODES))
    return found


def table_of(study: ExerciseStudy, values: dict[tuple[str, str, str], list[Values]], resamples: int) -> Table:
    """Return all figures; the gain as a share of the bound of each goal and judge, where searches looked into it."""
    table = {place: study.figures(some, resamples) for place, some in values.items()}
    first = next(iter(values))[2]
    for (goal, _, judge), figures in table.items():
        names = (ORACLE,) if judge == TRUTH else BOUNDS if judge == first else (BOUND + judge,)
        bound = max((table[goal, name, judge]["gain"] for name in names if (goal, name, judge) in table), default=0.0)
        if bound > LEAST_BOUND:
            figures["of_bound"] = figures["gain"] / bound
    return table


def draw(comparison: Comparison, table: Table, goals: Sequence[str], learners: int) -> None:
    """Draw figure 3, and figure 9 (its first panels are figure 5) for a few learners, towards the last of the goals."""
    study = comparison.study
    for judge in comparison.judges:
        name = "figure_3" if judge is comparison.judges[0] else f"figure_3_{judge.name}"
        show(study.out, name, draw_bars(table, goals, judge.name))
    goal, judge = goals[-1], comparison.judges[0]
    chosen = goal_named(goal, study.data)
    rows = torch.linspace(0, len(study.request) - 1, learners).long()
    for row in dict.fromkeys(rows.tolist()):
        request, panels = study.request.select(torch.tensor([row])), []
        for name, members in comparison.methods(goal).items():
            if comparison.judged_by(name):
                continue
            session = study.session(members[0], chosen, replace(judge, episodes=1), request)
            path = mastery_path(judge.simulator, request, session)
            panels.append(Growth(name, path[0], session.concept[0], session.correct[0]))
        show(study.out, f"figure_9_{goal}_{row}", draw_growth(panels, study.data.concept_names))


def save(
    comparison: Comparison, table: Table, extended: Table, goals: Sequence[str], resamples: int, command: str
) -> None:
    """Write figures and tables."""
    study, judges = comparison.study, [one.name for one in comparison.judges]
    with (
        atomic_write(study.out / "exercises.csv") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["goal", "method", "judge", "figure", "value"])
        writer.writerows([*place, *cell] for place, figures in (table | extended).items() for cell in figures.items())
    request = study.request
    learners = len(set(request.learner.tolist()))
    lines = [f"{len(request)} starts of {learners} unseen learners, {int(request.length.max())} exercises each."]
    for judge in judges:
        lines.append(f"\n## By {judge}\n\n{judge_table(table, goals, judge)}")
    lines.append(f"\n## Seconds, by {judges[0]}\n\n{over_table(table, goals, judges[0], 'seconds', 1)}")
    lines.append(f"\n## As the authors' code counts, by {judges[0]}\n")
    lines.append(over_table(table, goals, judges[0], "released_share", 3))
    for judge in dict.fromkeys(judge for _, _, judge in extended):
        lines.append(f"\n## The bank extended threefold, by {judge}\n\n{judge_table(extended, goals, judge)}")
    text = "\n".join(lines)
    write(study.out / "exercises.md", f"{text}\n\n`{command}`\n")
    print(f"{text}\n{study.out}: exercises.md, exercises.csv, pictures")


def options_of(words: list[str]) -> argparse.Namespace:
    """Read the command line; what follows `--` is for the fits."""
    place = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic", help="synthetic, or the name of an overlay in configs/data")
    parser.add_argument("--root", help="folder of the data set")
    parser.add_argument("--methods", nargs="+", help="names in configs/exercises or paths; default all of the former")
    parser.add_argument("--goals", nargs="+", default=list(GOALS), choices=GOALS, help="default all four")
    parser.add_argument(
        "--tracers", nargs="+", default=["calibrated_dkt", "performance_factors"], help="first: trained on"
    )
    parser.add_argument("--other_seed", action=argparse.BooleanOptionalAction, default=True, help="of the first tracer")
    parser.add_argument("--seed", type=int, default=0, help="of the tracers' weights and batches")
    parser.add_argument("--seeds", type=int, default=1, help="fits of each method that learns")
    parser.add_argument("--starts", type=int, default=256, help="most start states of unseen learners")
    parser.add_argument("--history", type=int, help="answers before the first start; default 100, synthetic 30")
    parser.add_argument("--stride", type=int, help="answers from one start of a learner to the next; default --length")
    parser.add_argument("--length", type=int, default=10, help="exercises")
    parser.add_argument(
        "--vectors", type=Path, help="file of question vectors: figure 4 too, the bank extended threefold"
    )
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstraps over learners")
    parser.add_argument("--pictured", type=int, default=2, help="learners whose growth is drawn")
    parser.add_argument("--out", type=Path, help="default: compare_exercises/DATA")
    options = parser.parse_args(words[:place])
    options.extra = words[place + 1 :]
    options.out = (options.out or Path("compare_exercises") / options.data).resolve()
    known = sorted(path.stem for path in (CONFIGS / "data").glob("*.yaml"))
    if options.data != "synthetic" and options.data not in known:
        parser.error(f"--data must be synthetic or one of {', '.join(known)}")
    if options.data != "synthetic" and not options.root:
        parser.error("--data needs --root, the folder of the data set")
    if min(options.starts, options.seeds, options.length, options.resamples, options.pictured) < 1:
        parser.error("--starts, --seeds, --length, --resamples and --pictured must be 1 or more")
    if options.vectors is not None and not options.vectors.is_file():
        parser.error(f"--vectors: there is no file {options.vectors}; experiments/text_vectors.py makes one")
    if options.history is None:
        options.history = 30 if options.data == "synthetic" else 100
    return options


def compared(options: argparse.Namespace) -> Comparison:
    """Return the data, the fitted tracers and the starts."""
    config = CONFIGS / "grpo.yaml" if options.data == "synthetic" else CONFIGS / "data" / f"{options.data}.yaml"
    files = method_files(options.methods)
    description, extra = data_description(config, options.root, options.extra)
    data = data_module(description)
    task = ExerciseRequests(options.length, options.history, None, options.stride)
    few = replace(task, max_requests=options.starts)
    examples = few.examples(data.interactions("test"), "test", data.num_concepts, data.seed)
    request = examples.batch(torch.arange(len(examples.sizes)))
    if not isinstance(request, PathRequest) or not len(request):
        raise SettingError("history", options.history, "test learners with longer logs", "give a shorter --history")
    fits = FitFolder(options.out / "fits", description, data, options.seed, extra)
    tracers = fitted_tracers(fits, options.tracers, options.other_seed)
    study = ExerciseStudy(options.out, data, request, fingerprint(plain(few), data.fingerprint), say)
    return Comparison(study, fits, tracers, judges_of(tracers, fits), files, task, options.seeds)


def main(words: list[str] | None = None) -> None:
    """Fit, measure and write what is missing."""
    words = sys.argv[1:] if words is None else words
    options = options_of(words)
    try:
        comparison = compared(options)
        table = table_of(comparison.study, comparison.values(options.goals), options.resamples)
        draw(comparison, table, options.goals, options.pictured)
        extended: Table = {}
        if options.vectors is not None:
            banks = ExtendedBank.fitted(comparison.fits, tracer_file(CONFIGS, options.tracers[0]), options.vectors)
            found = comparison.extended(options.goals, banks)
            extended = {place: comparison.study.figures(some, options.resamples) for place, some in found.items()}
            for judge in (banks.part.name, banks.whole.name):
                show(comparison.study.out, f"figure_4_{judge}", draw_bars(extended, options.goals, judge))
    except LPRError as error:
        raise SystemExit(f"error: {error}") from error
    command = " ".join(["python", "experiments/compare_exercises.py", *words])
    save(comparison, table, extended, options.goals, options.resamples, command)


if __name__ == "__main__":
    main()
