"""What is compared on a bank of questions: policies by their configurations, agents fitted for each goal and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import yaml
from torch import nn

from lpr_lightning.bases.agent import Agent
from lpr_lightning.cache import fingerprint
from lpr_lightning.cli.names import short_names
from lpr_lightning.cli.parsing import Settings, read_config
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import AllConcepts, ConceptGoal, PractisedConcept, SoftExam, UpcomingConcept, WeakestConcept
from lpr_lightning.hparams import Plain, built, plain
from lpr_lightning.policies.historical import HistoricalAnswers
from lpr_lightning.protocols import Connected, LearnerData, Policy, Simulator
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.studies.exercise_study import Method
from lpr_lightning.studies.tracer_fits import FitFolder, Fitted

GOALS = ("all", "practised", "upcoming", "weakest")
"""The four tasks of ExRec, in its order."""


def goal_named(name: str, data: LearnerData) -> ConceptGoal:
    """Return a goal of ExRec under a soft exam, fitted on the training learners.

    Raises:
        SettingError: there is no such goal.
    """
    exam = SoftExam()
    goals: dict[str, ConceptGoal] = {
        "all": AllConcepts(exam),
        "practised": PractisedConcept(exam=exam),
        "upcoming": UpcomingConcept(data.num_concepts, exam),
        "weakest": WeakestConcept(exam),
    }
    if name not in goals:
        raise SettingError("goals", name, f"some of {', '.join(GOALS)}")
    goal = goals[name]
    goal.fit(data.interactions("train"))
    return goal


def bank_of(data: LearnerData) -> QuestionActions:
    """Return all questions of the data as actions."""
    bank = QuestionActions(data.num_items)
    bank.connect(data)
    return bank


def learner_of(tracer: nn.Module, data: LearnerData) -> KESSimulator:
    """Return a tracer as a learner who is asked questions and answers by chance (ExRec, eq. 18)."""
    if isinstance(tracer, Connected):
        tracer.connect(data)
    return KESSimulator(tracer, response="bernoulli", actions=bank_of(data))


@dataclass(frozen=True)
class ConfiguredMethod:
    """A method named by a configuration: a rule or search by `model.init_args.policy`, an agent by `model.class_path`.

    Args:
        name: those of the files, joined by `_`.
        files: the configuration, and what is laid over it.
        settings: what they say.
    """

    name: str
    files: Sequence[Path]
    settings: Settings

    @classmethod
    def read(cls, *files: Path) -> ConfiguredMethod:
        """Read a configuration, and files that are laid over it.

        Raises:
            SettingError: it names neither a policy nor a model.
        """
        layers = [read_config(str(path), short_names()) for path in files]
        found = cls("_".join(path.stem for path in files), files, reduce(laid_over, layers))
        if not found.learns and "policy" not in found._arguments:
            raise SettingError("methods", found.name, "a configuration with model.class_path or model.init_args.policy")
        return found

    @property
    def learns(self) -> bool:
        """Whether it is an agent, which is trained for each goal and seed."""
        return "class_path" in self._model and "policy" not in self._arguments

    @property
    def real(self) -> bool:
        """Whether learners answer as they really did."""
        return not self.learns and isinstance(self._policy(), HistoricalAnswers)

    def untrained(self, model: Simulator, key: str) -> Method:
        """Return a rule or a search that looks into a model of this key."""
        text = yaml.safe_dump(self._arguments["policy"])
        return Method(self.name, fingerprint(text, key), self._policy(), model, real=self.real)

    def trained(self, fits: FitFolder, tracer: Fitted, goal: ConceptGoal, task: Plain) -> Method:
        """Return the agent after its fit for a goal, on a fitted tracer, with the seed of the folder.

        Args:
            fits: where it is fitted, or found.
            tracer: on which it learns.
            goal: which it learns for.
            task: makes its requests.

        Raises:
            SettingError: the configuration's class is no agent.
        """
        simulator: Settings = {"class_path": "lpr_lightning.simulators.kes.KESSimulator"}
        simulator["init_args"] = {
            "tracer": str(tracer.checkpoint),
            "response": "bernoulli",
            "actions": {"class_path": "lpr_lightning.simulators.actions.QuestionActions"},
        }
        settings = replaced(self.settings, "model", {"simulator": simulator, "goal": plain(goal)})
        fitted = fits.fit_settings(self.name, replaced(settings, "data", {"task": task}), [tracer.key])
        if not isinstance(fitted.tracer, Agent):
            raise SettingError("methods", type(fitted.tracer).__name__, "an agent", f"look at {self.files[0]}")
        return Method(self.name, fitted.key, fitted.tracer, fitted.tracer.simulator, seed=fits.seed)

    def _policy(self) -> Policy:
        description = self._arguments["policy"]
        policy = built(description if isinstance(description, dict) else None, Policy)
        if policy is None:
            raise SettingError("policy", description, "a class_path with init_args")
        return policy

    @property
    def _model(self) -> Settings:
        model = self.settings.get("model")
        return model if isinstance(model, dict) else {}

    @property
    def _arguments(self) -> Settings:
        arguments = self._model.get("init_args")
        return arguments if isinstance(arguments, dict) else {}


def replaced(settings: Settings, part: str, arguments: Settings) -> Settings:
    """Return settings in which a part's arguments are replaced, not laid over those of other classes."""
    before = settings.get(part)
    described = dict(before) if isinstance(before, dict) else {}
    own = described.get("init_args")
    return {**settings, part: {**described, "init_args": {**(own if isinstance(own, dict) else {}), **arguments}}}


def laid_over(below: Settings, above: Settings) -> Settings:
    """Return settings laid over others; an object of another class takes the place of what it is laid over.

    >>> laid_over({"net": {"class_path": "A", "init_args": {"a": 1}}}, {"net": {"class_path": "B"}, "rate": 2})
    {'net': {'class_path': 'B'}, 'rate': 2}
    """
    result = dict(below)
    for key, value in above.items():
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            other = "class_path" in value and value["class_path"] != before.get("class_path", value["class_path"])
            result[key] = value if other else laid_over(before, value)
        else:
            result[key] = value
    return result
