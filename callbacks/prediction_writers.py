"""Predictions as tables on disk: recommended paths here, mastery in `mastery_writers`."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lpr_lightning.bases.staged import datamodule_of
from lpr_lightning.cache import atomic_write
from lpr_lightning.callbacks.chosen_learners import concept_names, name_of
from lpr_lightning.callbacks.evaluation import BatchEnds, EndedBatch
from lpr_lightning.callbacks.pictures import checked_file_name, run_folder
from lpr_lightning.errors import SettingError
from lpr_lightning.functional.prerequisites import ancestors, direct_prerequisites
from lpr_lightning.protocols import LearnerData, NewLearners
from lpr_lightning.types import PathRequest, Rollout

Row = dict[str, str | int | float]


@runtime_checkable
class HasItemNames(Protocol):
    """A datamodule whose questions have names."""

    @property
    def item_names(self) -> Sequence[str]:
        """Raw names, one for each item number."""
        ...


@runtime_checkable
class HasItemTexts(Protocol):
    """A datamodule whose questions have a wording."""

    @property
    def item_texts(self) -> Sequence[str]:
        """The wording of each item; empty where there is none."""
        ...


class PredictionWriter(BatchEnds, ABC):
    """Writes one or several rows for each learner who asked to a CSV file in the run's folder.

    Learners are called as in `trainer.datamodule.predict_learners` (names, by `request.row`), otherwise by
    `request.learner`. Each process writes a part, batch by batch; rank zero puts the parts together in the order of the
    requests, a request that two processes answered only once. A column of `optional` that no row has is left out;
    without any row there is no file.

    Args:
        name: file name.

    Raises:
        SettingError: `name` is empty or has a folder in it, or (when a batch ends) the module predicts something else.
    """

    columns: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = checked_file_name(name)
        self._part: Path | None = None

    @abstractmethod
    def rows(self, trainer: Trainer, request: PathRequest, parts: Mapping[object, object]) -> Sequence[Sequence[Row]]:
        """Return the rows of each request, from what `predict_step` returned; the learner is added to them."""

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start with an empty part."""
        path = run_folder(trainer) / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._part = _part_of(path, trainer.global_rank)
        self._part.write_text("", encoding="utf-8")

    def batch_ended(self, trainer: Trainer, pl_module: LightningModule, ended: EndedBatch) -> None:
        """Write the rows of a batch of predictions."""
        if ended.loop != "predict" or self._part is None:
            return
        parts = ended.outputs if isinstance(ended.outputs, Mapping) else {}
        request = parts.get("request")
        if not isinstance(request, PathRequest):
            raise SettingError("predict_step", sorted(parts), 'a dict with a PathRequest "request"')
        names = _learner_names(datamodule_of(trainer))
        places, numbers = request.row.tolist(), request.learner.tolist()
        with self._part.open("a", encoding="utf-8") as file:
            for place, number, rows in zip(places, numbers, self.rows(trainer, request, parts), strict=True):
                learner = names[place] if 0 <= place < len(names) else str(number)
                file.write(json.dumps([place, [{"learner": learner} | row for row in rows]]) + "\n")

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put all parts together on rank zero."""
        path = run_folder(trainer) / self.name
        trainer.strategy.barrier("predictions written")
        if trainer.is_global_zero:
            parts = [_part_of(path, rank) for rank in range(trainer.world_size)]
            if any(rows for part in parts for _, (_, rows) in _requests(part)):
                with atomic_write(path) as temporary:
                    count = merge(parts, temporary, self.columns, self.optional)
                rank_zero_info(f"predictions for {count} learners: {path}")
                self.written(trainer, path)
            for part in parts:
                part.unlink()
        trainer.strategy.barrier("predictions merged")

    def written(self, trainer: Trainer, path: Path) -> None:
        """Go on from the file that was written, on rank zero; nothing here."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no part behind."""
        if self._part is not None:
            self._part.unlink(missing_ok=True)


class PathWriter(PredictionWriter):
    """Writes recommended paths to a CSV file, one row for each learner and step.

    `predict_step` returns a dict with `"request"` (`types.PathRequest`) and `"rollout"` (`types.Rollout`). Columns:
    learner, step (from 1), concept (its number; several of one question are joined by `;`), name, item (the question's
    raw name, where questions are recommended), question (its wording, where the data have one), predicted_success
    (just before the step), expected_gain (in mean mastery of the goal's concepts) and serves (`target`, `prerequisite
    of` the targets that build on it by the prerequisites of the data, or empty). A learner whose path is empty gets one
    row with step 0 and nothing in the columns
    behind it, so that everyone who asked is in the file. Of a group of paths the first is written. See
    `PredictionWriter` for the learners' names and several processes.

    Args:
        name: file name.

    Raises:
        SettingError: `name` is empty or has a folder in it, or (when a batch ends) the module predicts something else.
    """

    columns = ("learner", "step", "concept", "name", "item", "question", "predicted_success", "expected_gain", "serves")
    optional = ("item", "question")

    def __init__(self, name: str = "predictions.csv") -> None:
        super().__init__(name)

    def rows(self, trainer: Trainer, request: PathRequest, parts: Mapping[object, object]) -> Sequence[Sequence[Row]]:
        """Return the steps of each request's path."""
        rollout = parts.get("rollout")
        if not isinstance(rollout, Rollout):
            raise SettingError("predict_step", [str(name) for name in parts], 'a dict with a Rollout "rollout"')
        data = datamodule_of(trainer)
        items = data.item_names if isinstance(data, HasItemNames) else []
        texts = data.item_texts if isinstance(data, HasItemTexts) else []
        edges = data.prerequisites if isinstance(data, LearnerData) else None
        behind = None if edges is None else ancestors(direct_prerequisites(edges, rollout.targets.shape[1]))
        return path_rows(rollout, concept_names(trainer), items, behind, texts)


def _learner_names(data: object) -> Sequence[str]:
    """Return the names of unseen learners; none where the data have none, so that the requests are others."""
    try:
        return data.predict_learners if isinstance(data, NewLearners) else []
    except SettingError:
        return []


def path_rows(
    rollout: Rollout,
    names: Sequence[str],
    items: Sequence[str],
    behind: Tensor | None = None,
    texts: Sequence[str] = (),
) -> list[list[Row]]:
    """Return the steps of the first path of each group; one of step 0 where it is empty.

    `behind` [N, N] bool says which concepts (columns) each concept (row) builds on; `texts` are the questions' wording.
    """
    tables = []
    for at in range(0, len(rollout), rollout.group_size):
        rows: list[Row] = []
        for count, step in enumerate(rollout.mask[at].nonzero().squeeze(1).tolist(), start=1):
            concepts = [concept for concept in rollout.concept[at, step].tolist() if concept >= 0]
            item = int(rollout.session.item[at, step])
            row: Row = {
                "step": count,
                "concept": ";".join(map(str, concepts)),
                "name": ";".join(name_of(concept, names) for concept in concepts),
                "predicted_success": f"{float(rollout.predicted[at, step]):.6g}",
                "expected_gain": f"{float(rollout.gain[at, step]):.6g}",
                "serves": served(concepts, rollout.targets[at], behind, names),
            }
            if item >= 0:
                row["item"] = items[item] if item < len(items) else item
                if item < len(texts):
                    row["question"] = " ".join(texts[item].split())
            rows.append(row)
        tables.append(rows or [{"step": 0}])
    return tables


def served(concepts: Sequence[int], targets: Tensor, behind: Tensor | None, names: Sequence[str]) -> str:
    """Return what practising concepts serves: a target, or targets [N] bool that build on them.

    >>> import torch
    >>> targets, behind = torch.tensor([False, False, True]), torch.zeros(3, 3).bool()
    >>> behind[2, 0] = True
    >>> [served([concept], targets, behind, ["Add", "Draw", "Multiply"]) for concept in range(3)]
    ['prerequisite of Multiply', '', 'target']
    """
    wanted = targets.nonzero().squeeze(1).tolist()
    if set(concepts) & set(wanted):
        return "target"
    building = [one for one in wanted if behind is not None and bool(behind[one, list(concepts)].any())]
    return f"prerequisite of {';'.join(name_of(one, names) for one in building)}" if building else ""


def merge(parts: Iterable[Path], target: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> int:
    """Write the rows of all parts to `target` in the order of the requests; return the number of requests.

    Requests outside any split (row -1) come last, all of them. Only their places in the parts are held in memory.
    """
    numbered: dict[int, tuple[Path, int]] = {}
    unnumbered: list[tuple[Path, int]] = []
    used: set[str] = set()
    for part in parts:
        for offset, (place, rows) in _requests(part):
            used.update(key for row in rows for key in row)
            if place < 0:
                unnumbered.append((part, offset))
            else:
                numbered.setdefault(place, (part, offset))
    ordered = [numbered[place] for place in sorted(numbered)] + unnumbered
    header = [column for column in columns if column not in optional or column in used]
    with target.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, header, restval="")
        table.writeheader()
        for part, offset in ordered:
            table.writerows(next(iter(_requests(part, offset)))[1][1])
    return len(ordered)


def _requests(part: Path, start: int = 0) -> Iterable[tuple[int, tuple[int, list[Row]]]]:
    """Yield the offset, the request's row and its table for each line of a part."""
    with part.open("rb") as file:
        file.seek(start)
        offset = start
        for line in file:
            place, rows = json.loads(line)
            yield offset, (place, rows)
            offset += len(line)


def _part_of(path: Path, rank: int) -> Path:
    return path.with_name(f".{path.name}.part{rank}")
