"""Baselines beside a module that is not ours, and what it teaches learners of known truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from foreign_module import (
    LENGTH,
    NUM_CONCEPTS,
    ForeignData,
    ForeignModule,
    NoisyLadder,
    Stubborn,
    baselines,
    everyone,
    make_trainer,
    true_ladder,
)
from lightning.pytorch import Callback, LightningModule
from torch import Tensor

from lpr_lightning.callbacks import CompareBaselines, TrueEffect
from lpr_lightning.callbacks.compare_baselines import OWN_FIGURES, default_policies
from lpr_lightning.callbacks.true_effect import Asked
from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import HardExam, SoftExam, Targets
from lpr_lightning.policies import ChainValue, ClosureActions, DKTRec, Oracle, PrerequisiteGraph, follow_paths
from lpr_lightning.protocols import Act, Environment, LearnerData, Policy, Simulator
from lpr_lightning.simulators.actions import QuestionActions
from lpr_lightning.simulators.rollout import request_draws, rollout
from lpr_lightning.types import PathRequest, Rollout, State, TensorData


def test_baselines_and_truth_are_logged(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [CompareBaselines(baselines()), TrueEffect()])
    trainer.test(ForeignModule(), datamodule=ForeignData(), verbose=False)
    logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
    for name in ("random", "random_targets", "dktrec", "search"):
        assert {f"test/{name}/learning_effect", f"test/{name}/true_learning_effect"} <= set(logged)
        assert logged[f"test/{name}/zpd"] == 0.25
        assert logged[f"test/{name}/sessions"] == 6
    assert "test/true_learning_effect" in logged
    taught = rollout(NoisyLadder(NUM_CONCEPTS), Targets(), everyone(), baselines()[-1], request_draws(0, 0, everyone()))
    assert logged["test/search/learning_effect"] == pytest.approx(float(effect(taught)), abs=1e-6)


def logged_by(callback: Callback, module: LightningModule, data: ForeignData, folder: Path) -> dict[str, float]:
    trainer = make_trainer(folder, [callback])
    trainer.test(module, datamodule=data, verbose=False)
    return {key: float(value) for key, value in trainer.callback_metrics.items()}


def test_baselines_see_the_answers_that_are_really_given(tmp_path: Path) -> None:
    """DKTRec taught by hand, on the simulator and on the true learners, of whom it knows the simulator alone."""
    module, data = ForeignModule(), ForeignData()
    logged = logged_by(CompareBaselines([DKTRec()]), module, data, tmp_path)
    request, truth = everyone(), true_ladder()
    draws, model = request_draws(0, 0, request), module.simulator
    own = rollout(model, Targets(), request, DKTRec(), draws)
    assert own.response.mean() not in (0, 1)
    assert logged["test/dktrec/learning_effect"] == pytest.approx(float(effect(own)), abs=1e-6)
    true = rollout(truth, Targets(SoftExam()), request, DKTRec(), draws, model=model)
    assert logged["test/dktrec/true_learning_effect"] == pytest.approx(float(effect(true)), abs=1e-6)


@dataclass(frozen=True)
class Looking(DKTRec):
    """Notes which model it may look into."""

    models: list[Simulator] = field(default_factory=list)

    def act(self, environment: Environment, state: State, concept: Tensor, draws: Draws | None) -> Act:
        self.models.append(environment.simulator)
        return super().act(environment, state, concept, draws)


def test_nobody_looks_into_the_truth(tmp_path: Path) -> None:
    module, policy = ForeignModule(), Looking()
    logged_by(CompareBaselines([policy]), module, ForeignData(), tmp_path)
    assert len(policy.models) == 2 * 2 * LENGTH
    assert all(model is module.simulator for model in policy.models)


def effect(taught: Rollout) -> Tensor:
    missing = taught.score_max - taught.score_before
    return ((taught.score_after - taught.score_before) / missing).mean()


def test_figures_do_not_depend_on_batches(tmp_path: Path) -> None:
    for callback in (CompareBaselines(baselines()), TrueEffect()):
        one, two = (logged_by(callback, ForeignModule(), ForeignData(size=size), tmp_path) for size in (2, 6))
        assert one == pytest.approx(two, nan_ok=True)


@pytest.mark.parametrize(("exam", "marks"), [(None, SoftExam()), (HardExam(0.7), HardExam(0.7))])
def test_truth_follows_the_paths_of_a_module_that_is_no_policy(
    tmp_path: Path, exam: HardExam | None, marks: HardExam | SoftExam
) -> None:
    module, request = ForeignModule(), everyone()
    logged = logged_by(TrueEffect(exam), module, ForeignData(), tmp_path)
    path, draws = module.taught(request).action, request_draws(0, 0, request)
    expected = effect(follow_paths(true_ladder(), Targets(marks), request, path, draws))
    assert logged["test/true_learning_effect"] == pytest.approx(float(expected), abs=1e-6)


def test_truth_is_taught_closed_loop_by_a_module_that_is_a_policy(tmp_path: Path) -> None:
    module, request = Stubborn(), everyone()
    logged = logged_by(TrueEffect(), module, ForeignData(), tmp_path)
    truth, draws = true_ladder(), request_draws(0, 0, request)
    taught = rollout(truth, Targets(SoftExam()), request, module, draws, model=module.simulator)
    assert not torch.equal(taught.action, rollout(module.simulator, Targets(), request, module, draws).action)
    assert logged["test/true_learning_effect"] == pytest.approx(float(effect(taught)), abs=1e-6)


def test_true_learners_are_asked_what_the_module_asks(tmp_path: Path) -> None:
    """Question q of the module is on concept 4 - q; the true learners number concepts alone."""
    module, data, request = Stubborn(), ForeignData(), everyone()
    bank = QuestionActions(NUM_CONCEPTS)
    bank.item_concepts = torch.arange(NUM_CONCEPTS).flip(0)[:, None]
    vars(module.simulator).update(actions=bank)
    logged = logged_by(TrueEffect(), module, data, tmp_path)
    truth = true_ladder()
    vars(truth).update(actions=bank)
    taught = rollout(truth, Targets(SoftExam()), request, module, request_draws(0, 0, request), model=module.simulator)
    assert taught.session.item[:, 0].tolist() == [0] * 6
    assert taught.concept[:, 0, 0].tolist() == [4] * 6
    assert logged["test/true_learning_effect"] == pytest.approx(float(effect(taught)), abs=1e-6)


def test_objectives_that_the_module_has_not_are_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [CompareBaselines(objectives=["zone"])])
    with pytest.raises(SettingError, match=r"zone.*one of zpd"):
        trainer.test(ForeignModule(), datamodule=ForeignData(), verbose=False)


def test_baselines_need_learners(tmp_path: Path) -> None:
    class Bare(LightningModule):
        def test_step(self, batch: PathRequest, batch_idx: int) -> None:
            """Do nothing."""

    with pytest.raises(SettingError, match=r"Bare.*HasEpisodes"):
        make_trainer(tmp_path, [CompareBaselines()]).test(Bare(), datamodule=ForeignData(), verbose=False)


def test_unknown_truth_and_missing_objectives_leave_their_figures_out(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [CompareBaselines([DKTRec()], stages=["val"]), TrueEffect(stages=["val"])])
    trainer.validate(ForeignModule(objectives=False), datamodule=ForeignData(truth=False), verbose=False)
    assert "val/dktrec/learning_effect" in trainer.callback_metrics
    assert not [key for key in trainer.callback_metrics if "true" in key or "zpd" in key]


def test_baselines_need_a_request(tmp_path: Path) -> None:
    class WithoutRequest(ForeignModule):
        def validation_step(self, batch: PathRequest, batch_idx: int) -> dict[str, TensorData]:
            return {"rollout": self.taught(batch)}

    trainer = make_trainer(tmp_path, [CompareBaselines(baselines(), stages=["val"])])
    with pytest.raises(SettingError, match="request"):
        trainer.validate(WithoutRequest(), datamodule=ForeignData())


@dataclass(frozen=True, kw_only=True)
class LookingOracle(Oracle):
    """Notes which model it may look into."""

    models: list[Simulator] = field(default_factory=list)

    def begin(self, environment: Environment, request: PathRequest) -> State:
        self.models.append(environment.simulator)
        return super().begin(environment, request)


def true_effects(policy: Policy, model: Simulator) -> Tensor:
    """Return what a policy teaches each true learner."""
    request = everyone()
    draws = request_draws(0, 0, request)
    taught = rollout(true_ladder(), Targets(SoftExam()), request, policy, draws, model=model)
    return (taught.score_after - taught.score_before) / (taught.score_max - taught.score_before)


def test_the_oracle_alone_looks_into_the_truth_and_teaches_nobody_else(tmp_path: Path) -> None:
    rungs = PrerequisiteGraph([(rung, rung + 1) for rung in range(NUM_CONCEPTS - 1)])
    value, candidates = ChainValue(prerequisites=rungs), ClosureActions(1.0, rungs)
    oracle = LookingOracle(value=value, candidates=candidates, answers="likeliest")  # of wrong answers nobody learns
    module, data = ForeignModule(), ForeignData()
    logged = logged_by(CompareBaselines([DKTRec()], oracle=oracle), module, data, tmp_path)
    assert len(oracle.models) == 2
    assert all(isinstance(model, Asked) for model in oracle.models)
    same = Oracle(value=value, candidates=candidates, answers="likeliest")
    expected = true_effects(same, true_ladder()).mean()
    assert logged["test/oracle/true_learning_effect"] == pytest.approx(float(expected), abs=1e-6)
    figures = {key.split("/")[2] for key in logged if key.startswith("test/oracle/")}
    marks = {f"true_learning_effect{which}" for which in ("", "_low", "_high", "_soft", "_hard")}
    assert figures == {*marks, "true_share_of_oracle", "true_over", "true_over_error"}


def test_shares_of_the_oracle_and_paired_differences_by_hand(tmp_path: Path) -> None:
    module = Stubborn()
    logged = logged_by(CompareBaselines([DKTRec()]), module, ForeignData(), tmp_path)
    own, other = true_effects(module, module.simulator), true_effects(DKTRec(), module.simulator)
    best = true_effects(Oracle(), true_ladder()).mean()
    difference = own - other
    expected = {
        "test/true_share_of_oracle": own.mean() / best,
        "test/dktrec/true_share_of_oracle": other.mean() / best,
        "test/oracle/true_share_of_oracle": torch.ones(()),
        "test/dktrec/true_over": difference.mean(),
        "test/dktrec/true_over_error": difference.std() / 6**0.5,
    }
    for key, value in expected.items():
        assert logged[key] == pytest.approx(float(value), abs=1e-6), key


def test_marks_targets_and_first_steps_of_everybody(tmp_path: Path) -> None:
    module, request = Stubborn(), everyone()
    logged = logged_by(CompareBaselines(), module, ForeignData(), tmp_path)
    own = module.taught(request)
    on_target = own.targets.gather(1, own.action)
    assert logged["test/on_target"] == pytest.approx(float(on_target.float().mean()))
    assert logged["test/first_step_share"] == 1.0
    assert logged["test/learning_effect_hard"] == pytest.approx(float(effect(own)), abs=1e-6)
    gained = ((own.mastery_after - own.mastery_before) * own.targets).sum(1)
    missing = ((1 - own.mastery_before) * own.targets).sum(1)
    assert logged["test/learning_effect_soft"] == pytest.approx(float((gained / missing).mean()), abs=1e-6)
    assert logged["test/targets_in_turn/on_target"] == logged["test/random_targets/on_target"] == 1.0
    assert logged["test/targets_in_turn/first_step_share"] == pytest.approx(2 / 6)
    names = {key.split("/")[1] for key in logged if key.count("/") == 2}
    assert names == {policy.name for policy in (*default_policies(), Oracle())}
    for name in names - {"oracle"}:
        assert {f"test/{name}/{figure}" for figure in OWN_FIGURES} <= set(logged)
        assert {f"test/{name}/true_learning_effect_{mark}" for mark in ("soft", "hard")} <= set(logged)


@dataclass(frozen=True)
class Joining(DKTRec):
    """Notes the data that it was connected to."""

    data: list[LearnerData] = field(default_factory=list)

    def connect(self, data: LearnerData) -> None:
        self.data.append(data)


def test_with_another_graph_only_the_oracle_keeps_the_one_that_holds(tmp_path: Path) -> None:
    policy, file = Joining(), tmp_path / "edges.csv"
    true = SyntheticLearners(num_concepts=NUM_CONCEPTS, num_learners=20, cache_dir=str(tmp_path))
    file.write_text("needed,needing\n" + ",".join(true.concept_names[1::-1]) + "\n")
    data = SyntheticLearners(
        num_concepts=NUM_CONCEPTS, num_learners=20, cache_dir=str(tmp_path), prerequisites_file=str(file)
    )
    callback = CompareBaselines([policy])
    trainer = make_trainer(tmp_path, [callback])
    vars(trainer)["datamodule"] = data
    callback.setup(trainer, ForeignModule(), "test")
    assert [one.prerequisites.tolist() for one in policy.data if one.prerequisites is not None] == [[[1, 0]]]
    value, candidates = callback.oracle.value, callback.oracle.candidates
    assert isinstance(value, ChainValue)
    assert isinstance(candidates, ClosureActions)
    for part in (value, candidates):
        assert torch.equal(part.prerequisites.needs(NUM_CONCEPTS, torch.device("cpu")), data.truth.needs)


def test_policies_are_connected_to_data_of_learners(tmp_path: Path) -> None:
    policy, foreign = Joining(), Joining()
    data = SyntheticLearners(num_concepts=NUM_CONCEPTS, num_learners=20, cache_dir=str(tmp_path))
    data.setup("fit")
    callback = CompareBaselines([policy])
    trainer = make_trainer(tmp_path, [callback])
    vars(trainer)["datamodule"] = data
    callback.setup(trainer, ForeignModule(), "test")
    assert policy.data == [data]
    graph = callback.oracle.candidates
    assert isinstance(graph, ClosureActions)
    assert torch.equal(graph.prerequisites.needs(NUM_CONCEPTS, torch.device("cpu")), data.truth.needs)
    logged_by(CompareBaselines([foreign]), ForeignModule(), ForeignData(), tmp_path)
    assert not foreign.data
