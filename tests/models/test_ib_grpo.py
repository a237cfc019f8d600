"""The policy learns: from demonstrations, from its own paths, on a simulator whose best paths are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor

from lpr_lightning.datamodules.synthetic import SyntheticLearners
from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError
from lpr_lightning.goals import SoftExam, Targets
from lpr_lightning.models.dkt import DKT
from lpr_lightning.models.ib_grpo import IBGRPOPolicy
from lpr_lightning.nets.concept_scorer import ConceptScorer, ConceptScorerNet
from lpr_lightning.nets.path_decoder import SmallQwen2
from lpr_lightning.nets.path_net import Backbone
from lpr_lightning.objectives import GDPO, HVO, DrGRPO, EpsilonIndicator, LearningEffect, LengthReward
from lpr_lightning.policies import GreedySearch, RandomTargets
from lpr_lightning.policies.demonstrations import Demonstrations
from lpr_lightning.protocols import Policy
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.ladder import Ladder
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.simulators.true_learners import TrueLearners
from lpr_lightning.tasks.path_requests import PathRequests
from lpr_lightning.types import PathRequest, Rollout

TINY = SmallQwen2(hidden_size=32, num_layers=1, num_heads=2, history_length=12, max_length=6)
SCORER = ConceptScorer(hidden_size=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def data(folder: Path, **settings: Any) -> SyntheticLearners:
    task = PathRequests(length=3, min_distinct=4)
    options: dict[str, Any] = {"num_concepts": 6, "num_learners": 80, "answers": (12, 24), "batch_size": 16} | settings
    return SyntheticLearners(cache_dir=str(folder / "data"), task=task, **options)


def policy(folder: Path, **settings: Any) -> IBGRPOPolicy:
    torch.manual_seed(0)
    demonstrations = Demonstrations(cache_dir=str(folder), announce=False)
    options: dict[str, Any] = {"simulator": KESSimulator(DKT(6, 4, 6)), "backbone": TINY, "group_size": 4}
    return IBGRPOPolicy(6, **(options | {"demonstrations": demonstrations} | settings))


def trainer(epochs: int, **settings: Any) -> Trainer:
    options: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(max_epochs=epochs, accelerator="cpu", use_distributed_sampler=False, **(options | settings))


def test_it_reaches_the_best_paths_of_a_ladder_by_its_own_experience(folder: Path) -> None:
    seed_everything(0)
    ladder = Ladder(6, gain=1.0)
    model = policy(
        folder,
        simulator=ladder,
        objectives=[LearningEffect(), LengthReward(tolerance=0)],
        advantage=EpsilonIndicator(),
        clone_epochs=0,
        group_size=16,
        learning_rate=3e-3,
        temperature=0.8,
    )
    learners = data(folder, num_learners=160)
    learners.task = PathRequests(length=6, min_distinct=4, max_history=1)
    run = trainer(20)
    run.fit(model, datamodule=learners)
    (figures,) = run.test(model, datamodule=learners, verbose=False)
    assert figures["test/learning_effect"] == 1.0  # all rungs in order: nothing else masters every target
    assert figures["test/length_score"] == 1.0


def test_a_scorer_takes_on_the_paths_that_a_search_finds_among_true_learners(folder: Path) -> None:
    seed_everything(0)
    learners = data(folder)
    model = policy(
        folder,
        simulator=TrueLearners(6, 30, 80, deterministic=True),
        goal=Targets(SoftExam()),
        objectives=[LearningEffect()],
        backbone=ConceptScorer(),
        demonstrations=Demonstrations([GreedySearch()], 1, cache_dir=str(folder), announce=False),
        clone_effect=-10.0,
        clone_epochs=40,
        clone_learning_rate=5e-3,
    )
    run = trainer(41, limit_val_batches=0)
    run.fit(model, datamodule=learners)
    effect: dict[str, float] = {}
    for request in learners.train_dataloader():
        assert isinstance(request, PathRequest)
        policies: dict[str, Policy] = {"policy": model, "search": GreedySearch(), "random": RandomTargets()}
        for name, one in policies.items():
            draws = Draws.of(0, 0, request.row)
            taught = rollout(model.simulator, model.goal, request, one, draws, sample=name == "random")
            effect[name] = effect.get(name, 0.0) + float(LearningEffect()(taught).sum())
    assert effect["policy"] > 0.98 * effect["search"]
    assert effect["search"] > 1.2 * effect["random"]


def test_a_scorer_knows_the_prerequisites_and_whom_to_ask_for_mastery(folder: Path) -> None:
    other, learners = KESSimulator(DKT(6, 4, 6)), _ready(data(folder))
    model = policy(folder, backbone=SCORER, estimator=other, clone_epochs=0)
    request = next(iter(learners.test_dataloader()))
    assert isinstance(request, PathRequest)
    estimated = model.estimated(request)
    assert estimated is not None
    assert torch.equal(estimated, other.mastery(other.start(request)))
    trainer(1, limit_train_batches=1).fit(model, datamodule=learners)
    assert isinstance(model.net, ConceptScorerNet)
    assert {(a, b) for b, a in model.net.needs.nonzero().tolist()} == {
        (int(a), int(b)) for a, b in learners.truth.world.prerequisites
    }
    assert policy(folder).estimated(request) is None
    with pytest.raises(SettingError, match="estimator"):
        policy(folder, estimator=KESSimulator(DKT(4)))


def moved(model: IBGRPOPolicy, before: dict[str, Tensor]) -> dict[str, bool]:
    return {name: not torch.equal(before[name], weight) for name, weight in model.named_parameters()}


@pytest.mark.parametrize("backbone", [TINY, SCORER])
@pytest.mark.parametrize("settings", [{"clone_epochs": 1, "clone_effect": -10.0}, {"clone_epochs": 0}])
def test_a_stage_changes_every_weight_of_the_policy_and_none_of_the_simulator(
    folder: Path, settings: dict[str, Any], backbone: Backbone
) -> None:
    model = policy(folder, backbone=backbone, **settings)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    epochs = 1 + settings["clone_epochs"]
    trainer(epochs, limit_train_batches=1 if epochs == 1 else 0.5, callbacks=[StopAfter(1)]).fit(
        model, datamodule=data(folder)
    )
    for name, changed in moved(model, before).items():
        assert changed == (not name.startswith("simulator") and "embed_tokens" not in name), name


class StopAfter(Callback):
    """Ends a fit after some epochs of those that the trainer would take."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 >= self.epochs


def test_a_batch_counts_once_however_many_gradient_steps_it_takes(folder: Path) -> None:
    run = trainer(1, limit_train_batches=2)
    run.fit(policy(folder, clone_epochs=0, updates=3), datamodule=data(folder))
    assert run.global_step == 2


def test_a_stage_that_can_never_begin_is_refused(folder: Path) -> None:
    with pytest.raises(SettingError, match=r"max_epochs=2 .* more than 2, or 'IB-GRPO' never begins"):
        trainer(2).fit(policy(folder, clone_epochs=2), datamodule=data(folder))


def test_the_reference_is_the_policy_when_improvement_begins(folder: Path) -> None:
    """It has the cloned weights, not the first ones; a large weight holds the policy there."""
    paths = {}
    for weight in (1e-9, 1e3):
        seed_everything(0)
        model = policy(folder, clone_epochs=1, clone_effect=-10.0, kl_weight=weight, learning_rate=3e-3, updates=2)
        before = [one.clone() for one in model.net.parameters() if one.requires_grad]
        run = trainer(3, limit_train_batches=5)
        run.fit(model, datamodule=data(folder))
        assert model.reference is not None
        kept = list(model.reference.buffers())
        assert not any(torch.equal(one, two) for one, two in zip(kept, before, strict=True))
        paths[weight] = float(run.callback_metrics["train/kl"])
    assert 0 < paths[1e3] < 0.2 * paths[1e-9]


def test_tokens_behind_an_early_stop_get_no_credit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = Ladder(6, gain=1.0)
    model = policy(folder, simulator=ladder, early_stop=True, objectives=[LearningEffect()])
    request = ladder.request(targets=[[0]], length=3)
    masks: list[Tensor] = []
    log_prob = model.net.log_prob

    def spied(
        request: PathRequest, path: Tensor, group_size: int, temperature: float = 1.0, mastery: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        found = log_prob(request, path, group_size, temperature, mastery)
        found[0].retain_grad()
        masks.append(found[0])
        return found

    monkeypatch.setattr(model.net, "log_prob", spied)
    monkeypatch.setattr(model, "descend", lambda loss, norm: torch.autograd.backward(loss))
    monkeypatch.setattr(model, "count_step", lambda: None)
    monkeypatch.setattr(model, "_log_train", lambda figures, size: None)
    taught = model.improve(request, 0)["rollout"]
    assert isinstance(taught, Rollout)
    gradient = masks[0].grad
    assert gradient is not None
    assert bool(taught.stopped.any())
    place = torch.arange(gradient.shape[1])
    credited = place < (taught.length + (~taught.stopped).long())[:, None]
    assert not bool((gradient[~credited] != 0).any())


def _ready(module: SyntheticLearners) -> SyntheticLearners:
    module.setup("fit")
    return module


@pytest.mark.parametrize(
    "settings",
    [
        *({"updates": 2}, {"backbone": SCORER}, {"ratio": "sequence"}, {"entropy_weight": 0.01}, {"varied": 0.5}),
        *({"aggregation": "dr_grpo", "advantage": DrGRPO()}, {"dynamic_sampling": 2, "advantage": GDPO()}),
        {"kl_weight": 0.1, "updates": 2, "advantage": HVO()},
    ],
)
def test_the_same_seed_gives_the_same_figures(folder: Path, settings: dict[str, Any]) -> None:
    figures = []
    for _ in range(2):
        seed_everything(3)
        model, run = policy(folder, clone_epochs=1, **settings), trainer(2, limit_train_batches=2)
        run.fit(model, datamodule=data(folder))
        figures.append({name: float(value) for name, value in run.callback_metrics.items()})
    assert figures[0] == figures[1]
    assert {"val/learning_effect", "val/zpd", "val/length_score", "val/path_diversity", "val/hypervolume"} <= set(
        figures[0]
    )


@pytest.mark.parametrize("backbone", [TINY, SCORER])
def test_a_checkpoint_rebuilds_policy_simulator_and_fitted_objectives(
    folder: Path, tmp_path: Path, backbone: Backbone
) -> None:
    seed_everything(0)
    model, run = policy(folder, clone_epochs=1, backbone=backbone), trainer(2)
    learners = data(folder)
    run.fit(model, datamodule=learners)
    run.save_checkpoint(tmp_path / "policy.ckpt")
    again = IBGRPOPolicy.load_from_checkpoint(tmp_path / "policy.ckpt", weights_only=True)
    torch.testing.assert_close(dict(again.state_dict()), dict(model.state_dict()))
    request = next(iter(learners.test_dataloader()))
    model.eval(), again.eval()
    assert torch.equal(again(request), model(request))


class SaveAfter(Callback):
    """Saves a checkpoint when an epoch has ended."""

    def __init__(self, epoch: int, path: Path) -> None:
        self.epoch, self.path = epoch, path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("backbone", [TINY, SCORER])
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_resumed_run_ends_as_if_it_had_never_stopped(
    folder: Path, tmp_path: Path, epoch: int, backbone: Backbone
) -> None:
    seed_everything(1)
    whole, kept = policy(folder, clone_epochs=2, varied=0.5, backbone=backbone), tmp_path / "kept.ckpt"
    trainer(3, limit_train_batches=2, callbacks=[SaveAfter(epoch, kept)]).fit(whole, datamodule=data(folder))
    seed_everything(1)
    torch.rand(7)
    resumed = policy(folder, clone_epochs=2, varied=0.5, backbone=backbone)
    run = trainer(3, limit_train_batches=2)
    run.fit(resumed, datamodule=data(folder), ckpt_path=str(kept))
    assert run.current_epoch == 3
    torch.testing.assert_close(dict(resumed.state_dict()), dict(whole.state_dict()), rtol=0, atol=0)


def test_a_path_needs_targets(folder: Path) -> None:
    model, request = policy(folder).eval(), next(iter(_ready(data(folder)).test_dataloader()))
    assert isinstance(request, PathRequest)
    with pytest.raises(SettingError, match="predict_goals='requests without targets'"):
        model.predict_step(replace(request, targets=torch.zeros_like(request.targets)), 0)


def test_prediction_works_for_unseen_learners_with_and_without_history(folder: Path) -> None:
    seed_everything(0)
    model = policy(folder).eval()
    learners = _ready(data(folder))
    request = next(iter(learners.test_dataloader()))
    assert isinstance(request, PathRequest)
    taught = model.predict_step(request, 0)["rollout"]
    assert isinstance(taught, Rollout)
    gain = taught.gain
    assert gain.shape == taught.action.shape
    gained = taught.mastery_after - taught.mastery_before
    mean = (gained * request.targets).sum(1) / request.targets.sum(1)
    torch.testing.assert_close(gain.sum(1), mean, rtol=1e-4, atol=1e-5)


def test_without_a_datamodule_the_error_says_what_is_needed(folder: Path) -> None:
    learners = _ready(data(folder))
    with pytest.raises(SettingError, match="datamodule"):
        trainer(1).fit(policy(folder, clone_epochs=0), learners.train_dataloader())


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_concepts", None),
        ("group_size", 1),
        ("temperature", 0.0),
        ("ratio", "word"),
        ("updates", 0),
        ("aggregation", "mean"),
        ("dynamic_sampling", -1),
        ("kl_weight", -0.5),
        ("varied", 1.5),
    ],
)
def test_bad_settings_are_refused(setting: str, value: object) -> None:
    with pytest.raises(SettingError, match=setting):
        IBGRPOPolicy(**{"num_concepts": 3, setting: value})  # type: ignore[arg-type]


def test_a_simulator_of_other_concepts_is_refused() -> None:
    with pytest.raises(SettingError, match="simulator"):
        IBGRPOPolicy(3, simulator=KESSimulator(DKT(4)))
