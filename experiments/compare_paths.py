"""Compare policies of learning paths: methods of Table 1 of IB-GRPO (arXiv 2601.14686), one simulator, one protocol.

    python experiments/compare_paths.py --methods rules dqn ppo actor_critic --lengths 10 --out runs/paths
    python experiments/compare_paths.py --data synthetic assist09=DIR --protocols default dlpr gehrl \\
        --lengths 5 10 20 --methods rules trained --seeds 5
    python experiments/compare_paths.py --study advantages --seeds 5

A protocol is configs/grpo.yaml, with presets laid over it: it says which tracer is the learner, how it answers, what
the exam is and how logs are cut. The tracer is fitted once for each data set; every method that learns is trained on
it, for each length and seed, with nothing else of its own configuration changed. Then all teach the same unseen
learners, judged by that simulator, by simulators that no method was trained on (`--judges`, each fitted with another
seed, so that the simulator's own tracer may be among them), and, where learners are synthetic, in truth, closed loop.
`oracle` alone looks into the truth.

`--methods` takes names: `rules` (all that are not trained, searches included), single ones of them, `trained` (all
whose configurations are there); `gen_al` needs `--endpoint`. A method that fails is a row that says so, and the command
ends with exit code 1. The same command goes on where it was stopped: fits and figures are kept under all that they
depend on.

`--study advantages` trains IB-GRPO with each advantage instead, and without the ZPD objective, and draws figure 4.

`--out` then holds `paths.csv`, `paths.md` and `paths.png`, or `advantages.csv`, `advantages.md` and `advantages.png`;
the pictures also go to TensorBoard there. Words after `--` go to every fit, those of tracers too; those that begin with
`--data.` change the data of all.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lpr_lightning.cache import atomic_write, fingerprint
from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.metrics.log_figures import LogFigures
from lpr_lightning.models.ib_grpo import IBGRPOPolicy
from lpr_lightning.objectives import Objective
from lpr_lightning.policies import GenAL, Oracle
from lpr_lightning.simulators.world_learners import WorldLearners
from lpr_lightning.studies.exercise_pictures import show
from lpr_lightning.studies.path_methods import (
    ADVANTAGES,
    RULES,
    SEARCHES,
    WITHOUT_ZPD,
    Taught,
    fitted_method,
    method_settings,
    trained_methods,
    untrained,
)
from lpr_lightning.studies.path_protocols import PROTOCOLS, PathProtocol
from lpr_lightning.studies.path_study import PathJudge, PathStudy, Values, figures_of, over, with_shares
from lpr_lightning.studies.path_tables import (
    Cells,
    advantage_table,
    draw_paths,
    draw_radar,
    names_of,
    path_table,
    shown,
)
from lpr_lightning.studies.simulator_study import TRUTH, Study, fidelity, of_tracer, of_truth
from lpr_lightning.studies.tracer_fits import (
    FitFolder,
    Fitted,
    data_description,
    data_module,
    tracer_file,
    unseen_requests,
    write,
)

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
ORACLE, GEN_AL, EPISODES = "oracle", "gen_al", 4
"""The search with access to the truth, the prompting agent, and the draws of true answers to a path."""
SYNTHETIC = "synthetic"
AXES = ("truth", "ZPD", "length", "diversity", "set hypervolume")
Place = tuple[str, str, int]
"""Data set, protocol and length."""


@dataclass
class Block:
    """All that came of one data set, protocol and length."""

    own: str
    cells: Cells = field(default_factory=dict)
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    fronts: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    fidelity: dict[str, float] = field(default_factory=dict)
    requests: int = 0


def say(name: str) -> None:
    """Show what is about to be done."""
    print(f"== {name}", flush=True)


@dataclass(frozen=True)
class Comparison:
    """One data set: its tracers, fitted once, and what is done with them."""

    name: str
    fits: FitFolder
    options: argparse.Namespace

    @property
    def out(self) -> Path:
        """The folder of figures."""
        out: Path = self.options.out
        return out

    def tracer(self, file: Path, seed: int = 0) -> Fitted:
        """Return a tracer after its fit."""
        say(f"{self.name}: tracer {file.stem}{', another seed' if seed else ''}")
        return replace(self.fits, seed=seed).fit(file.stem, file)

    def judges(self, protocol: PathProtocol, own: Fitted) -> list[PathJudge]:
        """Return the learners by whom methods are judged: the simulator first, then others, then the truth."""
        rest = protocol.goal(), protocol.early_stop
        found = [PathJudge(own.name, own.key, protocol.learner(own.tracer), *rest)]
        for name in self.options.judges:
            other = self.tracer(tracer_file(CONFIGS, name), seed=1)
            shown_as = f"{other.name}, another seed" if other.name == own.name else other.name
            found.append(PathJudge(shown_as, other.key, protocol.learner(other.tracer), *rest))
        truth = self.fits.data.truth
        if isinstance(truth, WorldLearners):
            soft = Targets(SoftExam())
            key = fingerprint(TRUTH, self.fits.data.fingerprint)
            found.append(PathJudge(TRUTH, key, truth, soft, protocol.early_stop, EPISODES))
        return found

    def block(self, protocol: PathProtocol, length: int) -> Block:
        """Return the figures of all methods under a protocol, for paths of a length."""
        request, key = unseen_requests(self.fits.data, protocol.task(length), self.options.learners)
        own = self.tracer(protocol.tracer)
        judges = self.judges(protocol, own)
        key = fingerprint(key, protocol.name)
        study = PathStudy(self.out, self.fits.data, request, key, judges[0].simulator, say)
        found = Block(judges[0].name, requests=len(request))
        methods = self.options.variants if self.options.study == "advantages" else self.options.methods
        values: dict[tuple[str, str], list[Values]] = {}
        zpd: Objective | None = None
        for name in methods:
            try:
                members = self.members(name, protocol, own, length)
                if members[0].module is not None:
                    seconds = sum(one.seconds for one in members) / len(members)
                    found.costs[name] = {"seconds": seconds, "parameters": float(members[0].parameters)}
                for judge in judges:
                    values[name, judge.name] = [study.values(one, judge) for one in members]
                if self.options.study == "advantages":
                    zpd = zpd or zpd_of(members[0])
                    fronts = [study.front(one, judges[0], zpd) for one in members]
                    found.fronts[name] = {
                        figure: sum(float(front[figure]) for front in fronts) / len(fronts) for figure in fronts[0]
                    }
            except Exception as error:  # one method that fails must not take the others' rows with it
                found.failed[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
                say(f"{name} failed: {found.failed[name]}")
        truth = judges[-1].simulator
        if isinstance(truth, WorldLearners) and judges[-1].name == TRUTH:
            searched = Taught(ORACLE, ORACLE, Oracle())
            values[ORACLE, TRUTH] = [study.values(searched, judges[-1], truth.expected())]
        found.cells |= {place: figures_of(some, self.options.resamples) for place, some in values.items()}
        with_shares(found.cells, found.own, SEARCHES, TRUTH, ORACLE)
        reference = "ScalarSum" if self.options.study == "advantages" else "targets_in_turn"
        for (name, judge_name), some in values.items():
            if (reference, judge_name) in values and name != reference:
                gap, deviation = over(some, values[reference, judge_name])
                found.cells[name, judge_name] |= {"over": gap, "over_error": deviation}
        if self.options.study == "table":
            found.fidelity |= self.rank_fidelity(protocol, own, study)
        return found

    def members(self, name: str, protocol: PathProtocol, own: Fitted, length: int) -> list[Taught]:
        """Return a method, once for each seed where it is trained."""
        if name in RULES:
            return [untrained(name, own)]
        if name == GEN_AL:
            return [self.prompted(f"{self.name}_{protocol.name}_{length}")]
        settings = method_settings(name, protocol, CONFIGS)
        found = []
        for seed in range(self.options.seeds):
            say(f"{self.name}, {protocol.name}, {length} steps: {name}, seed {seed}")
            fits = replace(self.fits, seed=seed)
            found.append(fitted_method(name, settings, protocol, fits, own, length, self.options.epochs))
        return found

    def prompted(self, store: str) -> Taught:
        """Return the prompting agent behind the endpoint, whose answers are kept under a name."""
        from lpr_lightning.annotation.endpoint import ChatEndpoint

        client = ChatEndpoint(self.options.model, self.options.endpoint, self.options.api_key_env)
        folder = self.out / "gen_al"
        folder.mkdir(parents=True, exist_ok=True)
        policy = GenAL(client, str(folder / f"{store}.db"))
        return Taught(GEN_AL, fingerprint(GEN_AL, self.options.model), policy)

    def rank_fidelity(self, protocol: PathProtocol, own: Fitted, study: PathStudy) -> dict[str, float]:
        """Return how the simulator ranks each learner's paths beside the truth; nothing where nobody knows it."""
        truth = self.fits.data.truth
        if not isinstance(truth, WorldLearners):
            return {}
        model = protocol.learner(own.tracer)
        subject = of_tracer(f"{own.name}_{protocol.name}", own.key, own.tracer, own.seconds, model)
        figures = LogFigures((1,), 5, 1)
        by_model = Study(self.out, study.data, study.request, study.key, figures, say=say, goal=protocol.goal())
        pool = by_model.pool([subject])
        true = replace(by_model, goal=Targets(SoftExam())).gains(of_truth(study.data, truth), pool)
        return fidelity(by_model.gains(subject, pool), true)


def zpd_of(taught: Taught) -> Objective:
    """Return the fitted ZPD objective of a policy.

    Raises:
        SettingError: it has none.
    """
    if isinstance(taught.module, IBGRPOPolicy):
        for objective in taught.module.objectives.modules():
            if isinstance(objective, Objective) and objective.name == "zpd":
                return objective
    raise SettingError("variants", taught.name, "one with the objective ZPDAlignment first")


def report(blocks: Mapping[Place, Block], options: argparse.Namespace, command: str) -> None:
    """Write tables and pictures, and print the tables."""
    out, stem = options.out, "advantages" if options.study == "advantages" else "paths"
    with atomic_write(out / f"{stem}.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["data", "protocol", "length", "method", "judge", "figure", "value"])
        for place, block in blocks.items():
            for (name, judge), figures in block.cells.items():
                writer.writerows([*place, name, judge, *cell] for cell in figures.items())
            for kind, extra in (("fit", block.costs), ("front", block.fronts)):
                for name, figures in extra.items():
                    writer.writerows([*place, name, kind, *cell] for cell in figures.items())
            writer.writerows([*place, block.own, TRUTH, *cell] for cell in block.fidelity.items())
            writer.writerows([*place, name, "failed", problem, ""] for name, problem in block.failed.items())
    text = "\n".join(section(place, block, options) for place, block in blocks.items())
    write(out / f"{stem}.md", f"{text}\n`{command}`\n")
    panels = {", ".join(str(part) for part in place): block for place, block in blocks.items()}
    if stem == "paths":
        show(out, stem, draw_paths({title: block.cells for title, block in panels.items() if block.cells}))
    for number, block in enumerate(panels.values()):
        rows = radar_rows(block)
        if rows:
            show(out, stem if number == 0 else f"{stem}_{number + 1}", draw_radar(rows, AXES))
    print(f"{text}\n{out}: {stem}.md, {stem}.csv, pictures")


def radar_rows(block: Block) -> dict[str, list[float]]:
    """Return the figures of the radar by variant; nothing where the truth is unknown."""
    found = {}
    for name, front in block.fronts.items():
        if (name, TRUTH) in block.cells:
            own, true = block.cells[name, block.own], block.cells[name, TRUTH]
            found[name] = [true["effect"], front["zpd"], own["fit"], own["diversity"], front["hypervolume"]]
    return found


def section(place: Place, block: Block, options: argparse.Namespace) -> str:
    """Return the tables of one data set, protocol and length in Markdown."""
    title = f"## {place[0]}, protocol {place[1]}, {place[2]} steps, {block.requests} requests\n"
    epochs = "trained as configured" if options.epochs is None else f"cut to {options.epochs} epoch(s) each"
    lines = [title, f"Methods that learn: {epochs}, on {block.own}."]
    if block.fidelity:
        low, high = shown(block.fidelity, "rank_fidelity_low"), shown(block.fidelity, "rank_fidelity_high")
        lines.append(f"Rank fidelity of {block.own}: {shown(block.fidelity, 'rank_fidelity')} [{low}, {high}].")
    if options.study == "advantages":
        lines.append(f"\n{advantage_table(block.cells, block.fronts, block.own, TRUTH)}")
    else:
        lines.append(f"\n{path_table(block.cells, block.costs, block.own)}")
        lines.append(f"\nOver targets in turn, paired by learner:\n\n{drops(block)}")
    lines += [f"\nFailed: {name}: {problem}" for name, problem in block.failed.items()]
    return "\n".join(lines) + "\n"


def drops(block: Block) -> str:
    """Return how far each method is over targets in turn by each judge, with standard errors, as lines."""
    methods, judges = names_of(block.cells)
    lines = []
    for name in methods:
        cells = [(judge, block.cells.get((name, judge), {})) for judge in judges]
        told = [f"{judge} {one['over']:+.3f} ± {one['over_error']:.3f}" for judge, one in cells if "over" in one]
        if told:
            lines.append(f"- {name}: {'; '.join(told)}")
    return "\n".join(lines) or "- nothing to hold against them"


def options_of(words: list[str]) -> argparse.Namespace:
    """Read the command line; what follows `--` is for the fits."""
    place = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", choices=("table", "advantages"), default="table")
    parser.add_argument(
        "--data", nargs="+", default=[SYNTHETIC], help="synthetic, or NAME=FOLDER, NAME in configs/data"
    )
    parser.add_argument("--protocols", nargs="+", default=["default"], choices=list(PROTOCOLS))
    parser.add_argument("--methods", nargs="+", default=["rules"], help="rules, trained, or names")
    parser.add_argument("--variants", nargs="+", default=[*ADVANTAGES, WITHOUT_ZPD], choices=[*ADVANTAGES, WITHOUT_ZPD])
    parser.add_argument("--lengths", nargs="+", type=int, default=[10], help="steps of a path; the paper: 5 10 20")
    parser.add_argument("--judges", nargs="*", default=["dkt"], help="tracers that no method is trained on, by name")
    parser.add_argument("--seeds", type=int, default=1, help="of each method that learns")
    parser.add_argument("--epochs", type=int, help="shorter fits of methods, for trying; default their whole training")
    parser.add_argument("--learners", type=int, default=200, help="most requests")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstraps over learners")
    parser.add_argument("--endpoint", help="of gen_al, an address with its /v1")
    parser.add_argument("--model", default="", help="the model's name there")
    parser.add_argument("--api_key_env", help="environment variable that holds the key; default: no key is needed")
    parser.add_argument("--out", type=Path, default=Path("compare_paths"))
    options = parser.parse_args(words[:place])
    options.extra, options.out = words[place + 1 :], options.out.resolve()
    if min(options.seeds, options.learners, options.resamples, *options.lengths, options.epochs or 1) < 1:
        parser.error("--seeds, --epochs, --learners, --resamples and --lengths must be 1 or more")
    options.methods = wanted_methods(options.methods, parser)
    if GEN_AL in options.methods and not (options.endpoint and options.model):
        parser.error("gen_al needs --endpoint and --model")
    for name in options.data:
        known = sorted(path.stem for path in (CONFIGS / "data").glob("*.yaml"))
        if name != SYNTHETIC and (name.partition("=")[0] not in known or not name.partition("=")[2]):
            parser.error(f"--data {name}: must be synthetic, or NAME=FOLDER with one of {', '.join(known)}")
    for name in options.judges:
        try:
            tracer_file(CONFIGS, name)
        except SettingError as error:
            parser.error(str(error))
    return options


def wanted_methods(names: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """Return the methods by name, each once, groups resolved; all that are unknown are one error."""
    there = trained_methods(CONFIGS)
    groups = {"rules": list(RULES), "trained": there}
    found = list(dict.fromkeys(one for name in names for one in groups.get(name, [name])))
    if unknown := [name for name in found if name not in (*RULES, *there, GEN_AL)]:
        parser.error(f"--methods {' '.join(unknown)}: must be some of {', '.join([*groups, *RULES, *there, GEN_AL])}")
    return found


def main(words: list[str] | None = None) -> None:
    """Fit, measure and write what is missing."""
    words = sys.argv[1:] if words is None else words
    options = options_of(words)
    blocks: dict[Place, Block] = {}
    try:
        protocols = [PathProtocol.read(one, CONFIGS) for one in options.protocols]
        for named in options.data:
            name, _, root = named.partition("=")
            config = CONFIGS / "grpo.yaml" if name == SYNTHETIC else CONFIGS / "data" / f"{name}.yaml"
            description, extra = data_description(config, root or None, options.extra)
            fits = FitFolder(options.out / "fits", description, data_module(description), 0, extra)
            comparison = Comparison(name, fits, options)
            for protocol in protocols:
                for length in options.lengths:
                    blocks[name, protocol.name, length] = comparison.block(protocol, length)
    except LPRError as error:
        raise SystemExit(f"error: {error}") from error
    report(blocks, options, " ".join(["python", "experiments/compare_paths.py", *words]))
    if any(block.failed for block in blocks.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
