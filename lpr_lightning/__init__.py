"""Learning-path and exercise recommendation as PyTorch Lightning modules.

Names are imported from their modules when they are first asked for, so that `import lpr_lightning` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:  # what tools may know; a test holds it equal to the table below
    from lpr_lightning.bases import Agent as Agent
    from lpr_lightning.bases import Stage as Stage
    from lpr_lightning.bases import Staged as Staged
    from lpr_lightning.bases import TracerModule as TracerModule
    from lpr_lightning.bases.learned_prerequisites import LearnedPrerequisites as LearnedPrerequisites
    from lpr_lightning.bases.off_policy import ReplaySettings as ReplaySettings
    from lpr_lightning.callbacks import AnswerWriter as AnswerWriter
    from lpr_lightning.callbacks import CompareBaselines as CompareBaselines
    from lpr_lightning.callbacks import DemonstrationSources as DemonstrationSources
    from lpr_lightning.callbacks import DifficultyTrace as DifficultyTrace
    from lpr_lightning.callbacks import ExactResume as ExactResume
    from lpr_lightning.callbacks import LastCheckpoint as LastCheckpoint
    from lpr_lightning.callbacks import MasteryHeatmap as MasteryHeatmap
    from lpr_lightning.callbacks import MasteryReport as MasteryReport
    from lpr_lightning.callbacks import MasteryWriter as MasteryWriter
    from lpr_lightning.callbacks import MetricsJson as MetricsJson
    from lpr_lightning.callbacks import NonFiniteGuard as NonFiniteGuard
    from lpr_lightning.callbacks import ParetoFront as ParetoFront
    from lpr_lightning.callbacks import PathSamples as PathSamples
    from lpr_lightning.callbacks import PathWriter as PathWriter
    from lpr_lightning.callbacks import QuestionMap as QuestionMap
    from lpr_lightning.callbacks import RankFidelity as RankFidelity
    from lpr_lightning.callbacks import ReliabilityDiagram as ReliabilityDiagram
    from lpr_lightning.callbacks import ResultsTable as ResultsTable
    from lpr_lightning.callbacks import SafeCheckpointIO as SafeCheckpointIO
    from lpr_lightning.callbacks import StageProgressBar as StageProgressBar
    from lpr_lightning.callbacks import StepSeed as StepSeed
    from lpr_lightning.callbacks import SuccessWriter as SuccessWriter
    from lpr_lightning.callbacks import TrueEffect as TrueEffect
    from lpr_lightning.callbacks import VectorWriter as VectorWriter
    from lpr_lightning.checks import check_method as check_method
    from lpr_lightning.checks import check_policy as check_policy
    from lpr_lightning.checks import check_simulator as check_simulator
    from lpr_lightning.checks import check_tracer as check_tracer
    from lpr_lightning.datamodules.assist09 import ASSIST09 as ASSIST09
    from lpr_lightning.datamodules.dbe_kt22 import DBEKT22 as DBEKT22
    from lpr_lightning.datamodules.interactions_csv import InteractionsCSV as InteractionsCSV
    from lpr_lightning.datamodules.junyi import Junyi as Junyi
    from lpr_lightning.datamodules.question_file import QuestionFile as QuestionFile
    from lpr_lightning.datamodules.synthetic import SyntheticLearners as SyntheticLearners
    from lpr_lightning.datamodules.xes3g5m import XES3G5M as XES3G5M
    from lpr_lightning.draws import Draws as Draws
    from lpr_lightning.functional.schedules import LinearSchedule as LinearSchedule
    from lpr_lightning.goals import AllConcepts as AllConcepts
    from lpr_lightning.goals import HardExam as HardExam
    from lpr_lightning.goals import PractisedConcept as PractisedConcept
    from lpr_lightning.goals import SoftExam as SoftExam
    from lpr_lightning.goals import Targets as Targets
    from lpr_lightning.goals import UpcomingConcept as UpcomingConcept
    from lpr_lightning.goals import WeakestConcept as WeakestConcept
    from lpr_lightning.models.actor_critic import ActorCritic as ActorCritic
    from lpr_lightning.models.c51 import C51 as C51
    from lpr_lightning.models.calibrated_dkt import CalibratedDKT as CalibratedDKT
    from lpr_lightning.models.cseal import CSEAL as CSEAL
    from lpr_lightning.models.ddpg import DDPG as DDPG
    from lpr_lightning.models.discrete_sac import DiscreteSAC as DiscreteSAC
    from lpr_lightning.models.dkt import DKT as DKT
    from lpr_lightning.models.dqn import DQN as DQN
    from lpr_lightning.models.ensemble import Ensemble as Ensemble
    from lpr_lightning.models.gepksd import GEPKSD as GEPKSD
    from lpr_lightning.models.ib_grpo import IBGRPOPolicy as IBGRPOPolicy
    from lpr_lightning.models.ldsim import LDSim as LDSim
    from lpr_lightning.models.multitask_lstm import MultiTaskLSTM as MultiTaskLSTM
    from lpr_lightning.models.neural_growth import NeuralGrowth as NeuralGrowth
    from lpr_lightning.models.performance_factors import PerformanceFactors as PerformanceFactors
    from lpr_lightning.models.ppo import PPO as PPO
    from lpr_lightning.models.question_contrastive import QuestionContrastive as QuestionContrastive
    from lpr_lightning.models.rainbow import Rainbow as Rainbow
    from lpr_lightning.models.recommender import Recommender as Recommender
    from lpr_lightning.models.sac import SAC as SAC
    from lpr_lightning.models.sac_mve import SACwithMVE as SACwithMVE
    from lpr_lightning.models.simple_kt import SimpleKT as SimpleKT
    from lpr_lightning.models.state_space import StateSpaceGrowth as StateSpaceGrowth
    from lpr_lightning.models.td3 import TD3 as TD3
    from lpr_lightning.models.trpo import TRPO as TRPO
    from lpr_lightning.nets.action_nets import ConceptNetwork as ConceptNetwork
    from lpr_lightning.nets.action_nets import PlainNetwork as PlainNetwork
    from lpr_lightning.nets.chain_credit import ChainCredit as ChainCredit
    from lpr_lightning.nets.encoders import Privileged as Privileged
    from lpr_lightning.nets.encoders import Session as Session
    from lpr_lightning.nets.encoders import TracerState as TracerState
    from lpr_lightning.nets.sphere_actors import ConceptActor as ConceptActor
    from lpr_lightning.nets.sphere_actors import PlainActor as PlainActor
    from lpr_lightning.nets.text_encoder import PretrainedEncoder as PretrainedEncoder
    from lpr_lightning.nets.text_encoder import SmallBert as SmallBert
    from lpr_lightning.nets.vector_critics import ModelValue as ModelValue
    from lpr_lightning.nets.vector_critics import PlainValue as PlainValue
    from lpr_lightning.objectives.step_rewards import AttainableGain as AttainableGain
    from lpr_lightning.objectives.step_rewards import MeanGain as MeanGain
    from lpr_lightning.policies import AllActions as AllActions
    from lpr_lightning.policies import BeamSearch as BeamSearch
    from lpr_lightning.policies import ChainSearch as ChainSearch
    from lpr_lightning.policies import ChainValue as ChainValue
    from lpr_lightning.policies import ClosureActions as ClosureActions
    from lpr_lightning.policies import DKTRec as DKTRec
    from lpr_lightning.policies import ExactGreedy as ExactGreedy
    from lpr_lightning.policies import ExamValue as ExamValue
    from lpr_lightning.policies import FixedPaths as FixedPaths
    from lpr_lightning.policies import GenAL as GenAL
    from lpr_lightning.policies import GeneticSearch as GeneticSearch
    from lpr_lightning.policies import GreedySearch as GreedySearch
    from lpr_lightning.policies import HistoricalAnswers as HistoricalAnswers
    from lpr_lightning.policies import NearestTarget as NearestTarget
    from lpr_lightning.policies import Oracle as Oracle
    from lpr_lightning.policies import Planned as Planned
    from lpr_lightning.policies import PrerequisiteGraph as PrerequisiteGraph
    from lpr_lightning.policies import PrerequisiteRule as PrerequisiteRule
    from lpr_lightning.policies import RandomPaths as RandomPaths
    from lpr_lightning.policies import RandomTargets as RandomTargets
    from lpr_lightning.policies import Replan as Replan
    from lpr_lightning.policies import TargetActions as TargetActions
    from lpr_lightning.policies import TargetsInTurn as TargetsInTurn
    from lpr_lightning.policies import follow_paths as follow_paths
    from lpr_lightning.policies.learner_session import LearnerSession as LearnerSession
    from lpr_lightning.simulators.actions import ConceptActions as ConceptActions
    from lpr_lightning.simulators.actions import QuestionActions as QuestionActions
    from lpr_lightning.simulators.kes import KESSimulator as KESSimulator
    from lpr_lightning.simulators.knowledge_world import KnowledgeWorld as KnowledgeWorld
    from lpr_lightning.simulators.rollout import rollout as rollout
    from lpr_lightning.simulators.selective_world import SelectiveWorld as SelectiveWorld
    from lpr_lightning.simulators.transfer_world import TransferWorld as TransferWorld
    from lpr_lightning.simulators.true_learners import GrowthWorld as GrowthWorld
    from lpr_lightning.simulators.true_learners import TrueLearners as TrueLearners
    from lpr_lightning.tasks.concept_clusters import ConceptClusters as ConceptClusters
    from lpr_lightning.tasks.exercise_requests import ExerciseRequests as ExerciseRequests
    from lpr_lightning.tasks.goals_ahead import GoalsAhead as GoalsAhead
    from lpr_lightning.tasks.next_answers import NextAnswers as NextAnswers
    from lpr_lightning.tasks.next_paths import NextPaths as NextPaths
    from lpr_lightning.tasks.path_requests import PathRequests as PathRequests
    from lpr_lightning.tasks.question_texts import QuestionTexts as QuestionTexts
    from lpr_lightning.tasks.random_requests import RandomRequests as RandomRequests
    from lpr_lightning.types import Exercise as Exercise
    from lpr_lightning.types import InteractionBatch as InteractionBatch
    from lpr_lightning.types import Interactions as Interactions
    from lpr_lightning.types import PathRequest as PathRequest
    from lpr_lightning.types import Rollout as Rollout

_MODULES = {
    "Agent": "bases",
    "Stage": "bases",
    "Staged": "bases",
    "TracerModule": "bases",
    "LearnedPrerequisites": "bases.learned_prerequisites",
    "ReplaySettings": "bases.off_policy",
    "AnswerWriter": "callbacks",
    "CompareBaselines": "callbacks",
    "DemonstrationSources": "callbacks",
    "DifficultyTrace": "callbacks",
    "ExactResume": "callbacks",
    "LastCheckpoint": "callbacks",
    "MasteryHeatmap": "callbacks",
    "MasteryReport": "callbacks",
    "MasteryWriter": "callbacks",
    "MetricsJson": "callbacks",
    "NonFiniteGuard": "callbacks",
    "ParetoFront": "callbacks",
    "PathSamples": "callbacks",
    "PathWriter": "callbacks",
    "QuestionMap": "callbacks",
    "RankFidelity": "callbacks",
    "ReliabilityDiagram": "callbacks",
    "ResultsTable": "callbacks",
    "SafeCheckpointIO": "callbacks",
    "StageProgressBar": "callbacks",
    "StepSeed": "callbacks",
    "SuccessWriter": "callbacks",
    "TrueEffect": "callbacks",
    "VectorWriter": "callbacks",
    "check_method": "checks",
    "check_policy": "checks",
    "check_simulator": "checks",
    "check_tracer": "checks",
    "ASSIST09": "datamodules.assist09",
    "DBEKT22": "datamodules.dbe_kt22",
    "InteractionsCSV": "datamodules.interactions_csv",
    "Junyi": "datamodules.junyi",
    "QuestionFile": "datamodules.question_file",
    "SyntheticLearners": "datamodules.synthetic",
    "XES3G5M": "datamodules.xes3g5m",
    "Draws": "draws",
    "LinearSchedule": "functional.schedules",
    "AllConcepts": "goals",
    "HardExam": "goals",
    "PractisedConcept": "goals",
    "SoftExam": "goals",
    "Targets": "goals",
    "UpcomingConcept": "goals",
    "WeakestConcept": "goals",
    "ActorCritic": "models.actor_critic",
    "C51": "models.c51",
    "CalibratedDKT": "models.calibrated_dkt",
    "CSEAL": "models.cseal",
    "DDPG": "models.ddpg",
    "DiscreteSAC": "models.discrete_sac",
    "DKT": "models.dkt",
    "DQN": "models.dqn",
    "Ensemble": "models.ensemble",
    "GEPKSD": "models.gepksd",
    "IBGRPOPolicy": "models.ib_grpo",
    "LDSim": "models.ldsim",
    "MultiTaskLSTM": "models.multitask_lstm",
    "NeuralGrowth": "models.neural_growth",
    "PerformanceFactors": "models.performance_factors",
    "Recommender": "models.recommender",
    "PPO": "models.ppo",
    "Rainbow": "models.rainbow",
    "SAC": "models.sac",
    "SACwithMVE": "models.sac_mve",
    "SimpleKT": "models.simple_kt",
    "StateSpaceGrowth": "models.state_space",
    "TD3": "models.td3",
    "TRPO": "models.trpo",
    "ConceptNetwork": "nets.action_nets",
    "PlainNetwork": "nets.action_nets",
    "ChainCredit": "nets.chain_credit",
    "Privileged": "nets.encoders",
    "Session": "nets.encoders",
    "TracerState": "nets.encoders",
    "ConceptActor": "nets.sphere_actors",
    "PlainActor": "nets.sphere_actors",
    "ModelValue": "nets.vector_critics",
    "PlainValue": "nets.vector_critics",
    "AttainableGain": "objectives.step_rewards",
    "MeanGain": "objectives.step_rewards",
    "QuestionContrastive": "models.question_contrastive",
    "PretrainedEncoder": "nets.text_encoder",
    "SmallBert": "nets.text_encoder",
    "AllActions": "policies",
    "BeamSearch": "policies",
    "ChainSearch": "policies",
    "ChainValue": "policies",
    "ClosureActions": "policies",
    "DKTRec": "policies",
    "ExactGreedy": "policies",
    "ExamValue": "policies",
    "FixedPaths": "policies",
    "GenAL": "policies",
    "GeneticSearch": "policies",
    "GreedySearch": "policies",
    "HistoricalAnswers": "policies",
    "NearestTarget": "policies",
    "Oracle": "policies",
    "Planned": "policies",
    "PrerequisiteGraph": "policies",
    "PrerequisiteRule": "policies",
    "RandomPaths": "policies",
    "RandomTargets": "policies",
    "Replan": "policies",
    "TargetActions": "policies",
    "TargetsInTurn": "policies",
    "follow_paths": "policies",
    "LearnerSession": "policies.learner_session",
    "ConceptActions": "simulators.actions",
    "QuestionActions": "simulators.actions",
    "KESSimulator": "simulators.kes",
    "rollout": "simulators.rollout",
    "KnowledgeWorld": "simulators.knowledge_world",
    "SelectiveWorld": "simulators.selective_world",
    "TransferWorld": "simulators.transfer_world",
    "GrowthWorld": "simulators.true_learners",
    "TrueLearners": "simulators.true_learners",
    "ConceptClusters": "tasks.concept_clusters",
    "ExerciseRequests": "tasks.exercise_requests",
    "GoalsAhead": "tasks.goals_ahead",
    "NextAnswers": "tasks.next_answers",
    "NextPaths": "tasks.next_paths",
    "PathRequests": "tasks.path_requests",
    "QuestionTexts": "tasks.question_texts",
    "RandomRequests": "tasks.random_requests",
    "Exercise": "types",
    "InteractionBatch": "types",
    "Interactions": "types",
    "PathRequest": "types",
    "Rollout": "types",
}
__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = vars(importlib.import_module(f"{__name__}.{_MODULES[name]}"))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
