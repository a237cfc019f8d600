"""The methods under conformance, the flags that make each of them small, and what they do not fulfil yet."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
EPOCHS, BATCHES = 3, 4
WATCHED = int(os.environ.get("LPR_CONFORMANCE_STEPS", 48))
"""Batches of a run whose memory is watched."""

SMALL = (
    f"--trainer.max_epochs={EPOCHS}",
    f"--trainer.limit_train_batches={BATCHES}",
    "--trainer.log_every_n_steps=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--data.batch_size=8",
)
"""Flags that make every method small."""

LEARNERS = (
    "--data.num_learners=80",
    "--data.num_concepts=10",
    "--data.answers=[20,40]",
)
"""Flags that make the learners few."""


@dataclass(frozen=True)
class Case:
    """A configuration in `configs/` and what the suite must be told about its method.

    `small` are further flags that make it small; `copies` are prefixes of parameters without gradient that follow
    trained ones by design, such as target networks; `on_small_files` are flags for data sets of a few learners;
    `watched` are the batches of a run whose memory is watched, a multiple of 8, enough for what fills up once;
    `folder` is where the configuration lies.
    """

    name: str
    small: list[str] = field(default_factory=list)
    copies: tuple[str, ...] = ()
    on_small_files: tuple[str, ...] = ()
    watched: int = WATCHED
    folder: Path = CONFIGS

    @property
    def config(self) -> Path:
        """The configuration's file."""
        return self.folder / f"{self.name}.yaml"

    @property
    def words(self) -> list[str]:
        """The words of a small run after the subcommand."""
        return ["--config", str(self.config), *SMALL, *LEARNERS, *self.small]

    @property
    def words_without_data(self) -> list[str]:
        """The same, for other learners than those of the configuration; overlays come before the flags."""
        return ["--config", str(self.config), *SMALL, *self.small]


TRACER = CONFIGS / "tracer" / "performance_factors.yaml"
"""The quickest one to fit first."""

FURTHER = (
    "{ahead: {class_path: GoalsAhead, init_args: {"
    f"tracer: {TRACER}, quantile: 0.3, requests: {{class_path: PathRequests, "
    "init_args: {length: 4, min_distinct: 3, min_targets: 1, train_cuts: 1}}}}}"
)
"""One further task of short paths."""

STEPS = [
    "--data.task.length=3",
    "--data.task.min_distinct=3",
    "--data.task.min_targets=1",
    "--data.task.train_cuts=1",
    "--model.net.hidden_size=8",
    "--model.net.rounds=1",
    "--trainer.callbacks=[{class_path: TrueEffect}, {class_path: PathWriter}]",
]
"""Flags that make agents small that choose step by step."""

REPLAYED = [
    *STEPS,
    "--model.replay.batch_size=16",
    "--model.replay.updates=2",
    "--model.replay.warm_up=1",
    "--model.learning_rate=1e-4",  # as below
]
"""And those that learn from a replay."""

PLAYED = [
    *STEPS,
    "--model.group_size=2",
    "--model.critic_learning_rate=1e-4",  # Adam turns rounding of gradients near 0 into steps of this size
]
"""And those that learn from what they have just played."""

VECTORS = [
    *[flag for flag in REPLAYED if not flag.startswith(("--model.net.", "--model.learning_rate"))],
    "--model.replay.capacity=64",
    "--model.actor.hidden_size=8",
    "--model.actor_rate=1e-4",
    "--model.critic_rate=1e-4",
]
"""And those that act by vectors."""

SMALLER = [
    Case("actor_critic", small=[*PLAYED, "--model.learning_rate=1e-4"]),
    Case(
        "c51",
        small=[*REPLAYED, "--model.atoms=5", "--model.target_every=2"],
        copies=("target.",),
    ),
    Case(
        "calibrated_dkt",
        small=[
            "--model.embedding_size=8",
            "--model.hidden_size=8",
            "--model.head_size=8",
            "--model.calibration_epochs=1",
        ],
        copies=("calibration.frozen.",),
        watched=max(WATCHED, 192),
    ),
    Case("ddpg", small=[*VECTORS, "--model.actor.up_size=8"], copies=("target",)),
    Case("discrete_sac", small=REPLAYED, copies=("targets.",)),
    Case("dqn", small=[*REPLAYED, "--model.target_every=2"], copies=("target.",)),
    Case("dkt", small=["--model.embedding_size=8", "--model.hidden_size=8"]),
    Case(
        "grpo",
        small=[
            "--data.task.length=4",
            "--data.task.min_distinct=3",
            "--data.task.min_targets=1",
            "--data.task.train_cuts=1",
            f"--data.further_tasks={FURTHER}",
            "--model.demonstrations.announce=false",
            "--model.demonstrations.searches=[{class_path: GreedySearch}]",
            "--model.clone_epochs=1",
            "--model.group_size=4",
            "--model.backbone.hidden_size=8",
            "--model.clone_learning_rate=1e-4",  # Adam turns rounding of gradients near 0 into steps of this size
            "--model.learning_rate=1e-4",
        ],
    ),
    Case(
        "multitask_lstm",
        small=[
            "--data.task.history_length=4",
            "--data.task.length=3",
            "--data.task.train_stride=2",  # an even number of windows: two processes would share an odd one
            "--model.embedding_size=8",
            "--model.hidden_size=8",
        ],
    ),
    Case("neural_growth", small=["--model.embedding_size=8", "--model.hidden_size=8"]),
    Case("ppo", small=[*PLAYED, "--model.passes=2", "--model.learning_rate=1e-4"]),
    Case("performance_factors", small=["--model.iterations=1"]),
    Case(
        "rainbow",
        small=[*REPLAYED, "--model.atoms=5", "--model.target_every=2"],
        copies=("target.",),
    ),
    Case(
        "trpo",
        small=[*PLAYED, "--model.critic_steps=1", "--model.gradient_steps=3", "--model.max_divergence=1e-4"],
    ),
    Case("sac", small=[*VECTORS, "--model.critic.hidden_size=8", "--model.critic.up_size=8"], copies=("target",)),
    Case("sac_mve", small=VECTORS, copies=("target",)),
    Case("simple_kt", small=["--model.width=8", "--model.num_heads=2", "--model.num_layers=1"]),
    Case("state_space", small=["--model.iterations=1", "--model.factors=2"]),
    Case("td3", small=[*VECTORS, "--model.actor.up_size=8"], copies=("target",)),
]
_BY_NAME = {case.name: case for case in SMALLER}
METHODS = [_BY_NAME.get(path.stem, Case(path.stem)) for path in sorted(CONFIGS.glob("*.yaml"))]
"""Every configuration of a method; one without a line in `SMALLER` runs with the common flags alone."""

GAPS: dict[tuple[str, str], str] = {}
"""Why a method does not pass a check yet, by the method's and the check's name."""
