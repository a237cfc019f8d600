"""Protocols of learning-path recommendation: one simulator, one exam and one cut of the logs for all methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from torch import nn

from lpr_lightning.cli.names import short_names
from lpr_lightning.cli.parsing import Settings, merged, read_config
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import ConceptGoal
from lpr_lightning.hparams import Plain, built, plain
from lpr_lightning.simulators.kes import KESSimulator, Response
from lpr_lightning.tasks.path_requests import PathRequests

PROTOCOLS = {"default": (), "dlpr": ("dlpr",), "gehrl": ("dlpr", "gehrl")}
"""The presets that are laid over configs/grpo.yaml, by the protocol's name."""
RUN_CALLBACKS = "EarlyStopping"
"""The callbacks of a configuration that a fit in a comparison keeps: all others only show or measure."""


@dataclass(frozen=True)
class PathProtocol:
    """What all methods share: the simulator, the goal with its exam, the end of an episode, and the requests.

    Args:
        name: of the protocol.
        settings: configs/grpo.yaml with the protocol's presets laid over it.
    """

    name: str
    settings: Settings

    @classmethod
    def read(cls, name: str, configs: Path) -> PathProtocol:
        """Read a protocol from the folder of configurations.

        Raises:
            SettingError: there is no such protocol.
        """
        if name not in PROTOCOLS:
            raise SettingError("protocols", name, f"some of {', '.join(PROTOCOLS)}")
        files = [configs / "grpo.yaml", *(configs / "preset" / f"{preset}.yaml" for preset in PROTOCOLS[name])]
        return cls(name, merged([read_config(str(path), short_names()) for path in files]))

    @property
    def arguments(self) -> Settings:
        """The arguments of the protocol's IB-GRPO, which say what the protocol is."""
        return inner(self.settings, "model", "init_args")

    @property
    def tracer(self) -> Path:
        """The configuration of the tracer that is the learner."""
        return Path(str(inner(self.arguments, "simulator", "init_args")["tracer"]))

    @property
    def early_stop(self) -> bool:
        """Whether an episode ends when its exam is full."""
        return bool(self.arguments.get("early_stop"))

    @property
    def hidden_history(self) -> bool:
        """Whether policies see nothing of the log before the session."""
        return inner(self.arguments, "backbone", "init_args").get("history_length") == 0

    def goal(self) -> ConceptGoal:
        """Return the goal with its exam.

        Raises:
            SettingError: the configuration names none.
        """
        goal = built(inner(self.arguments, "goal"), ConceptGoal)
        if goal is None:
            raise SettingError("goal", None, "a goal in configs/grpo.yaml")
        return goal

    def learner(self, tracer: nn.Module | str) -> KESSimulator:
        """Return a tracer as the learner who answers as the protocol says.

        Raises:
            SettingError: it answers in no known way.
        """
        own = inner(self.arguments, "simulator", "init_args")
        response = own.get("response", "threshold")
        for known in get_args(Response):
            if response == known:
                return KESSimulator(tracer, known, float(str(own.get("threshold", 0.5))))
        raise SettingError("response", response, "threshold, bernoulli or soft")

    def simulator_settings(self, checkpoint: Path) -> Settings:
        """Return the settings of the learner over a fitted tracer."""
        own = inner(self.arguments, "simulator")
        arguments: Settings = {**inner(own, "init_args"), "tracer": str(checkpoint)}
        return {**own, "init_args": arguments}

    def task(self, length: int) -> PathRequests:
        """Return the requests for paths of a length; those of training are of no other length.

        Raises:
            SettingError: the protocol's task is another one.
        """
        own = inner(self.settings, "data", "init_args", "task")
        arguments: Settings = {**inner(own, "init_args"), "length": length, "lengths": None}
        task = built({**own, "init_args": arguments}, PathRequests)
        if task is None:
            raise SettingError("task", own, "PathRequests")
        return task

    def settings_of(self, method: Settings, checkpoint: Path, length: int) -> Settings:
        """Return a policy's configuration under this protocol: with its simulator, goal and requests, and none else.

        What a policy may see is the protocol's too: where IB-GRPO reads the answers (a backbone with
        `history_length`), an agent's encoder does, over as many of them, and not the simulator's state.
        """
        own = inner(method, "model", "init_args")
        own |= {"simulator": self.simulator_settings(checkpoint), "goal": plain(self.goal())}
        own["early_stop"] = self.early_stop
        backbone = inner(self.arguments, "backbone", "init_args")
        if "encoder" in own and "history_length" in backbone:
            window = max(int(str(backbone["history_length"])), 1)
            own["encoder"] = {"class_path": "lpr_lightning.nets.encoders.Session", "init_args": {"window": window}}
        if "max_length" in inner(own, "backbone", "init_args"):
            other = inner(own, "backbone")
            own["backbone"] = {**other, "init_args": {**inner(other, "init_args"), "max_length": 2 * length}}
        data = inner(method, "data", "init_args") | {"task": plain(self.task(length)), "further_tasks": None}
        found = merged([without_pictures(method), {"data": {"init_args": data}}])
        return {**found, "model": {**inner(found, "model"), "init_args": own}}


def without_pictures(settings: Settings) -> Settings:
    """Return settings whose trainer keeps only the callbacks that a fit depends on.

    >>> calls = [{"class_path": "ParetoFront"}, {"class_path": "EarlyStopping"}]
    >>> without_pictures({"trainer": {"callbacks": calls}})
    {'trainer': {'callbacks': [{'class_path': 'EarlyStopping'}], 'enable_model_summary': False}}
    """
    trainer = inner(settings, "trainer")
    given = trainer.get("callbacks")
    kept: list[Plain] = [
        one
        for one in (given if isinstance(given, list) else [])
        if isinstance(one, dict) and str(one.get("class_path")).endswith(RUN_CALLBACKS)
    ]
    return {**settings, "trainer": {**trainer, "callbacks": kept, "enable_model_summary": False}}


def inner(settings: Settings, *keys: str) -> Settings:
    """Return the settings within settings; none where a key is missing.

    >>> inner({"model": {"init_args": {"width": 3}}}, "model", "init_args")
    {'width': 3}
    """
    found: Settings = settings
    for key in keys:
        value = found.get(key)
        found = dict(value) if isinstance(value, dict) else {}
    return found


def with_epochs(settings: Settings, epochs: int | None, cloning: Sequence[str] = ("clone_epochs",)) -> Settings:
    """Return settings of a shorter fit; of a method that clones first, half of the epochs, rounded down, are cloning.

    >>> with_epochs({"model": {"init_args": {"clone_epochs": 7}}}, 4)["model"]
    {'init_args': {'clone_epochs': 2}}
    """
    if epochs is None:
        return settings
    own = inner(settings, "model", "init_args")
    shorter: Settings = {name: epochs // 2 for name in cloning if name in own}
    return merged([settings, {"model": {"init_args": shorter}, "trainer": {"max_epochs": epochs}}])
