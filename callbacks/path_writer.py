"""Recommended paths as a table on disk."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from lpr_lightning.cache import atomic_write
from lpr_lightning.callbacks.batch_ends import BatchEnds, EndedBatch
from lpr_lightning.callbacks.concept_names import concept_names, name_of
from lpr_lightning.callbacks.run_folder import run_folder
from lpr_lightning.errors import SettingError
from lpr_lightning.types import PathRequest, Rollout

HEADER = ["learner", "step", "concept", "name", "predicted_success", "expected_gain"]


class PathWriter(BatchEnds):
    """Writes predicted paths to a CSV file in the run's folder, one row for each learner and step.

    `predict_step` returns a dict with `"request"` (`types.PathRequest`), `"rollout"` (`types.Rollout`) and, if it
    likes, `"expected_gain"` [B, L]; without the last that column stays empty. Columns: learner, step (from 1),
    concept (its number), name, predicted_success (just before the step) and expected_gain. A learner whose path is
    empty gets one row with step 0 and nothing in the columns behind it, so that everyone who asked is in the file.

    Learners are called as in `trainer.datamodule.predict_learners` (names, by `request.row`), otherwise by
    `request.learner`. Of a group of paths the first is written. Each process writes a part; rank zero puts them
    together in the order of the requests, a request that two processes answered only once.

    Args:
        name: file name.

    Raises:
        SettingError: `name` is empty or has a folder in it.
    """

    def __init__(self, name: str = "predictions.csv") -> None:
        if not name or Path(name).name != name:
            raise SettingError("name", name, "a file name without a folder", "it is written to the run's folder")
        self.name = name
        self._rows: list[list[str]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from nothing."""
        self._rows = []

    def batch_ended(self, trainer: Trainer, pl_module: LightningModule, ended: EndedBatch) -> None:
        """Keep the rows of a batch of predictions."""
        if ended.loop != "predict":
            return
        parts = ended.outputs if isinstance(ended.outputs, dict) else {}
        request, rollout = parts.get("request"), parts.get("rollout")
        if not isinstance(request, PathRequest) or not isinstance(rollout, Rollout):
            raise SettingError(
                "predict_step", sorted(parts), 'a dict with a PathRequest "request" and a Rollout "rollout"'
            )
        learners = getattr(getattr(trainer, "datamodule", None), "predict_learners", None)
        self._rows += path_rows(request, rollout, parts.get("expected_gain"), concept_names(trainer), learners)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write this process's part; on rank zero put all parts together."""
        path = run_folder(trainer) / self.name
        with atomic_write(self._part(path, trainer.global_rank)) as temporary:
            _write(temporary, self._rows)
        self._rows = []
        trainer.strategy.barrier("paths written")
        if trainer.is_global_zero:
            parts = [self._part(path, rank) for rank in range(trainer.world_size)]
            with atomic_write(path) as temporary:
                count = merge(parts, temporary)
            for part in parts:
                part.unlink()
            rank_zero_info(f"{count} learners' paths: {path}")
        trainer.strategy.barrier("paths merged")

    def _part(self, path: Path, rank: int) -> Path:
        return path.with_name(f".{path.name}.part{rank}")


def path_rows(
    request: PathRequest,
    rollout: Rollout,
    expected_gain: Tensor | None,
    names: Sequence[str],
    learners: Sequence[str] | None,
) -> list[list[str]]:
    """Return the table's rows of one batch, each with the request's row before it."""
    rows = []
    for number in range(len(request)):
        place, at = int(request.row[number]), number * rollout.group_size
        known = learners is not None and 0 <= place < len(learners)
        learner = learners[place] if learners is not None and known else str(int(request.learner[number]))
        path = [concept for concept in rollout.path[at].tolist() if concept >= 0]
        steps = rollout.mask[at].nonzero().squeeze(1).tolist()
        for count, (step, concept) in enumerate(zip(steps, path), start=1):
            gain = "" if expected_gain is None else f"{float(expected_gain[at, step]):.6g}"
            chance = f"{float(rollout.predicted[at, step]):.6g}"
            rows.append([str(place), learner, str(count), str(concept), name_of(concept, names), chance, gain])
        if not path:
            rows.append([str(place), learner, "0", "", "", "", ""])
    return rows


def merge(parts: Sequence[Path], target: Path) -> int:
    """Write the rows of all parts to `target` in the order of the requests; return the number of paths.

    Requests outside any split (row -1) come last, all of them.
    """
    paths: list[list[list[str]]] = []
    for part in parts:
        with part.open(newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                if row[2] in ("0", "1"):
                    paths.append([])
                paths[-1].append(row)
    numbered = {int(path[0][0]): path for path in reversed(paths)}
    strangers = [path for path in paths if int(path[0][0]) < 0]
    ordered = [numbered[place] for place in sorted(numbered) if place >= 0] + strangers
    _write(target, [HEADER, *(row[1:] for path in ordered for row in path)])
    return len(ordered)


def _write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
