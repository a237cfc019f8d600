"""Where questions lie before and after training: a picture in two dimensions, and TensorBoard's projector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.nn import functional as F

from lpr_lightning.bases.staged import datamodule_of, fast_dev_run
from lpr_lightning.callbacks.pictures import INK, OTHERS, POLICY, add_figure, new_figure, picture_file
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.protocols import HasQuestions
from lpr_lightning.questions import Question, Questions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TAG = "questions"


@runtime_checkable
class EncodesQuestions(Protocol):
    """A module that gives questions vectors."""

    def question_vectors(self, questions: Sequence[Question]) -> Tensor:
        """Return the vectors of questions, [B, D]."""
        ...


class QuestionMap(Callback):
    """Draws the data's questions in the plane before and after a fit, in the colours of their concepts (figure 8 of
    ExRec, Ozyurt et al. 2025), and hands their vectors to TensorBoard's embedding projector.

    The plane is that of the first two principal components of the vectors scaled to length 1, of each picture its own.
    What lay where before the fit is in checkpoints, so that a resumed run still shows it. The projector names each
    question, its split and its first concept.

    Args:
        questions: most questions in the picture; the first with a text.
        clusters: concepts in colour, those of most of these questions; the others are grey.
        png: write the picture to the run's folder too, as `question_map.png`.

    Raises:
        SettingError: a number is below 1, or (when the fit starts) the module or the data lack what is needed.
    """

    def __init__(self, questions: int = 500, clusters: int = 8, png: bool = False) -> None:
        self.most, self.clusters, self.png = checked("questions", questions, 3), checked("clusters", clusters, 1), png
        self._before: list[list[float]] = []

    def state_dict(self) -> dict[str, object]:
        """Return what lay where before the fit."""
        return {"before": self._before}

    def load_state_dict(self, state_dict: dict[str, list[list[float]]]) -> None:
        """Take what lay where before the fit."""
        self._before = state_dict["before"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the questions before training."""
        if not isinstance(pl_module, EncodesQuestions):
            raise SettingError("model", type(pl_module).__name__, "a module with question_vectors(questions)")
        if not isinstance(data := datamodule_of(trainer), HasQuestions):
            raise SettingError("data", type(data).__name__, "a datamodule with questions in words")
        if trainer.is_global_zero and not self._before and not fast_dev_run(trainer):
            vectors = self._vectors(trainer, pl_module)
            self._before = plane(vectors).tolist()
            self._project(trainer, vectors, "before", 0)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        file, data = picture_file(trainer, "question_map", self.png), datamodule_of(trainer)
        if not trainer.is_global_zero or fast_dev_run(trainer) or not isinstance(data, HasQuestions):
            return
        vectors = self._vectors(trainer, pl_module)
        self._project(trainer, vectors, "after", trainer.global_step)
        groups = first_concepts(data.questions, self._chosen(data), self.clusters)
        figure = draw(torch.tensor(self._before), plane(vectors), groups)
        add_figure(trainer, TAG + "/map", figure, file)

    def _chosen(self, data: HasQuestions) -> list[int]:
        worded = [number for number, one in enumerate(data.questions.questions) if one.text.strip()]
        return worded[: self.most]

    def _vectors(self, trainer: Trainer, module: LightningModule) -> Tensor:
        data = datamodule_of(trainer)
        if not isinstance(module, EncodesQuestions) or not isinstance(data, HasQuestions):
            return torch.zeros(0, 2)
        training = module.training
        module.eval()
        vectors = module.question_vectors([data.questions[one] for one in self._chosen(data)])
        module.train(training)
        return vectors.detach().float().cpu()

    def _project(self, trainer: Trainer, vectors: Tensor, when: str, step: int) -> None:
        """Hand the vectors to TensorBoard's projector."""
        data = datamodule_of(trainer)
        boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if not boards or not isinstance(data, HasQuestions):
            return
        held_out = {number: split for split in ("val", "test") for number in data.question_numbers(split).tolist()}
        rows = [
            [one.name, held_out.get(number, "train"), one.concepts[0] if one.concepts else "", _short(one.text)]
            for number, one in ((number, data.questions[number]) for number in self._chosen(data))
        ]
        header = ["question", "split", "concept", "text"]
        for logger in boards:
            logger.experiment.add_embedding(
                vectors, rows, tag=f"{TAG}/{when}", metadata_header=header, global_step=step
            )


def plane(vectors: Tensor) -> Tensor:
    """Return vectors of length 1 in the plane of their first two principal components, [Q, 2].

    >>> plane(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])).shape
    torch.Size([3, 2])
    """
    unit = F.normalize(vectors.float(), dim=1)
    centred = unit - unit.mean(0)
    left, size, _ = torch.linalg.svd(centred, full_matrices=False)
    points: Tensor = (left * size)[:, :2]
    sign = points.gather(0, points.abs().argmax(0, keepdim=True)).sign()
    return points * torch.where(sign == 0, 1.0, sign)  # a component may come out with either sign


def first_concepts(questions: Questions, numbers: Sequence[int], most: int) -> list[str]:
    """Return each question's commonest concept, empty where it is none of the `most` commonest.

    >>> bank = Questions((Question("a", "?", concepts=("x", "y")), Question("b", "?", concepts=("y",))))
    >>> first_concepts(bank, [0, 1], most=1)
    ['y', 'y']
    """
    count = Counter(name for number in numbers for name in questions[number].concepts)
    rank = {name: place for place, (name, _) in enumerate(count.most_common(most))}
    return [
        min((one for one in questions[n].concepts if one in rank), key=rank.__getitem__, default="") for n in numbers
    ]


def draw(before: Tensor, after: Tensor, groups: Sequence[str]) -> Figure:
    """Return the picture of points [Q, 2] before and after, each in the colour of its group; an empty one is grey."""
    figure, axes = new_figure(11.0, 5.2, columns=2)
    names = [name for name, _ in Counter(one for one in groups if one).most_common()]
    colours = (POLICY, *OTHERS, "#111111")
    for axis, points, title in zip(axes, (before, after), ("before training", "after training")):
        for place, name in enumerate(["", *names]):
            rows = [row for row, one in enumerate(groups) if one == name]
            if not rows:
                continue
            colour = "#c9c9c9" if not name else colours[(place - 1) % len(colours)]
            marker = "o" if place <= len(colours) else "^"
            chosen = points[rows]
            label = _short(name, 44) or "others"
            axis.scatter(chosen[:, 0], chosen[:, 1], s=16, color=colour, marker=marker, label=label, linewidths=0)
        axis.set_title(title, fontsize=10, color=INK, loc="left")
        axis.set_xticks([])
        axis.set_yticks([])
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _short(text: str, most: int = 120) -> str:
    """Return a text in one line of at most so many letters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
