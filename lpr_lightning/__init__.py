"""Learning-path and exercise recommendation as PyTorch Lightning modules.

Classes are imported from their rooms when they are first asked for, so that `import lpr_lightning` is cheap.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_ROOMS = {
    "CalibratedDKT": "models.calibrated_dkt",
    "DKT": "models.dkt",
    "IBGRPOPolicy": "models.ib_grpo",
    "MultiTaskLSTM": "models.multitask_lstm",
    "SimpleKT": "models.simple_kt",
    "ASSIST09": "datamodules.assist09",
    "DBEKT22": "datamodules.dbe_kt22",
    "InteractionsCSV": "datamodules.interactions_csv",
    "Junyi": "datamodules.junyi",
    "SyntheticLearners": "datamodules.synthetic",
    "XES3G5M": "datamodules.xes3g5m",
    "AnswerWriter": "callbacks",
    "CompareBaselines": "callbacks",
    "DifficultyTrace": "callbacks",
    "MasteryHeatmap": "callbacks",
    "MasteryReport": "callbacks",
    "MetricsJson": "callbacks",
    "ParetoFront": "callbacks",
    "PathSamples": "callbacks",
    "PathWriter": "callbacks",
    "ReliabilityDiagram": "callbacks",
    "ResultsTable": "callbacks",
    "StageProgressBar": "callbacks",
    "TrueEffect": "callbacks",
    "KESSimulator": "simulators.kes",
    "TrueLearners": "simulators.true_learners",
    "check_method": "checks.method",
    "check_simulator": "simulators.check",
    "rollout": "simulators.rollout",
    "NextAnswers": "tasks.next_answers",
    "NextPaths": "tasks.next_paths",
    "PathRequests": "tasks.path_requests",
    "RandomRequests": "tasks.random_requests",
    "InteractionBatch": "types",
    "Interactions": "types",
    "PathRequest": "types",
    "Rollout": "types",
}
__all__ = [*_ROOMS, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
