"""Indicator-based group relative policy optimisation of learning paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lpr_lightning.errors import SettingError
from lpr_lightning.functional.clipping import Level, clipped_surrogate
from lpr_lightning.functional.pareto import hypervolume
from lpr_lightning.hparams import arguments, built
from lpr_lightning.metrics import RolloutMetrics
from lpr_lightning.models.dkt import DKT
from lpr_lightning.nets.path_decoder import SmallQwen2
from lpr_lightning.objectives import (
    Advantage,
    EpsilonIndicator,
    GroupDiversity,
    LearningEffect,
    LengthReward,
    Objective,
    ZPDAlignment,
)
from lpr_lightning.preparation import Preparation, Prepared
from lpr_lightning.simulators.expected_gain import expected_gain
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.tasks.vary_requests import vary_requests
from lpr_lightning.types import LearnerData, PathRequest, Rollout, Simulator

REFERENCE = (-1.0, 0.0, 0.0, 0.0)
"""The worst that counts for the hypervolume of learning effect, ZPD alignment, length score and path diversity."""


class IBGRPOPolicy(LightningModule):
    """Recommends learning paths; learns them from demonstrations, then by IB-GRPO (arXiv 2601.14686).

    `fit` first makes what is missing (`preparation`: the simulator's tracer, demonstrations), clones the
    demonstrations for `clone_epochs` epochs (eq. 7), then improves the policy on its own paths: K for each request,
    one reward for each objective, advantages within the group (eq. 9-11), clipped policy gradient (eq. 12). Batches
    are `PathRequest`; steps return `{"request", "rollout"}`.

    Differs from the paper:
    1. The policy is a small decoder over concept tokens, trained from scratch, instead of Qwen2.5-7B on text.
    2. Demonstrations come from a genetic and a greedy search; teacher policies can be added to `preparation`.
    3. The default advantage scales objectives within the group and takes logarithms, which stays finite
       (`EpsilonIndicator(transform="exp", normalize="none")` is the paper to the letter).
    4. Requests whose targets are all mastered at the start have no learning effect and are passed over in training.

    Args:
        num_concepts: Number of concepts; the command line fills it in from the data.
        simulator: What answers as the learner; default `KESSimulator` over a `DKT`.
        objectives: What a path is judged by; default the paper's four (eq. 1-5).
        advantage: How rewards become advantages.
        backbone: The policy's network.
        preparation: How simulator and demonstrations are made.
        group_size: K, paths for each request.
        clone_epochs: Epochs of behaviour cloning before IB-GRPO begins.
        clone_learning_rate: Of AdamW while cloning; falls to a tenth.
        learning_rate: Of AdamW while improving; falls to a tenth.
        clone_effect: Demonstrations below this learning effect are not cloned.
        temperature: Of the policy that is improved, above 0. Below 1 it lies closer to the likeliest path, which is
            what is recommended.
        clip_low: How far a ratio may fall below 1 (paper: 0.2).
        clip_high: How far it may rise above 1 (paper: 0.28).
        ratio: `token` or `sequence` (as eq. 12 is written).
        updates: Gradient steps on each set of sampled paths; above 1 the clipping comes into play.
        varied: Share of training requests that are changed at every step, from 0 to 1: history cut at a random place,
            another learner's targets. Keeps the policy from learning its training learners by heart (ours; 0 is the
            paper).
        entropy_weight: Weight of an entropy bonus (ours; 0 is the paper).
        weight_decay: Of AdamW.
        max_grad_norm: Gradients are clipped to this norm.

    Raises:
        SettingError: If a setting is out of range or the data make no requests for paths.
    """

    monitor = ("val/learning_effect", "max")

    def __init__(
        self,
        num_concepts: int | None = None,
        simulator: Simulator | None = None,
        objectives: Sequence[Objective] | None = None,
        advantage: Advantage | None = None,
        backbone: SmallQwen2 | None = None,
        preparation: Preparation | None = None,
        group_size: int = 16,
        clone_epochs: int = 4,
        clone_learning_rate: float = 1e-3,
        learning_rate: float = 3e-4,
        clone_effect: float = 0.5,
        temperature: float = 1.0,
        clip_low: float = 0.2,
        clip_high: float = 0.28,
        ratio: Level = "token",
        updates: int = 1,
        varied: float = 0.0,
        entropy_weight: float = 0.0,
        weight_decay: float = 0.01,
        max_grad_norm: float = 1.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()))
        if not num_concepts or num_concepts < 1:
            raise SettingError("num_concepts", num_concepts, "a whole number above 0", "take it from the datamodule")
        for name, least in (("group_size", 2), ("clone_epochs", 0), ("updates", 1)):
            if self.hparams[name] < least:
                raise SettingError(name, self.hparams[name], f"a whole number of at least {least}")
        for name in ("temperature", "learning_rate", "clone_learning_rate", "clip_low", "clip_high", "max_grad_norm"):
            if not self.hparams[name] > 0:
                raise SettingError(name, self.hparams[name], "a number above 0")
        if not 0 <= varied <= 1:
            raise SettingError("varied", varied, "a share of requests from 0 to 1")
        if ratio not in ("token", "sequence"):
            raise SettingError("ratio", ratio, "token or sequence")
        self.automatic_optimization = False
        self.num_concepts, self.group_size = num_concepts, group_size
        self.simulator: Any = built(simulator) or KESSimulator(DKT(num_concepts))
        if self.simulator.num_concepts != num_concepts:
            raise SettingError("simulator", self.simulator.num_concepts, f"a simulator of {num_concepts} concepts")
        paper = (LearningEffect(), ZPDAlignment(), LengthReward(), GroupDiversity())
        self.objectives = nn.ModuleList(cast(Sequence[Objective], built(list(objectives or paper))))
        for objective in self.objectives:
            cast(Objective, objective).configure(num_concepts)
        self.advantage: Advantage = built(advantage) or EpsilonIndicator()
        self.preparation: Preparation = built(preparation) or Preparation()
        self.net = (built(backbone) or SmallQwen2()).build(num_concepts)
        self.val_metrics, self.test_metrics = RolloutMetrics(bootstrap=0), RolloutMetrics()
        self._demonstrations: Prepared | None = None
        self._seed = 0

    @property
    def stage_name(self) -> str:
        """What the present epoch does."""
        return "behaviour cloning" if self._cloning else "IB-GRPO"

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW over the policy; the learning rate is set at every step."""
        weights = [weight for weight in self.net.parameters() if weight.requires_grad]
        return torch.optim.AdamW(
            weights, self.hparams["learning_rate"], betas=(0.9, 0.95), weight_decay=self.hparams["weight_decay"]
        )

    def setup(self, stage: str) -> None:
        """Make or find the trained simulator and the demonstrations: rank zero first, the others from its files."""
        if stage != "fit" or self._demonstrations is not None:
            return
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, LearnerData):
            raise SettingError(
                "datamodule",
                type(data).__name__,
                "a datamodule of lpr_lightning",
                "the simulator is trained on its training learners",
            )
        self._seed = torch.initial_seed() % 2**31
        if self.trainer.is_global_zero:
            self._demonstrations = self._prepare(data)
        self.trainer.strategy.barrier("preparation")
        if self._demonstrations is None:
            self._demonstrations = self._prepare(data)

    def forward(self, request: PathRequest) -> Tensor:
        """Return the likeliest path for each request, [B, L] int64, -1 after its end."""
        path: Tensor = self.net.sample(request, temperature=0).path
        return path

    def training_step(self, request: PathRequest, batch_idx: int) -> dict[str, Any] | None:
        """Clone demonstrations or improve on the policy's own paths, by the epoch."""
        self._set_learning_rate(batch_idx)
        return self._clone(request) if self._cloning else self._improve(request, batch_idx)

    def on_validation_epoch_start(self) -> None:
        """Let random answers be the same in every validation."""
        self.simulator.seed(self._seed)

    def validation_step(self, request: PathRequest, batch_idx: int) -> dict[str, Any]:
        """Let validation learners follow the likeliest paths."""
        return self._evaluate(request, "val", self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log what the paths achieved."""
        self._report("val", self.val_metrics)

    def on_test_epoch_start(self) -> None:
        """Let random answers be the same in every test."""
        self.simulator.seed(self._seed)

    def test_step(self, request: PathRequest, batch_idx: int) -> dict[str, Any]:
        """Let test learners follow the likeliest paths."""
        return self._evaluate(request, "test", self.test_metrics)

    def on_test_epoch_end(self) -> None:
        """Log what the paths achieved."""
        self._report("test", self.test_metrics)

    def predict_step(self, request: PathRequest, batch_idx: int) -> dict[str, Any]:
        """Return the paths, what the simulator expects of them, and what each step is expected to bring."""
        path = self(request)
        return {
            "request": request,
            "rollout": rollout(self.simulator, request, path),
            "expected_gain": expected_gain(self.simulator, request, path),
        }

    @property
    def _cloning(self) -> bool:
        return bool(self.current_epoch < self.hparams["clone_epochs"])

    def _prepare(self, data: LearnerData) -> Prepared:
        self.preparation.train_simulator(self.simulator, data, "cpu" if self.device.type == "cpu" else "auto")
        return self.preparation.demonstrate(self.simulator, cast(Any, self.objectives), data)

    def _set_learning_rate(self, batch_idx: int) -> None:
        """Warm up over ten steps, then fall to a tenth by the end of the stage."""
        clones, epochs = self.hparams["clone_epochs"], self.trainer.max_epochs or -1
        first, last = (0, clones) if self._cloning else (clones, epochs)
        batches = float(self.trainer.num_training_batches)
        done = self.current_epoch - first + batch_idx / max(batches, 1)
        share = done / (last - first) if last > first else 0.0
        rate = self.hparams["clone_learning_rate" if self._cloning else "learning_rate"]
        rate *= min(1.0, (done * batches + 1) / 10) * (1 - 0.9 * min(share, 1.0))
        for group in cast(torch.optim.Optimizer, self.optimizers()).param_groups:
            group["lr"] = rate

    def _clone(self, request: PathRequest) -> dict[str, Any] | None:
        """Take one step of eq. 7 on the demonstrations of these requests, the end of the path included."""
        if self._demonstrations is None:
            raise SettingError("demonstrations", None, "a run of fit", "training steps work inside trainer.fit")
        row = request.row.cpu()
        path, effect = (part[row].to(self.device) for part in self._demonstrations)
        log_prob, mask, _ = self.net.log_prob(request, path.flatten(0, 1), path.shape[1])
        mask = mask & (effect.flatten() >= self.hparams["clone_effect"])[:, None]
        loss = -(log_prob * mask).sum() / mask.sum().clamp_min(1)
        self._descend(loss)
        self._log_train({"loss": loss, "loss_clone": loss}, len(request))
        return {"request": request}

    def _improve(self, request: PathRequest, batch_idx: int) -> dict[str, Any] | None:
        """Sample paths, let learners follow them, and take clipped policy-gradient steps (eq. 8-12)."""
        generator = self._generator(batch_idx)
        if self.hparams["varied"] > 0:
            request = vary_requests(request, self.hparams["varied"], generator)
        state = self.simulator.start(request)
        before, best = self.simulator.exam(state, request.targets)
        open_ = before < best
        if not bool(open_.any()):
            open_ = torch.ones_like(open_)
        request, state = request.select(open_), tuple(part[open_] for part in state)
        self.net.eval()
        sampled = self.net.sample(request, self.group_size, self.hparams["temperature"], generator)
        self.net.train()
        followed = self._follow(request, sampled.path, self.group_size, state)
        rewards = {cast(Objective, objective).name: objective(followed) for objective in self.objectives}
        reward_BKM = torch.stack(list(rewards.values()), -1).view(len(request), self.group_size, -1)
        advantage = self.advantage(reward_BKM).flatten()
        for _ in range(self.hparams["updates"]):
            log_prob, mask, entropy = self.net.log_prob(
                request, sampled.path, self.group_size, self.hparams["temperature"]
            )
            old = log_prob.detach() if self.hparams["updates"] == 1 else sampled.log_prob[:, : log_prob.shape[1]]
            low, high, level = (self.hparams[name] for name in ("clip_low", "clip_high", "ratio"))
            surrogate, clipped = clipped_surrogate(log_prob, old, advantage, mask, low, high, level)
            mean_entropy = (entropy * mask).sum() / mask.sum()
            loss = surrogate - self.hparams["entropy_weight"] * mean_entropy
            self._descend(loss)
        figures = {"loss": loss, "loss_policy": surrogate, "entropy": mean_entropy, "clip_fraction": clipped}
        figures |= {name: reward.mean() for name, reward in rewards.items()}
        self._log_train(figures | {"path_length": followed.length.float().mean()}, len(request))
        return {"request": request, "rollout": followed}

    def _follow(self, request: PathRequest, path: Tensor, group_size: int = 1, state: Any = None) -> Rollout:
        early_stop = bool(getattr(self.simulator, "early_stop", False))
        return rollout(self.simulator, request, path, group_size, early_stop, state)

    def _descend(self, loss: Tensor) -> None:
        optimizer = cast(Any, self.optimizers())
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, self.hparams["max_grad_norm"], "norm")
        optimizer.step()

    def _generator(self, batch_idx: int) -> torch.Generator:
        """Return random numbers of this step and rank alone: a resumed run draws what an uninterrupted one would."""
        step = (self.current_epoch * 100_003 + batch_idx) * self.trainer.world_size + self.trainer.global_rank
        return torch.Generator(self.device).manual_seed(self._seed * 1_000_003 + step)

    def _evaluate(self, request: PathRequest, stage: str, metrics: RolloutMetrics) -> dict[str, Any]:
        followed = self._follow(request, self(request))
        metrics.update(followed)
        for objective in self.objectives:
            if cast(Objective, objective).name == "zpd":
                figure = objective(followed).mean()
                self.log(f"{stage}/zpd", figure, on_epoch=True, batch_size=len(request), sync_dist=True)
        return {"request": request, "rollout": followed}

    def _report(self, stage: str, metrics: RolloutMetrics) -> None:
        figures = metrics.compute()
        metrics.reset()
        for name, value in figures.items():
            shown = stage == "val" and name == "learning_effect"
            self.log(f"{stage}/{name}", value, prog_bar=shown, sync_dist=True)
        zpd = self.trainer.callback_metrics.get(f"{stage}/zpd", torch.tensor(0.0))
        point = torch.stack(
            [figures[name].cpu() for name in ("learning_effect", "length_score", "path_diversity")] + [zpd.cpu()]
        )[[0, 3, 1, 2]]
        volume = hypervolume(point[None], REFERENCE)
        self.log(f"{stage}/hypervolume", volume.to(self.device), sync_dist=True)

    def _log_train(self, figures: dict[str, Tensor], batch_size: int) -> None:
        shown = {"loss", "learning_effect"}
        for name, value in figures.items():
            self.log(f"train/{name}", value, prog_bar=name in shown, batch_size=batch_size)
