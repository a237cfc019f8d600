"""Predictions of an encoder of questions: files of vectors, as knowledge tracers read them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from safetensors.torch import save_file
from torch import Tensor

from lpr_lightning.bases.staged import datamodule_of
from lpr_lightning.cache import atomic_write
from lpr_lightning.callbacks.evaluation import BatchEnds, EndedBatch
from lpr_lightning.callbacks.pictures import checked_file_name, run_folder
from lpr_lightning.errors import SettingError
from lpr_lightning.protocols import HasQuestions, LearnerData
from lpr_lightning.ranks import gathered


@runtime_checkable
class EncodesConcepts(Protocol):
    """A module that gives concepts vectors in the space of its questions."""

    def concept_vectors(self, names: Sequence[str]) -> Tensor:
        """Return the vectors of concepts by name, [N, D]."""
        ...


class VectorWriter(BatchEnds):
    """Writes the vectors of all questions and of all concepts to two files that `vector_files.load_vectors` reads.

    `predict_step` returns a dict with `"number"` (of the questions, [B] int64) and `"vector"` ([B, D]); the module has
    `concept_vectors`. Names are those of the data's questions; the concepts are those of the learners' logs, which
    tracers ask for, and in a second file those of the annotation where it has others.

    Args:
        questions: file of the questions' vectors, in the run's folder.
        concepts: file of the concepts' vectors.
        annotated: file of the annotation's concepts; written where they are others than the data's.

    Raises:
        SettingError: a name has a folder in it or another ending, or (when prediction starts) the module or the data
            lack what is needed.
    """

    def __init__(
        self,
        questions: str = "questions.safetensors",
        concepts: str = "concepts.safetensors",
        annotated: str = "annotated_concepts.safetensors",
    ) -> None:
        for name, value in (("questions", questions), ("concepts", concepts), ("annotated", annotated)):
            if not checked_file_name(value).endswith(".safetensors"):
                raise SettingError(name, value, "a file name that ends in .safetensors")
        self.files = questions, concepts, annotated
        self._numbers: list[Tensor] = []
        self._vectors: list[Tensor] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See that module and data have what is needed."""
        if not isinstance(pl_module, EncodesConcepts):
            raise SettingError("model", type(pl_module).__name__, "a module with concept_vectors(names)")
        if not isinstance(data := datamodule_of(trainer), HasQuestions):
            raise SettingError("data", type(data).__name__, "a datamodule with questions in words")
        self._numbers, self._vectors = [], []

    def batch_ended(self, trainer: Trainer, pl_module: LightningModule, ended: EndedBatch) -> None:
        """Keep the vectors of a batch."""
        if ended.loop != "predict":
            return
        parts = ended.outputs if isinstance(ended.outputs, Mapping) else {}
        number, vector = parts.get("number"), parts.get("vector")
        if not isinstance(number, Tensor) or not isinstance(vector, Tensor) or len(number) != len(vector):
            raise SettingError("predict_step", sorted(parts), 'a dict with "number" [B] and "vector" [B, D]')
        self._numbers.append(number.detach())
        self._vectors.append(vector.detach().float())

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the vectors of all processes together; write on rank zero."""
        folder, data = run_folder(trainer), datamodule_of(trainer)
        number = gathered(torch.cat([torch.zeros(0, dtype=torch.int64).to(pl_module.device), *self._numbers]))
        vectors = gathered(torch.cat(self._vectors), pl_module.device) if self._vectors else torch.zeros(0, 0)
        self._numbers, self._vectors = [], []
        if not isinstance(pl_module, EncodesConcepts) or not isinstance(data, HasQuestions):
            return
        annotated = list(data.questions.concept_names)
        concepts = list(data.concept_names) if isinstance(data, LearnerData) else annotated
        if not trainer.is_global_zero or not len(number):
            return
        names = data.questions.names
        place = {one: row for row, one in enumerate(number.tolist())}
        order = sorted(place)
        kept = vectors[[place[one] for one in order]]
        write_vectors(folder / self.files[0], [names[one] for one in order], kept)
        write_vectors(folder / self.files[1], concepts, pl_module.concept_vectors(concepts))
        told = f"{len(order):,} questions and {len(concepts):,} concepts"
        if set(annotated) != set(concepts):
            write_vectors(folder / self.files[2], annotated, pl_module.concept_vectors(annotated))
            told += f", {len(annotated):,} annotated concepts"
        rank_zero_info(f"vectors of {told}, width {kept.shape[1]}: {folder / self.files[0]}")


def write_vectors(path: Path, names: Sequence[str], vectors: Tensor) -> None:
    """Write vectors [N, D] with their names to a .safetensors file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as staged:
        save_file({"vectors": vectors.detach().float().cpu().contiguous()}, staged, {"ids": json.dumps(list(names))})
