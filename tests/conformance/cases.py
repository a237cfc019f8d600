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

    `small` are further flags that make it small, in which `{configs}` is the folder of the configurations; `copies` are
    prefixes of parameters without gradient that follow trained ones by design, such as target networks;
    `on_small_files` are flags for data sets of a few learners; `watched` are the batches of a run whose memory is
    watched, a multiple of 8, enough for what fills up once; `folder` is where the configuration lies.
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

    def words(self, folder: Path) -> list[str]:
        """Return the words of a small run after the subcommand, with the configuration of this name in `folder`."""
        return [*self._begin(folder), *LEARNERS, *self._small(folder)]

    def words_without_data(self, folder: Path) -> list[str]:
        """Return them for other learners than those of the configuration; overlays come before the flags."""
        return [*self._begin(folder), *self._small(folder)]

    def _begin(self, folder: Path) -> list[str]:
        return ["--config", str(folder / self.config.name), *SMALL]

    def _small(self, folder: Path) -> list[str]:
        return [flag.replace("{configs}", str(folder)) for flag in self.small]


TRACER = "{configs}/tracer/performance_factors.yaml"
"""The quickest one to fit first."""

FURTHER = (
    "{ahead: {class_path: GoalsAhead, init_args: {"
    f"tracer: {TRACER}, "
    "quantile: 0.3, requests: {class_path: PathRequests, "
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
    "--model.actor_rate=1e-4",
    "--model.critic_rate=1e-4",
    "--model.replay.capacity=64",
    "--model.actor.hidden_size=8",
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
    Case(
        "cseal",
        small=[*PLAYED, "--model.learning_rate=1e-4", "--model.encoder.hidden_size=8"],
        watched=max(WATCHED, 64),  # at 48 the batch held at the end has the longer histories
    ),
    Case("ddpg", small=[*VECTORS, "--model.actor.up_size=8"], copies=("target",)),
    Case("discrete_sac", small=REPLAYED, copies=("targets.",)),
    Case("dqn", small=[*REPLAYED, "--model.target_every=2"], copies=("target.",)),
    Case(
        "contrastive",
        small=[
            "--data.split=[0.68,0.12,0.2]",  # 34 to train on: two processes would see one of an odd number twice
            "--model.encoder.width=16",
            "--model.encoder.layers=1",
            "--model.encoder.heads=2",
            "--model.encoder.feed_forward=32",
            "--model.encoder.vocabulary=200",
        ],
    ),
    Case("dkt", small=["--model.embedding_size=8", "--model.hidden_size=8"]),
    Case(
        "gepksd",
        small=[
            *PLAYED,
            "--model.learning_rate=1e-4",
            "--model.encoder.hidden_size=8",
            "--model.teacher_epochs=1",
        ],
        watched=max(WATCHED, 64),  # as for cseal
    ),
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
        "grpo_text",
        small=[
            "--data.task.length=3",
            "--data.task.min_distinct=3",
            "--data.task.min_targets=1",
            "--data.task.train_cuts=1",
            "--model.demonstrations.announce=false",
            "--model.demonstrations.searches=[{class_path: GreedySearch}]",
            "--model.clone_epochs=1",
            "--model.group_size=4",
            "--model.backbone.small.hidden_size=16",
            "--model.backbone.small.num_layers=1",
            "--model.backbone.small.num_heads=2",
            "--model.backbone.small.vocabulary_size=400",
            "--model.backbone.prompt.history_length=2",
            "--model.backbone.prompt.list_concepts=false",
            "--model.backbone.max_length=4",
            "--model.clone_learning_rate=1e-4",  # as for grpo
            "--model.learning_rate=1e-4",
        ],
    ),
    Case(
        "ldsim",
        small=[
            "--model.embedding_size=8",
            "--model.hidden_size=8",
            "--model.head_size=8",
            "--model.window_length=4",
            "--model.moments=2",
            "--model.warm_up_epochs=1",
        ],
        copies=("teacher.",),
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
    Case("sac", small=[*VECTORS, "--model.critic.hidden_size=8", "--model.critic.up_size=8"], copies=("target",)),
    Case("sac_mve", small=VECTORS, copies=("target",)),
    Case(
        "trpo",
        small=[*PLAYED, "--model.critic_steps=1", "--model.gradient_steps=3", "--model.max_divergence=1e-4"],
    ),
    Case("simple_kt", small=["--model.width=8", "--model.num_heads=2", "--model.num_layers=1"]),
    Case("state_space", small=["--model.iterations=1", "--model.factors=2"]),
    Case("td3", small=[*VECTORS, "--model.actor.up_size=8"], copies=("target",)),
]
_BY_NAME = {case.name: case for case in SMALLER}
WITHOUT_MODEL = ("annotate",)
"""Configurations of other subcommands, which train nothing; tests/annotation runs them."""
METHODS = [
    _BY_NAME.get(path.stem, Case(path.stem))
    for path in sorted(CONFIGS.glob("*.yaml"))
    if path.stem not in WITHOUT_MODEL
]
"""Every configuration of a method; one without a line in `SMALLER` runs with the common flags alone."""

AGENTS = (
    *("actor_critic", "c51", "cseal", "ddpg", "discrete_sac", "dqn", "gepksd"),
    *("ppo", "rainbow", "sac", "sac_mve", "td3", "trpo"),
)
"""The agents that choose step by step."""

GAPS: dict[tuple[str, str], str] = {
    **{
        ("contrastive", f"it_trains_on_{name}"): "the data set has no question texts; it refuses and says so"
        for name in ("assist09", "csv", "junyi", "xes3g5m")
    },
    ("contrastive", "everyone_who_asks_is_answered"): "it gives questions vectors, not learners paths",
}
"""Why a method does not pass a check yet, by the method's and the check's name."""
