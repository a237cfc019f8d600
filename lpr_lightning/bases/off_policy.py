"""What agents have in common that learn from a replay."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.bases.replay import Replay, Transitions
from lpr_lightning.bases.staged import Outputs, Stage, run_seed
from lpr_lightning.bases.step_agent import StepAgent
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked, checked_share
from lpr_lightning.functional.schedules import LinearSchedule
from lpr_lightning.nets.action_nets import Observation
from lpr_lightning.types import PathRequest

DRAWN = 1_000_000
"""Streams of random numbers of updates begin here, apart from those of the rows of data."""


@dataclass(frozen=True)
class ReplaySettings:
    """How a replay is filled and drawn from.

    Args:
        capacity: episodes kept.
        batch_size: steps drawn for an update, of all processes together.
        updates: gradient updates after each batch of episodes.
        warm_up: episodes that must be there before the first update.
        n_step: rewards of so many steps count before the value does.
        priority: exponent of priorities, from 0 (all steps alike) to 1.
        correction: exponent of the weights that correct for priorities, from 0 to 1.
        correction_batches: batches in which it rises to 1; 0 leaves it as it is.

    Raises:
        SettingError: a number is out of range.
    """

    capacity: int = 5000
    batch_size: int = 256
    updates: int = 8
    warm_up: int = 1
    n_step: int = 1
    priority: float = 0.0
    correction: float = 0.0
    correction_batches: int = 0

    def __post_init__(self) -> None:
        for name in ("capacity", "batch_size", "updates", "warm_up", "n_step"):
            checked(name, vars(self)[name], 1)
        checked_share("priority", self.priority)
        checked_share("correction", self.correction)
        checked("correction_batches", self.correction_batches, 0)

    def correction_at(self, batch: int) -> float:
        """Return the exponent after so many batches."""
        rise = self.correction_batches
        return LinearSchedule(self.correction, 1.0, rise)(batch) if rise else self.correction

    def build(self) -> Replay:
        """Return an empty replay."""
        return Replay(self.capacity, self.priority)


class OffPolicyAgent(StepAgent):
    """An agent that plays the requests of a batch, adds the episodes to its replay, and learns from what it draws.

    A subclass gives `update`, and `start_replay` calls in its constructor. The replay is saved where optimizers are:
    in every checkpoint, its filled part, so that a resumed run is the run that went on.
    """

    replay_settings: ReplaySettings
    replay: Replay

    def start_replay(self, settings: ReplaySettings) -> None:
        """Make the replay."""
        self.replay_settings, self.replay = settings, settings.build()

    @abstractmethod
    def update(self, drawn: Transitions, seen: Observation, later: Observation, draws: Draws) -> dict[str, Tensor]:
        """Learn from steps [R]: what was seen before them [R, ...] and n steps later; return figures to log.

        `draws` has one row, the same on every rank; `errors` [R] among the figures become priorities and aren't logged.
        """

    def stages(self) -> Sequence[Stage]:
        """Return the only stage."""
        return [Stage(type(self).__name__, self.improve)]

    def explore(self, draws: Draws | None) -> None:
        """Get ready to play, such as by other noise in the weights, or (None) to be judged; nothing here."""

    def improve(self, request: PathRequest, batch_idx: int) -> Outputs:
        """Play episodes, remember them, and take some updates."""
        settings = self.replay_settings
        one = torch.tensor([DRAWN], device=self.device)
        draws = Draws.of(run_seed(), self.global_step, one)
        self.explore(draws.at(0))
        taught, episodes = self.play(request)
        self.replay.add(episodes)
        sums: dict[str, Tensor] = {}
        correction = settings.correction_at(self.global_step)
        ready = len(self.replay) >= min(settings.warm_up, settings.capacity)
        for number in range(settings.updates if ready else 0):
            now = draws.at(1 + number)
            drawn = self.replay.draw(
                settings.batch_size, now.fork(settings.batch_size), settings.n_step, self.discount, correction
            )
            places = torch.stack([drawn.place, drawn.end], 1)
            both = self.recalled(self.replay.episodes, drawn.episode, places)
            seen, later = (Observation(*(part[:, which] for part in both)) for which in (0, 1))
            figures = self.update(drawn, seen, later, now)
            errors = figures.pop("errors", None)
            if settings.priority and errors is not None:
                self.replay.judge(drawn.episode, drawn.place, errors)
            for name, value in figures.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()
        self.explore(None)
        self.count_step()
        means: dict[str, Tensor | float] = {name: value / settings.updates for name, value in sums.items()}
        if ready:
            self.log_train(means, taught)
        return {"request": request, "rollout": taught}

    def on_fit_start(self) -> None:
        """Bring the replay where the weights are.

        Raises:
            SettingError: the processes would have unequal shares of what is drawn.
        """
        super().on_fit_start()
        size, world = self.replay_settings.batch_size, self.trainer.world_size
        if size % world:
            raise SettingError("replay.batch_size", size, f"a multiple of the {world} processes, which share it")
        self.replay.to(self.device)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Save what is in the replay."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["replay"] = self.replay.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Take what was in the replay."""
        super().on_load_checkpoint(checkpoint)
        saved = checkpoint.get("replay")
        if isinstance(saved, Mapping):
            self.replay.load_state_dict(saved)
