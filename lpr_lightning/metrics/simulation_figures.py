"""How well a model of learners goes on by itself after prefixes of logs: the simulation task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lpr_lightning.draws import Draws
from lpr_lightning.functional.bootstrap import bootstrap_mean_interval, grouped_auc
from lpr_lightning.functional.masked_mean import masked_mean
from lpr_lightning.functional.open_loop import Steps
from lpr_lightning.functional.simulation import Simulated, Step, following, prefix_lengths, simulate
from lpr_lightning.functional.two_sample import sequence_features, told_apart
from lpr_lightning.metrics.answer_metrics import AnswerMetrics
from lpr_lightning.metrics.log_figures import Figures
from lpr_lightning.types import InteractionBatch, Interactions, State

KINDS: dict[str, tuple[Step, bool]] = {
    "hard": ("practise", False),
    "sampled": ("practise", True),
    "observed": ("observe", False),
}
"""Which call is told of own answers, and whether they are drawn: likelier ones or drawn ones as steps of an episode,
and likelier ones read as if the learner had given them."""
SEED, SHORTEST, ROWS = 53, 10, 256
"""Of drawn answers; answers that a sequence of the two-sample test has at least; learners simulated at once."""


@dataclass(frozen=True)
class SimulationFigures:
    """What is measured of the answers that a model simulates after a share of each log.

    Args:
        ratios: shares of a log that are read before.
        steps: horizons whose AUC is reported.
        kinds: names of `KINDS`.
        resamples: of the bootstraps over learners.
        most: most answers that are simulated for a learner; None for all that the log holds.

    >>> SimulationFigures().ratios[0]
    0.2
    """

    ratios: Sequence[float] = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    steps: Sequence[int] = (1, 5, 10, 20)
    kinds: Sequence[str] = tuple(KINDS)
    resamples: int = 200
    most: int | None = None

    def compute(
        self, model: Steps, encode: Callable[[InteractionBatch], State], log: Interactions, rate: Tensor
    ) -> Figures:
        """Return the figures of a model on whole logs, each as `<kind>_<ratio>_<name>`.

        `auc` (with its interval, `auc_low` and `auc_high`), `accuracy`, `ece` and `brier` are of all simulated answers;
        `auc_step_<k>` of the k-th one, of those learners who have as many as the largest k; `score_error` the mean over
        learners of |share of right simulated answers - share of right real ones|, `score_bias` the mean of the
        difference; `told_apart` the AUC of the two-sample test (`functional.two_sample`), about 0.5 where simulated
        sequences look as real ones.

        Args:
            model: observes, practises and predicts.
            encode: the state after histories.
            log: of learners that the model has not seen.
            rate: of right answers to each question, as training learners gave them, [Q].
        """
        found: Figures = {}
        for ratio in self.ratios:
            for kind in self.kinds:
                simulated, before = self.simulated(model, encode, log, ratio, kind)
                for name, value in self.of(simulated, before, rate).items():
                    found[f"{kind}_{ratio:g}_{name}"] = value
        return found

    def simulated(
        self, model: Steps, encode: Callable[[InteractionBatch], State], log: Interactions, ratio: float, kind: str
    ) -> tuple[Simulated, Tensor]:
        """Return simulated answers after a share of each log, and each learner's share of right ones before, [B]."""
        step, drawn = KINDS[kind]
        parts, shares = [], []
        width = int((log.lengths - prefix_lengths(log.lengths, ratio)).max()) if log.num_learners else 0
        width = width if self.most is None else min(width, self.most)
        for rows in log.lengths.argsort(descending=True, stable=True).split(ROWS):  # type: ignore[no-untyped-call]
            batch = log.batch(rows)
            seen = prefix_lengths(batch.lengths, ratio)
            history, ahead = batch.first(seen), following(batch, seen, self.most).padded(width, batch.concept.shape[2])
            draws = Draws.of(SEED, 0, batch.learner) if drawn else None
            parts.append(simulate(model, encode(history), ahead, seen, draws, step))
            shares.append(masked_mean(history.correct, history.mask, 1))
        return Simulated.join(parts), torch.cat(shares)

    def of(self, found: Simulated, before: Tensor, rate: Tensor) -> Figures:
        """Return the figures of simulated answers; see `compute`."""
        mask, learner = found.mask, found.learner[:, None].expand_as(found.mask)
        metrics = AnswerMetrics()
        metrics.update(found.probability, found.correct, mask)
        figures: Figures = {name: float(value) for name, value in metrics.compute().items()}
        auc = grouped_auc(found.probability[mask], found.correct[mask], learner[mask], self.resamples)
        figures |= dict(zip(("auc", "auc_low", "auc_high"), auc, strict=True))
        long = mask.sum(1) >= max(self.steps)
        for step in self.steps if bool(long.any()) else ():
            at = found.probability[long, step - 1], found.correct[long, step - 1], found.learner[long]
            figures[f"auc_step_{step}"] = grouped_auc(*at, resamples=0)[0]
        own, real = (masked_mean(one, mask, 1) for one in (found.answer, found.correct))
        error, some = (own - real).abs()[mask.any(1)], mask.any(1)
        low, high = bootstrap_mean_interval(error, self.resamples, 0)
        figures |= {"score_error": float(error.mean()), "score_error_low": float(low), "score_error_high": float(high)}
        figures["score_bias"] = float((own - real)[some].mean())
        return figures | {"told_apart": self._told_apart(found, before, rate), "answers": float(mask.sum())}

    def _told_apart(self, found: Simulated, before: Tensor, rate: Tensor) -> float:
        rows = found.mask.sum(1) >= SHORTEST
        if int(rows.sum()) < SHORTEST:
            return float("nan")
        found, before = found.select(rows), before[rows]
        known = (found.item >= 0) & (found.item < len(rate))
        of_question = torch.where(known, rate[torch.where(known, found.item, 0)], 0.5)
        features = [
            sequence_features(answer, of_question, found.concept[..., 0], before, found.mask)
            for answer in (found.correct, found.answer)
        ]
        score = told_apart(*features)
        side = torch.arange(2).repeat_interleave(len(before))
        return grouped_auc(score, side, torch.arange(len(before)).repeat(2), resamples=0)[0]
