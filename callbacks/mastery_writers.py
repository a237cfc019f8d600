"""What unseen learners master, and what they would answer, as tables and as a picture."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from lpr_lightning.bases.staged import datamodule_of, fast_dev_run
from lpr_lightning.callbacks.chosen_learners import concept_names, name_of
from lpr_lightning.callbacks.pictures import INK, add_figure, new_figure
from lpr_lightning.callbacks.prediction_writers import HasItemNames, PredictionWriter, Row
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.types import Exercise, InteractionBatch, PathRequest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME_WIDTH = 30


class MasteryWriter(PredictionWriter):
    """Writes what learners master to a CSV file, one row for each learner and concept, and draws it.

    `predict_step` returns a dict with `"request"` (`types.PathRequest`) and `"mastery"` ([B, N] in [0, 1]), as
    knowledge tracers do. Columns: learner, concept (its number), name, mastery, answers (how many the learner's
    history has on it: without any, mastery is foretold from other concepts), and target (`yes`, or empty). See
    `PredictionWriter` for the learners' names and several processes. The picture shows the first learners and, where
    there is no room for all concepts, those that are targets, then those with most answers.

    Args:
        name: file name.
        png: draw the picture too, into a file of the same name that ends in .png, and into TensorBoard.
        learners: most learners in the picture.
        concepts: most concepts in the picture.

    Raises:
        SettingError: `name` is empty or has a folder in it, a number is below 1, or (when a batch ends) the module
            predicts something else.
    """

    columns = ("learner", "concept", "name", "mastery", "answers", "target")

    def __init__(self, name: str = "mastery.csv", png: bool = False, learners: int = 30, concepts: int = 30) -> None:
        super().__init__(name)
        self.png = png
        self.learners, self.concepts = checked("learners", learners, 1), checked("concepts", concepts, 1)

    def rows(self, trainer: Trainer, request: PathRequest, parts: Mapping[object, object]) -> Sequence[Sequence[Row]]:
        """Return the concepts of each request."""
        mastery = parts.get("mastery")
        if not isinstance(mastery, Tensor) or mastery.shape != request.targets.shape:
            allowed = f'a dict with "mastery" of shape {tuple(request.targets.shape)}'
            raise SettingError("predict_step", [str(name) for name in parts], allowed)
        return mastery_rows(mastery, request.targets, answers_on(request.history, mastery), concept_names(trainer))

    def written(self, trainer: Trainer, path: Path) -> None:
        """Draw what the file holds."""
        if self.png and not fast_dev_run(trainer):
            figure = draw(panel_of(path, self.learners, self.concepts))
            add_figure(trainer, "predict/mastery", figure, path.with_suffix(".png"))


class SuccessWriter(PredictionWriter):
    """Writes how likely learners answer right what they were to be asked, one row for each question and target.

    `predict_step` returns a dict with `"request"`, `"asked"` (`types.Exercise` [B, A], nothing where unused) and
    `"success"` ([B, A]), as knowledge tracers do. Columns: learner, item (the question's raw name; empty for a target,
    which is asked at large), concept (its number; several are joined by `;`), name, and predicted_success. Nothing is
    written where nobody was to be asked anything.

    Args:
        name: file name.

    Raises:
        SettingError: `name` is empty or has a folder in it, or (when a batch ends) the module predicts something else.
    """

    columns = ("learner", "item", "concept", "name", "predicted_success")

    def __init__(self, name: str = "success.csv") -> None:
        super().__init__(name)

    def rows(self, trainer: Trainer, request: PathRequest, parts: Mapping[object, object]) -> Sequence[Sequence[Row]]:
        """Return what each request was to be asked."""
        asked, success = parts.get("asked"), parts.get("success")
        if not isinstance(asked, Exercise) or not isinstance(success, Tensor) or success.shape != asked.shape:
            allowed = 'a dict with "asked", an Exercise [B, A], and "success" [B, A]'
            raise SettingError("predict_step", [str(name) for name in parts], allowed)
        data = datamodule_of(trainer)
        items = data.item_names if isinstance(data, HasItemNames) else []
        return success_rows(asked, success, concept_names(trainer), items)


def answers_on(history: InteractionBatch, like: Tensor) -> Tensor:
    """Return how many answers of each history are on each concept, [B, N] int64, shaped `like` [B, N].

    >>> from lpr_lightning.types import Interactions
    >>> history = Interactions.from_lists([[(0, 1), (2, 0), (0, 0)], []]).batch(torch.arange(2))
    >>> answers_on(history, torch.zeros(2, 3))
    tensor([[2, 0, 1],
            [0, 0, 0]])
    """
    concept = history.concept.masked_fill(~history.mask[..., None], -1).flatten(1) + 1
    count = torch.zeros(len(like), like.shape[1] + 1, dtype=torch.int64, device=like.device)
    return count.scatter_add(1, concept, torch.ones_like(concept))[:, 1:]


def mastery_rows(mastery: Tensor, targets: Tensor, answers: Tensor, names: Sequence[str]) -> list[list[Row]]:
    """Return one row for each concept of each learner.

    >>> mastery_rows(torch.tensor([[0.5]]), torch.tensor([[True]]), torch.tensor([[3]]), ["Fractions"])
    [[{'concept': 0, 'name': 'Fractions', 'mastery': '0.5', 'answers': 3, 'target': 'yes'}]]
    """
    return [
        [
            {
                "concept": concept,
                "name": name_of(concept, names),
                "mastery": f"{value:.6g}",
                "answers": count,
                "target": "yes" if wanted else "",
            }
            for concept, (value, count, wanted) in enumerate(zip(*learner))
        ]
        for learner in zip(mastery.tolist(), answers.tolist(), targets.tolist())
    ]


def success_rows(asked: Exercise, success: Tensor, names: Sequence[str], items: Sequence[str]) -> list[list[Row]]:
    """Return one row for each exercise of each learner that asks something.

    >>> asked = Exercise(torch.tensor([[[1, -1], [0, 1], [-1, -1]]]), torch.tensor([[-1, 0, -1]]))
    >>> first, second = success_rows(asked, torch.tensor([[0.5, 0.25, torch.nan]]), ["Add", "Draw"], ["q7"])[0]
    >>> first["item"], first["name"], second["item"], second["name"], second["predicted_success"]
    ('', 'Draw', 'q7', 'Add;Draw', '0.25')
    """
    tables: list[list[Row]] = []
    for learner in zip(asked.concept.tolist(), asked.item.tolist(), asked.asked.tolist(), success.tolist()):
        rows: list[Row] = []
        for concepts, item, something, chance in zip(*learner):
            used = [concept for concept in concepts if concept >= 0]
            if something:
                rows.append(
                    {
                        "item": "" if item < 0 else items[item] if item < len(items) else item,
                        "concept": ";".join(map(str, used)),
                        "name": ";".join(name_of(concept, names) for concept in used),
                        "predicted_success": f"{chance:.6g}",
                    }
                )
        tables.append(rows)
    return tables


@dataclass(frozen=True)
class Panel:
    """What is drawn: the `mastery` of R learners on C concepts, which of these are `target`s, which were `answered`."""

    learners: list[str]
    concepts: list[str]
    mastery: list[list[float]]
    target: list[tuple[int, int]]
    answered: list[tuple[int, int]]


def panel_of(path: Path, learners: int, concepts: int) -> Panel:
    """Return what is drawn of a file of mastery: the first learners, and the concepts that matter most to them."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        first = next(rows)
        every = [first, *itertools.takewhile(lambda row: row["concept"] != first["concept"], rows)]
        file.seek(0)
        table = list(itertools.islice(csv.DictReader(file), learners * len(every)))
    of_learner = [table[start : start + len(every)] for start in range(0, len(table), len(every))]
    weight = [
        (sum(bool(one[place]["target"]) for one in of_learner), sum(int(one[place]["answers"]) for one in of_learner))
        for place in range(len(every))
    ]
    shown = sorted(sorted(range(len(every)), key=lambda place: weight[place], reverse=True)[:concepts])
    cells = [[one[place] for place in shown] for one in of_learner]
    places = [(column, row) for row, line in enumerate(cells) for column in range(len(line))]
    return Panel(
        learners=[_short(one[0]["learner"]) for one in of_learner],
        concepts=[_short(every[place]["name"]) for place in shown],
        mastery=[[float(cell["mastery"]) for cell in line] for line in cells],
        target=[(column, row) for column, row in places if cells[row][column]["target"]],
        answered=[(column, row) for column, row in places if int(cells[row][column]["answers"])],
    )


def draw(panel: Panel) -> Figure:
    """Return the picture: learners in rows, concepts in columns."""
    high, wide = len(panel.learners), len(panel.concepts)
    figure, (axis,) = new_figure(max(3.6 + 0.34 * wide, 5.2), 2.6 + 0.3 * high)
    image = axis.imshow(panel.mastery, cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for places, marker, face, label in (
        (panel.target, "s", "none", "target"),
        (panel.answered, "o", "white", "has answers on it"),
    ):
        x, y = [column for column, _ in places], [row for _, row in places]
        edge, size = ("#e8590c", 110) if face == "none" else ("black", 14)
        axis.scatter(x, y, s=size, marker=marker, facecolors=face, edgecolors=edge, linewidths=1.4, label=label)
    axis.set_yticks(range(high), panel.learners)
    axis.set_xticks(range(wide), panel.concepts, rotation=60, ha="right", rotation_mode="anchor")
    axis.set_xlim(-0.5, wide - 0.5)
    axis.set_ylim(high - 0.5, -0.5)
    axis.grid(visible=False)
    axis.tick_params(length=0)
    bar = figure.colorbar(image, ax=axis, fraction=0.05, pad=0.02, aspect=20)
    bar.set_label("mastery", color=INK)
    bar.outline.set_visible(False)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=9, frameon=False)
    return figure


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= NAME_WIDTH else name[: NAME_WIDTH - 1].rstrip() + "…"
