"""What is compared on paths: rules and searches, agents fitted by their configurations, and IB-GRPO's variants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lpr_lightning.bases.agent import Agent
from lpr_lightning.cli.names import short_names
from lpr_lightning.cli.parsing import Settings, merged, read_config
from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.hparams import Plain
from lpr_lightning.models.multitask_lstm import MultiTaskLSTM
from lpr_lightning.policies import (
    BeamSearch,
    ChainSearch,
    DKTRec,
    NearestTarget,
    Planned,
    PrerequisiteRule,
    RandomPaths,
    RandomTargets,
    TargetsInTurn,
)
from lpr_lightning.protocols import Policy
from lpr_lightning.studies.path_protocols import PathProtocol, inner, with_epochs, without_pictures
from lpr_lightning.studies.tracer_fits import FitFolder, Fitted

RULES: Mapping[str, Callable[[], Policy]] = {
    "random": RandomPaths,
    "random_targets": RandomTargets,
    "targets_in_turn": TargetsInTurn,
    "nearest_target": NearestTarget,
    "prerequisite_rule": PrerequisiteRule,
    "dktrec": DKTRec,
    "beam_search": BeamSearch,
    "chain_search": ChainSearch,
}
"""Policies that are not trained; the searches look into the simulator."""
SEARCHES = ("beam_search", "chain_search")
"""The rows whose better one bounds what is found on the simulator."""
TRAINED = ("grpo", "multitask_lstm", "dqn", "ppo", "actor_critic", "cseal", "gepksd")
"""Configurations of the methods of Table 1 of arXiv 2601.14686, and of MultiTaskLSTM; those that are there count."""
ADVANTAGES = ("EpsilonIndicator", "ScalarSum", "GDPO", "MOGRPO", "HVO", "DrGRPO")
WITHOUT_ZPD = "without_zpd"
"""The ablation of figure 3: IB-GRPO without its ZPD objective."""


@dataclass(frozen=True)
class Taught:
    """A policy in comparison, after its fit where it has one.

    Args:
        name: in tables.
        key: changes whenever the policy does.
        policy: recommends.
        module: the fitted module, None of rules.
        seconds: that the fit took, in processor time.
        parameters: that were trained.
    """

    name: str
    key: str
    policy: Policy
    module: nn.Module | None = None
    seconds: float = 0.0
    parameters: int = 0


def trained_methods(configs: Path) -> list[str]:
    """Return the methods that are trained and whose configurations are there."""
    return [name for name in TRAINED if (configs / f"{name}.yaml").is_file()]


def method_settings(name: str, protocol: PathProtocol, configs: Path) -> Settings:
    """Return the configuration of a method or of a variant of IB-GRPO, before a protocol is laid over it."""
    if name in ADVANTAGES or name == WITHOUT_ZPD:
        return variant_settings(name, protocol)
    return protocol.settings if name == "grpo" else read_config(str(configs / f"{name}.yaml"), short_names())


def fitted_method(
    name: str,
    settings: Settings,
    protocol: PathProtocol,
    fits: FitFolder,
    tracer: Fitted,
    length: int,
    epochs: int | None,
) -> Taught:
    """Return a policy after its fit on the protocol's tracer, for paths of a length, with the seed of the folder.

    `MultiTaskLSTM` learns from the logs alone, of the next `length` concepts.

    Raises:
        SettingError: the configuration's class is no policy.
        LPRError: the fit failed.
    """
    if str(inner(settings, "model").get("class_path")).endswith("MultiTaskLSTM"):
        own: Settings = {"data": {"init_args": {"task": {"init_args": {"length": length}}}}}
        whole = merged([without_pictures(settings), own])
    else:
        whole = protocol.settings_of(settings, tracer.checkpoint, length)
    whole = with_epochs(whole, epochs)
    try:
        fitted = fits.fit_settings(f"{protocol.name}_{length}_{name}", whole, [tracer.key])
    except SystemExit as stop:  # what the command line has said already
        raise LPRError(f"the fit of {name} failed, see above") from stop
    module = fitted.tracer
    if isinstance(module, MultiTaskLSTM):
        return Taught(name, fitted.key, Planned(module, name), module, fitted.seconds, weights_of(module, []))
    if not isinstance(module, Agent):
        raise SettingError("methods", type(module).__name__, "a policy that learns", f"look at {name}.yaml")
    shared = [part for part in (module.simulator,) if isinstance(part, nn.Module)]
    return Taught(name, fitted.key, module, module, fitted.seconds, weights_of(module, shared))


def weights_of(module: nn.Module, without: Sequence[nn.Module]) -> int:
    """Return the number of a module's weights, those of some of its parts left out.

    >>> layer = nn.Linear(2, 1)
    >>> weights_of(nn.Sequential(layer, nn.Linear(1, 1)), [layer])
    2
    """
    others = {id(weight) for part in without for weight in part.parameters()}
    return sum(weight.numel() for weight in module.parameters() if id(weight) not in others)


def variant_settings(name: str, protocol: PathProtocol) -> Settings:
    """Return the protocol's IB-GRPO with another advantage, or without the ZPD objective.

    Advantages with weights take the indicator's exchange rates, so that all say the same of what matters; those without
    (MO-GRPO, HVO) take every objective alike, as their papers do.
    """
    own, rates = protocol.arguments, inner(protocol.arguments, "advantage", "init_args", "scale")
    known = short_names()
    if name == WITHOUT_ZPD:
        objectives = own.get("objectives")
        rest: list[Plain] = [
            one
            for one in (objectives if isinstance(objectives, list) else [])
            if isinstance(one, dict) and not str(one.get("class_path")).endswith("ZPDAlignment")
        ]
        indicator = inner(own, "advantage")
        scale: Settings = {key: value for key, value in rates.items() if key != "zpd"}
        arguments: Settings = {**inner(indicator, "init_args"), "scale": scale}
        own |= {"objectives": rest, "advantage": {**indicator, "init_args": arguments}}
    elif name != "EpsilonIndicator":
        weighted: Settings = {} if name in ("MOGRPO", "HVO") else {"weights": rates}
        own["advantage"] = {"class_path": known.get(name, name), "init_args": weighted}
        if name == "DrGRPO":
            own["aggregation"] = "dr_grpo"
    return {**protocol.settings, "model": {**inner(protocol.settings, "model"), "init_args": own}}


def untrained(name: str, tracer: Fitted) -> Taught:
    """Return a rule or a search, which may look into the simulator.

    Raises:
        SettingError: there is no such method.
    """
    if name not in RULES:
        raise SettingError("methods", name, f"some of {', '.join((*RULES, *TRAINED))}")
    return Taught(name, f"{name}_{tracer.key}", RULES[name]())
