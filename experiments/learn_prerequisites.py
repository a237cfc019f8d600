"""Learn prerequisites from training learners' answers, write them down, draw them, and compare with those known.

    python experiments/learn_prerequisites.py --config configs/state_space.yaml --out learned
    python experiments/learn_prerequisites.py --config configs/state_space.yaml --data configs/data/dbe_kt22.yaml \\
        --root DIR --relations DIR/KC_Relationships.csv --out learned -- --data.max_learners 500
    python -m lpr_lightning fit --config configs/grpo.yaml --data.prerequisites_file learned/prerequisites.csv

`--config` names a knowledge tracer and its data, `--data` data laid over it; words after `--` go to the command line of
the tracer's fit, which is told of no prerequisites. Its estimates at each time, and the order in which learners meet
concepts, are all that the edges are learned from (docs/prerequisites.md); validation learners choose the penalty.

`--out` then holds `prerequisites.csv` (needed, needing, strength: what `--data.prerequisites_file` reads),
`prerequisites.png`, and `prerequisites.json` with every figure. Where the data have prerequisites of their own (the
truth of synthetic learners, experts' graphs), precision and recall against them are printed, beside as many edges by
the simplest rivals. `--relations` compares with relations without direction: either direction counts.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lpr_lightning.bases.learned_prerequisites import PENALTIES, SHARE, THRESHOLD, LearnedPrerequisites
from lpr_lightning.cache import atomic_write
from lpr_lightning.cli.session import run
from lpr_lightning.datamodules.base import LearnerDataModule
from lpr_lightning.datamodules.columns import canonical_id, unknown_concept
from lpr_lightning.datamodules.delimited import read_columns
from lpr_lightning.errors import LPRError
from lpr_lightning.functional.answer_correlation import answer_correlation
from lpr_lightning.functional.prerequisites import direct_prerequisites
from lpr_lightning.hparams import load_module
from lpr_lightning.protocols import Tracer

FOUND, MISSED, WRONG, PLAIN = "#3b8f4a", "#9a9a9a", "#c8321e", "#2a6fb0"
SWEEPS = 12


class Reference(NamedTuple):
    """What edges are compared with: `related` [N, N] bool, row needs column, or symmetric where not `directed`."""

    related: Tensor
    directed: bool

    @property
    def size(self) -> int:
        """The number of edges or relations."""
        return int(self.related.sum()) if self.directed else int(self.related.triu(1).sum())

    def figures(self, chosen: Tensor) -> dict[str, float]:
        """Return edges, hits, precision and recall of a chosen graph, [N, N] bool; no share of nothing.

        >>> Reference(torch.tensor([[False, True], [True, False]]), False).figures(torch.tensor([[0, 1], [0, 0]]) > 0)
        {'edges': 1, 'hits': 1, 'precision': 1.0, 'recall': 1.0}
        """
        edges, hits = int(chosen.sum()), int((chosen & self.related).sum())
        shares = {"precision": edges, "recall": self.size}
        return {"edges": edges, "hits": hits} | {name: hits / of for name, of in shares.items() if of}


def fitted(options: argparse.Namespace) -> tuple[LearnerDataModule, Tracer]:
    """Fit the tracer without prerequisites; return its data and the best of its checkpoints."""
    words = ["fit", "--config", options.config] + (["--config", options.data] if options.data else [])
    words += [f"--data.root={options.root}"] if options.root else []
    words += ["--data.without_prerequisites=true", "--test_after_fit=false", "--trainer.accelerator=cpu"]
    words += ["--trainer.devices=1", f"--trainer.default_root_dir={options.out}", *options.extra]
    done = run(words)
    saver = done.trainer.checkpoint_callback
    if not isinstance(saver, ModelCheckpoint) or not isinstance(done.datamodule, LearnerDataModule):
        raise SystemExit(
            "error: --config must name a knowledge tracer with learners' answers, and keep its checkpoints"
        )
    tracer = load_module(saver.best_model_path)
    if not isinstance(tracer, Tracer):
        raise SystemExit(f"error: {type(tracer).__name__} is no knowledge tracer; configs/state_space.yaml has one")
    return done.datamodule, tracer.eval()


def reference_of(options: argparse.Namespace, data: LearnerDataModule) -> Reference | None:
    """Return the relations of a file, else the prerequisites that the data have of their own, if any."""
    count = data.num_concepts
    if options.relations is None:
        own = data.with_own_prerequisites().prerequisites
        if own is None and data.truth is None:
            return None
        edges = torch.empty(0, 2, dtype=torch.int64) if own is None else own
        return Reference(direct_prerequisites(edges, count), True)
    columns, vocabulary = read_columns(options.relations, options.relation_columns), data.concept_vocabulary
    ends = []
    for name in options.relation_columns:
        texts = [text if text in vocabulary else canonical_id(text) for text in columns.cells(name)]
        for row, text in enumerate(texts):
            if text not in vocabulary:
                raise columns.error(name, row, unknown_concept(text, vocabulary))
        ends.append([vocabulary[text] for text in texts])
    one_way = direct_prerequisites(torch.tensor(ends).T.reshape(-1, 2), count)
    return Reference((one_way | one_way.T) & ~torch.eye(count, dtype=torch.bool), False)


def best_of(score: Tensor, candidate: Tensor, edges: int) -> Tensor:
    """Return the `edges` candidates of the highest score, [N, N] bool.

    >>> best_of(torch.tensor([[5.0, 1.0], [3.0, 4.0]]), torch.tensor([[False, True], [True, True]]), 1)
    tensor([[False, False],
            [False,  True]])
    """
    chosen = torch.zeros_like(candidate).flatten()
    place = score.masked_fill(~candidate, -torch.inf).flatten().argsort(descending=True, stable=True)
    chosen[place[: min(edges, int(candidate.sum()))]] = True
    return chosen.view_as(candidate)


def compared(
    learned: LearnedPrerequisites, data: LearnerDataModule, reference: Reference, threshold: float
) -> dict[str, dict[str, float]]:
    """Return the figures of the learned graph, and of as many edges by each rival."""
    candidate, place, count = learned.candidate, learned.order.place, data.num_concepts
    graph = learned.strength > threshold
    edges = int(graph.sum())
    order = best_of(place[None] - place[:, None], candidate, edges)
    together = answer_correlation(data.interactions("train"), count)
    among, pairs = reference.figures(candidate), count * (count - 1) / (1 if reference.directed else 2)
    shares = {"random candidates": among.get("precision", 0.0), "random pairs": reference.size / pairs}
    random = {
        name: {
            "edges": edges,
            "hits": edges * share,
            "precision": share,
            "recall": edges * share / max(reference.size, 1),
        }
        for name, share in shares.items()
    }
    return {
        "learned": reference.figures(graph),
        "order alone": reference.figures(order),
        "correlation of answers": reference.figures(best_of(together, candidate, edges)),
        **random,
        "all candidates": among,
    }


def table(figures: dict[str, dict[str, float]], known: int) -> str:
    """Return the figures as a Markdown table."""
    lines = [f"| graph ({known} known) | edges | right | precision | recall |", "|:--|--:|--:|--:|--:|"]
    for name, one in figures.items():
        right = f"{one['hits']:.1f}".removesuffix(".0")
        shares = " | ".join(f"{one[key]:.2f}" if key in one else "" for key in ("precision", "recall"))
        lines.append(f"| {name} | {one['edges']:.0f} | {right} | {shares} |")
    return "\n".join(lines)


def positions(edges: Tensor) -> dict[int, tuple[float, float]]:
    """Return where concepts are drawn: left to right by the longest chain below them, near their neighbours.

    >>> positions(torch.tensor([[0, 1], [1, 2]]))
    {0: (0.0, 0.0), 1: (1.0, 0.0), 2: (2.0, 0.0)}
    """
    pairs: list[tuple[int, int]] = [(a, b) for a, b in edges.tolist()]
    depth = {one: 0 for pair in pairs for one in pair}
    for _ in range(len(depth)):  # ends early enough where edges form a cycle
        for before, after in pairs:
            depth[after] = min(max(depth[after], depth[before] + 1), len(depth))
    columns = {level: sorted(one for one in depth if depth[one] == level) for level in sorted(set(depth.values()))}
    near: dict[int, list[int]] = {one: [b if a == one else a for a, b in pairs if one in (a, b)] for one in depth}
    height = {one: row - (len(column) - 1) / 2 for column in columns.values() for row, one in enumerate(column)}
    for _ in range(SWEEPS):
        for level, column in columns.items():
            column.sort(key=lambda one: sum(height[other] for other in near[one]) / len(near[one]))
            columns[level] = column
            height |= {one: row - (len(column) - 1) / 2 for row, one in enumerate(column)}
    order = {level: float(place) for place, level in enumerate(columns)}
    return {one: (order[depth[one]], height[one]) for one in sorted(depth)}


def draw(path: Path, graph: Tensor, reference: Reference | None, names: Sequence[str]) -> None:
    """Draw the edges of a graph [N, N] bool, by whether the reference has them."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    related = torch.zeros_like(graph) if reference is None else reference.related
    missed = related & ~graph if reference is not None and reference.directed else torch.zeros_like(graph)
    kinds = {"found": (graph & related, FOUND), "missed": (missed, MISSED)}
    kinds |= {"learned": (graph, PLAIN)} if reference is None else {"not among those known": (graph & ~related, WRONG)}
    place = positions((graph | missed).nonzero().flip(1))
    columns = len({x for x, _ in place.values()})
    rows = max([sum(1 for at in place.values() if at[0] == x) for x, _ in place.values()], default=1)
    figure = Figure(figsize=(2.2 * max(columns, 3), 0.5 * max(rows, 4) + 0.8), layout="constrained", facecolor="white")
    axis = figure.subplots()
    axis.axis("off")
    for name, (chosen, colour) in kinds.items():
        style = ":" if name == "missed" else "-"
        for after, before in chosen.nonzero().tolist():
            (x, y), end = place[before], place[after]
            bend = 0.0 if end[0] - x == 1 else 0.2
            look = {"arrowstyle": "-|>", "color": colour, "linestyle": style, "shrinkA": 30, "shrinkB": 30}
            axis.annotate("", end, (x, y), arrowprops=look | {"connectionstyle": f"arc3,rad={bend}"})
    for concept, (x, y) in place.items():
        name = names[concept] if len(names[concept]) <= 18 else names[concept][:17] + "…"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axis.text(x, y, name, ha="center", va="center", fontsize=8, bbox=box)
    ends = [value for at in place.values() for value in at] or [0.0]
    axis.set(
        xlim=(-0.5, max(columns, 1) - 0.5),
        ylim=(min(ends) - 0.7, max(y for _, y in place.values()) + 0.7 if place else 1),
    )
    there = [(name, kind) for name, kind in kinds.items() if kind[0].any()]
    lines = [Line2D([], [], color=colour, linestyle=":" if name == "missed" else "-") for name, (_, colour) in there]
    if there:
        figure.legend(
            lines, [f"{name} ({int(kind[0].sum())})" for name, kind in there], loc="outside lower center", ncols=3
        )
    figure.savefig(path, dpi=110, format="png")


def written(out: Path, learned: LearnedPrerequisites, names: Sequence[str], threshold: float) -> None:
    """Write the edges as a file that every datamodule reads."""

    def cell(name: str) -> str:
        return '"' + name.replace('"', '""') + '"' if any(mark in name for mark in ',"\n') else name

    rows = [f"{cell(names[a])},{cell(names[b])},{strength:.4f}" for a, b, strength in learned.edges(threshold)]
    with atomic_write(out / "prerequisites.csv") as temporary:
        temporary.write_text("\n".join(["needed,needing,strength", *rows]) + "\n", encoding="utf-8")


def options_of(words: list[str]) -> argparse.Namespace:
    """Read the command line; what follows `--` is for the tracer's fit."""
    place = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/state_space.yaml", help="a knowledge tracer with its data")
    parser.add_argument("--data", help="an overlay of other data")
    parser.add_argument("--root", help="folder of the data set")
    parser.add_argument("--out", type=Path, default=Path("learned_prerequisites"), help="folder of what is written")
    parser.add_argument(
        "--penalties", type=float, nargs="+", default=PENALTIES, help="validation learners choose; one alone is taken"
    )
    parser.add_argument(
        "--share", type=float, default=SHARE, help="of learners who met the prerequisite first, more than"
    )
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help="an edge is a strength above it")
    parser.add_argument("--relations", type=Path, help="CSV of relations without direction to compare with")
    parser.add_argument(
        "--relation_columns",
        nargs=2,
        default=("from_knowledgecomponent_id", "to_knowledgecomponent_id"),
        help="its two columns; default those of DBE-KT22",
    )
    options = parser.parse_args(words[:place])
    options.extra = words[place + 1 :]
    if options.relations is not None and not options.relations.is_file():
        parser.error(f"--relations {options.relations} is not there")
    return options


def progress() -> Callable[[str], None]:
    """Return what shows a line that is written over by the next one."""

    def told(message: str) -> None:
        sys.stderr.write(f"\r\033[K{message}" if sys.stderr.isatty() else f"{message}\n")
        sys.stderr.flush()

    return told


def main(words: list[str] | None = None) -> None:
    """Fit, learn, write and compare."""
    options = options_of(sys.argv[1:] if words is None else words)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        data, tracer = fitted(options)
        reference = reference_of(options, data)
        told = progress()
        learned = LearnedPrerequisites.of(data, tracer, options.penalties, options.share, told)
        told("")
        graph = learned.strength > options.threshold
    except LPRError as error:
        raise SystemExit(f"error: {error}") from error
    written(options.out, learned, data.concept_names, options.threshold)
    with atomic_write(options.out / "prerequisites.png") as temporary:
        draw(temporary, graph, reference, data.concept_names)
    figures = {} if reference is None else compared(learned, data, reference, options.threshold)
    losses = {"none" if math.isinf(key) else f"{key:g}": one for key, one in learned.losses.items()}
    result = {
        "candidates": int(learned.candidate.sum()),
        "edges": int(graph.sum()),
        "penalty": "none" if math.isinf(learned.penalty) else learned.penalty,
        "validation_loss": losses,
        "figures": figures,
        "command": ["python", "experiments/learn_prerequisites.py", *(sys.argv[1:] if words is None else words)],
    }
    with atomic_write(options.out / "prerequisites.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    each = ", ".join(f"{name} {loss:.5f}" for name, loss in losses.items())
    chosen = "no edges" if math.isinf(learned.penalty) else f"penalty {learned.penalty:g}, {int(graph.sum())} edges"
    print(f"{int(learned.candidate.sum())} candidates; {chosen}; validation loss by penalty: {each}")
    if reference is not None:
        print(table(figures, reference.size))
    print(options.out / "prerequisites.csv")


if __name__ == "__main__":
    main()
