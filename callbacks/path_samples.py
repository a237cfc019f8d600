"""Readable tables of sample paths."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch import LightningModule, Trainer

from lpr_lightning.callbacks.chosen_learners import concept_names, first_paths, name_of, title
from lpr_lightning.callbacks.evaluation import RolloutCallback, Stage
from lpr_lightning.callbacks.pictures import add_text
from lpr_lightning.errors import checked
from lpr_lightning.functional.learning_effect import learning_effect, learning_effect_defined
from lpr_lightning.types import PathRequest, Rollout


class PathSamples(RolloutCallback):
    """Writes the paths of the first few requests to TensorBoard, as the texts `val/paths` and `test/paths`.

    Each table names the concepts step by step, with the success probability before the answer, the answer, and
    whether a concept is one of the goal's. The first path of each group is shown; it is the same learners at every
    epoch as long as the data come in the same order. Names come from `trainer.datamodule.concept_names` where present.

    Args:
        samples: number of requests.
        stages: evaluation stages to look at.
        every_n_epochs: while fitting, write only at every n-th epoch.

    Raises:
        SettingError: an argument is out of its range.
    """

    def __init__(self, samples: int = 4, stages: Sequence[Stage] = ("val", "test"), every_n_epochs: int = 1) -> None:
        super().__init__(stages, every_n_epochs)
        self.samples = checked("samples", samples, 1)
        self._rollouts: list[Rollout] = []

    def begin(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the last evaluation's paths."""
        self._rollouts = []

    def take(
        self, trainer: Trainer, pl_module: LightningModule, stage: str, rollout: Rollout, request: PathRequest | None
    ) -> None:
        """Collect the first paths on rank zero."""
        if trainer.is_global_zero:
            paths = first_paths(rollout, self.samples - len(self._rollouts))
            self._rollouts += [path.to("cpu") for path in paths]

    def show(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write."""
        names = concept_names(trainer)
        add_text(trainer, f"{stage}/paths", "\n\n---\n\n".join(path_table(path, names) for path in self._rollouts))


def path_table(rollout: Rollout, names: Sequence[str]) -> str:
    """Return the path of a rollout's first row as a markdown table under a headline."""
    before, after, maximum = (float(x[0]) for x in (rollout.score_before, rollout.score_after, rollout.score_max))
    effect = learning_effect(rollout.score_before, rollout.score_after, rollout.score_max)
    defined = learning_effect_defined(rollout.score_before, rollout.score_max)
    gained = f"**E_p = {float(effect[0]):.2f}**" if defined[0] else "E_p undefined, nothing was left to learn"
    steps, wanted = int(rollout.length[0]), int(rollout.wanted_length[0])
    lines = [
        f"**{title(int(rollout.learner[0]))}**: exam E_s = {before:.3g} before, E_e = {after:.3g} after, "
        f"of {maximum:.3g}; {gained}; {steps} steps, {wanted} wanted",
        "",
        "| step | concept | predicted success | answer | target |",
        "|---:|:---|---:|:---:|:---:|",
    ]
    for step in rollout.mask[0].nonzero().squeeze(1).tolist():
        concepts = [concept for concept in rollout.concept[0, step].tolist() if concept >= 0]
        name = "; ".join(name_of(concept, names) for concept in concepts).replace("|", "\\|").replace("\n", " ")
        chance, answer = float(rollout.predicted[0, step]), answer_text(float(rollout.response[0, step]))
        target = "yes" if any(rollout.targets[0, concept] for concept in concepts) else ""
        lines.append(f"| {step + 1} | {name} | {chance:.2f} | {answer} | {target} |")
    return "\n".join(lines)


def answer_text(response: float) -> str:
    """Return an answer in words, or as a number where the simulator answers softly.

    >>> answer_text(1.0), answer_text(0.0), answer_text(0.625)
    ('right', 'wrong', '0.62')
    """
    return {1.0: "right", 0.0: "wrong"}.get(response, f"{response:.2f}")
