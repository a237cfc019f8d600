"""Callbacks that serve any LightningModule whose outputs carry a Rollout or Answers, or that has a knowledge tracer."""

if __name__ != "lpr_lightning.callbacks":
    raise ImportError("import lpr_lightning.callbacks, not callbacks")

from lpr_lightning.callbacks.answer_writer import AnswerWriter
from lpr_lightning.callbacks.compare_baselines import CompareBaselines
from lpr_lightning.callbacks.demonstration_sources import DemonstrationSources
from lpr_lightning.callbacks.difficulty_trace import DifficultyTrace
from lpr_lightning.callbacks.evaluation import AnswersCallback, HistoryCallback, RolloutCallback
from lpr_lightning.callbacks.exact_resume import ExactResume
from lpr_lightning.callbacks.last_checkpoint import LastCheckpoint
from lpr_lightning.callbacks.mastery_heatmap import MasteryHeatmap
from lpr_lightning.callbacks.mastery_report import MasteryReport
from lpr_lightning.callbacks.mastery_writers import MasteryWriter, SuccessWriter
from lpr_lightning.callbacks.metrics_json import MetricsJson
from lpr_lightning.callbacks.non_finite_guard import NonFiniteGuard
from lpr_lightning.callbacks.pareto_front import ParetoFront
from lpr_lightning.callbacks.path_samples import PathSamples
from lpr_lightning.callbacks.prediction_writers import PathWriter, PredictionWriter
from lpr_lightning.callbacks.progress import StageProgressBar
from lpr_lightning.callbacks.question_map import QuestionMap
from lpr_lightning.callbacks.rank_fidelity import RankFidelity
from lpr_lightning.callbacks.reliability_diagram import ReliabilityDiagram
from lpr_lightning.callbacks.results_table import ResultsTable
from lpr_lightning.callbacks.safe_checkpoints import SafeCheckpointIO
from lpr_lightning.callbacks.step_seed import StepSeed
from lpr_lightning.callbacks.true_effect import TrueEffect
from lpr_lightning.callbacks.vector_writer import VectorWriter

__all__ = [
    "AnswerWriter",
    "AnswersCallback",
    "CompareBaselines",
    "DemonstrationSources",
    "DifficultyTrace",
    "ExactResume",
    "HistoryCallback",
    "LastCheckpoint",
    "MasteryHeatmap",
    "MasteryReport",
    "MasteryWriter",
    "MetricsJson",
    "NonFiniteGuard",
    "ParetoFront",
    "PathSamples",
    "PathWriter",
    "PredictionWriter",
    "QuestionMap",
    "RankFidelity",
    "ReliabilityDiagram",
    "ResultsTable",
    "RolloutCallback",
    "SafeCheckpointIO",
    "StageProgressBar",
    "StepSeed",
    "SuccessWriter",
    "TrueEffect",
    "VectorWriter",
]
