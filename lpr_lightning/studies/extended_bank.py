"""What questions are worth that a tracer knows by their vectors alone (ExRec, figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lpr_lightning.cache import fingerprint
from lpr_lightning.cli.names import short_names
from lpr_lightning.cli.parsing import Settings, merged, read_config
from lpr_lightning.protocols import Connected
from lpr_lightning.simulators.actions import ActionSet
from lpr_lightning.simulators.chosen_questions import ChosenQuestions
from lpr_lightning.simulators.kes import KESSimulator
from lpr_lightning.studies.exercise_methods import ConfiguredMethod, bank_of, replaced
from lpr_lightning.studies.exercise_study import Judge, Method
from lpr_lightning.studies.tracer_fits import FitFolder, Fitted
from lpr_lightning.tasks.known_items import known_items

SHARE, SEED = 1 / 3, 0
"""Of the questions that are known, and of their choice: the whole bank is three times as large."""


@dataclass(frozen=True)
class ExtendedBank:
    """Two tracers over question vectors, one of which never saw an answer to two thirds of the questions.

    `part` is that one; `whole` saw answers to all questions, and says what the new ones are worth.
    """

    fits: FitFolder
    part: Fitted
    whole: Fitted

    @classmethod
    def fitted(cls, fits: FitFolder, config: Path, vectors: Path) -> ExtendedBank:
        """Fit both tracers of a configuration, or find them.

        Args:
            fits: where they are fitted, and on what data.
            config: of a tracer with the argument `embeddings`, such as CalibratedDKT.
            vectors: file of question vectors.
        """
        own: Settings = {"model": {"init_args": {"embeddings": str(vectors.resolve())}}}
        every = merged([read_config(str(config), short_names()), own])
        key = fingerprint(list(vectors.read_bytes()))
        whole = fits.fit_settings(f"{config.stem}_all", every, [key])
        known: Settings = {"class_path": "lpr_lightning.tasks.known_items.KnownItems"}
        known["init_args"] = {"task": _task(every), "share": SHARE, "seed": SEED}
        few = replaced(every, "data", {"task": known})
        return cls(fits, fits.fit_settings(f"{config.stem}_known", few, [key]), whole)

    def banks(self) -> dict[str, ActionSet]:
        """Return the known questions, and all, as actions."""
        data = self.fits.data
        known = known_items(torch.arange(data.num_items), SHARE, SEED).nonzero().flatten()
        few = ChosenQuestions(known.tolist(), data.num_items)
        few.connect(data)
        return {"known": few, "extended": bank_of(data)}

    def judges(self, bank: str) -> list[Judge]:
        """Return both tracers as learners who are asked the questions of a bank: first that which methods look into."""
        found = []
        for one in (self.part, self.whole):
            if isinstance(one.tracer, Connected):
                one.tracer.connect(self.fits.data)
            simulator = KESSimulator(one.tracer, response="bernoulli", actions=self.banks()[bank])
            found.append(Judge(one.name, f"{one.key} {bank}", simulator))
        return found

    def methods(self, files: Sequence[Sequence[Path]], bank: str) -> dict[str, Method]:
        """Return rules and searches over a bank, by name; agents, each trained on one bank, are left out."""
        first = self.judges(bank)[0]
        found = {}
        for one in [ConfiguredMethod.read(*paths) for paths in files]:
            if not one.learns and not one.real:
                found[f"{one.name}, {bank}"] = one.untrained(first.simulator, first.key)
        return found


def _task(settings: Settings) -> Settings:
    """Return the task of settings."""
    data = settings.get("data")
    arguments = data.get("init_args") if isinstance(data, dict) else None
    task = arguments.get("task") if isinstance(arguments, dict) else None
    return dict(task) if isinstance(task, dict) else {"class_path": "lpr_lightning.tasks.next_answers.NextAnswers"}
