"""Requests of a `Ladder`'s learners as a datamodule, whose best paths are known, and fits on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer, seed_everything
from torch import Tensor

from lpr_lightning.bases.agent import Agent
from lpr_lightning.datamodules.loader import IndexedBatches
from lpr_lightning.protocols import Examples, Simulator, Task
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import Interactions, PathRequest, Split

RUNGS = 3


class Climbs:
    """The same request of many learners: reach the top of a ladder in as many steps as it has rungs."""

    def __init__(self, rows: int = 64, rungs: int = RUNGS) -> None:
        self.rows, self.rungs = rows, rungs

    @property
    def sizes(self) -> Tensor:
        return torch.full((self.rows,), self.rungs)

    def batch(self, index: Tensor) -> PathRequest:
        every = Ladder(self.rungs).request([[self.rungs - 1]] * self.rows, self.rungs)
        return every.select(index)


class LadderData(LightningDataModule):
    """Learners who climb, as a `LearnerData`."""

    fingerprint = "ladder"
    prerequisites: Tensor | None = None

    def __init__(self, rows: int = 64, batch_size: int = 16, rungs: int = RUNGS) -> None:
        super().__init__()
        self.climbs, self.batch_size = Climbs(rows, rungs), batch_size
        self.num_concepts = self.num_items = rungs
        self.task: Task = PathRequests()
        self.truth: Simulator = Ladder(rungs)
        self.concept_names = self.item_names = [str(number) for number in range(rungs)]
        self.item_concepts = torch.arange(rungs)[:, None]

    @property
    def concept_vocabulary(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.concept_names)}

    @property
    def tasks(self) -> Mapping[str, Task]:
        return {"": self.task}

    def interactions(self, split: Split) -> Interactions:
        return Interactions.from_lists([[(0, 1), (1, 0)]])

    def examples(self, split: Split) -> Examples:
        return self.climbs

    def train_dataloader(self) -> Any:
        return IndexedBatches(self.climbs, self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return IndexedBatches(Climbs(4, self.num_concepts), 4)


def fitted(agent: Agent, epochs: int, data: LadderData | None = None, **settings: Any) -> Agent:
    """Return the agent after a fit on learners who climb."""
    seed_everything(0, verbose=False)
    options: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "use_distributed_sampler": False,
        "limit_val_batches": 0,
    }
    Trainer(max_epochs=epochs, **(options | settings)).fit(agent, datamodule=data or LadderData())
    return agent.eval()


def path(agent: Agent, rungs: int = RUNGS) -> list[int]:
    """Return the path that the agent takes to the top."""
    request = Climbs(1, rungs).batch(torch.arange(1))
    return rollout(agent.simulator, agent.goal, request, agent).action[0].tolist()
