"""A module, learners and data that are not ours: a table of concept scores over a known simulator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from lpr_lightning.callbacks import StageProgressBar
from lpr_lightning.draws import Draws
from lpr_lightning.goals import Targets
from lpr_lightning.policies import BeamSearch, DKTRec, FixedPaths, RandomPaths, RandomTargets
from lpr_lightning.protocols import Act, Environment, Policy
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import request_draws, rollout
from lpr_lightning.types import Exercise, PathRequest, Rollout, State, TensorData, keep_rows, repeat_rows

NUM_CONCEPTS, LENGTH = 5, 4


class Zones(NamedTuple):
    centre: float
    width: float

    def at(self, proficiency: Tensor) -> tuple[Tensor, Tensor]:
        return torch.full_like(proficiency, self.centre), torch.full_like(proficiency, self.width)


class Zone(nn.Module):
    """An objective of somebody else's with what DifficultyTrace asks for."""

    difficulty: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("difficulty", torch.linspace(0.1, 0.9, NUM_CONCEPTS))
        self.bands = Zones(0.4, 0.1)

    def proficiency(self, rollout: Rollout) -> Tensor:
        return rollout.mastery_before.mean(1)

    def forward(self, rollout: Rollout) -> Tensor:
        return torch.full_like(rollout.score_before, 0.25)


@dataclass
class NoisyLadder(Ladder):
    """Learners who answer rightly by chance, and learn from right answers alone."""

    right: float = 0.7

    def respond(self, probability: Tensor, draws: Draws | None) -> Tensor:
        if draws is None:
            return torch.ones_like(probability)
        return (draws.uniform(*probability.shape[1:]) < self.right).to(probability)

    def practise(self, state: State, asked: Exercise, correct: Tensor) -> State:
        before = repeat_rows(state, asked.candidates().shape[1])
        return keep_rows(before, super().practise(state, asked, correct), correct.flatten() >= 0.5)

    def observe(self, state: State, asked: Exercise, correct: Tensor) -> State:
        return self.practise(state, asked, correct)


def true_ladder() -> NoisyLadder:
    return NoisyLadder(NUM_CONCEPTS, gain=0.4, right=0.5)


class ForeignModule(LightningModule):
    """Scores concepts by a table, recommends them in order of their scores."""

    def __init__(self, objectives: bool = True) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.linspace(1.0, 0.0, NUM_CONCEPTS))
        self.simulator, self.goal, self.early_stop = NoisyLadder(NUM_CONCEPTS), Targets(), False
        self.objectives = nn.ModuleDict({"zpd": Zone()} if objectives else {})
        self.stage_name = "table learning"

    def taught(self, request: PathRequest) -> Rollout:
        draws = request_draws(0, 0, request)
        path = (self.scores + draws.at(7).uniform(NUM_CONCEPTS)).argsort(1, descending=True)[:, :LENGTH]
        path = path.masked_fill(request.length[:, None] == 0, -1)
        return rollout(self.simulator, self.goal, request, FixedPaths(path), draws, early_stop=self.early_stop)

    def _outputs(self, request: PathRequest) -> dict[str, TensorData]:
        return {"request": request, "rollout": self.taught(request)}

    def training_step(self, batch: PathRequest, batch_idx: int) -> Tensor:
        learned = self.taught(batch).mastery_after.mean()
        loss: Tensor = (self.scores * learned).sum()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def validation_step(self, batch: PathRequest, batch_idx: int) -> dict[str, TensorData]:
        return self._outputs(batch)

    def test_step(self, batch: PathRequest, batch_idx: int) -> dict[str, TensorData]:
        self.log("test/learning_effect", 0.75, batch_size=len(batch))
        self.log("test/nothing", float("nan"), batch_size=len(batch))
        return self._outputs(batch)

    def predict_step(self, batch: PathRequest, batch_idx: int) -> dict[str, TensorData]:
        return self._outputs(replace(batch, length=batch.length.masked_fill(batch.row == 1, 0)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Stubborn(ForeignModule):
    """A policy itself: asks a target until it is answered rightly, then the next; goes on by what it sees."""

    name = "stubborn"

    def taught(self, request: PathRequest) -> Rollout:
        return rollout(self.simulator, self.goal, request, self, request_draws(0, 0, request))

    def begin(self, environment: Environment, request: PathRequest) -> State:
        return (torch.zeros_like(request.row),)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        return Act(state[0].clamp_max(NUM_CONCEPTS - 1))

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        return (state[0] + (correct >= 0.5).long(),)


def everyone() -> PathRequest:
    request = Ladder(NUM_CONCEPTS).request([[0, 1], [0], [1, 2], [3], [2, 4], [4]], LENGTH)
    return replace(request, learner=torch.arange(6) + 100)


class Requests(torch.utils.data.IterableDataset[PathRequest]):
    """Six requests in batches of three; with several processes each takes its share."""

    def __init__(self, size: int = 3) -> None:
        self.size = size

    def __iter__(self) -> Iterator[PathRequest]:
        trainer_rank, world = 0, 1
        if torch.distributed.is_initialized():
            trainer_rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        for batch in list(torch.arange(6).view(-1, self.size))[trainer_rank::world]:
            yield everyone().select(batch)


class ForeignData(LightningDataModule):
    """The requests, with names and learners of known truth."""

    concept_names = tuple(f"rung {number} | of 5" for number in range(NUM_CONCEPTS))
    predict_learners = ("ann", "bob", "cy", "dee", "eve", "fay")
    fingerprint = "f00d"

    def __init__(self, truth: bool = True, size: int = 3) -> None:
        super().__init__()
        self.truth = true_ladder() if truth else None
        self.size = size

    def loader(self) -> Any:
        return torch.utils.data.DataLoader(Requests(self.size), batch_size=None)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = loader


def baselines() -> list[Policy]:
    return [RandomPaths(), RandomTargets(), DKTRec(), BeamSearch(width=2)]


def make_trainer(folder: Path, callbacks: Sequence[Callback], **options: Any) -> Trainer:
    settings: dict[str, Any] = {
        "logger": TensorBoardLogger(str(folder), name="run"),
        "accelerator": "cpu",
        "max_epochs": 2,
        "log_every_n_steps": 1,
        "enable_model_summary": False,
    }
    if not any(isinstance(callback, StageProgressBar) for callback in callbacks):
        settings["enable_progress_bar"] = False
    if not any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
        settings["enable_checkpointing"] = False
    return Trainer(callbacks=list(callbacks), **{**settings, **options})
