"""Making, keeping and finding again what a policy needs before it can learn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lpr_lightning.cache import atomic_write, cache_root, fingerprint
from lpr_lightning.demonstrations.beam import GreedySearch
from lpr_lightning.demonstrations.demonstrator import Demonstrator
from lpr_lightning.demonstrations.genetic import GeneticSearch
from lpr_lightning.errors import SettingError
from lpr_lightning.hparams import built, plain
from lpr_lightning.objectives.base import Objective
from lpr_lightning.preparation.tracer import fit_tracer
from lpr_lightning.simulators.rollout import rollout
from lpr_lightning.types import PAD, Examples, LearnerData, PathRequest, Rollout

FORMAT = 1


class Prepared(NamedTuple):
    """Demonstrations for each training request: `path` [E, D, L] int64 (-1 padded), `effect` [E, D] learning effect.

    A missing demonstration is an empty path whose effect is minus infinity.
    """

    path: Tensor
    effect: Tensor


@dataclass(frozen=True)
class Preparation:
    """Trains the simulator's tracer and searches for demonstrations, each once for the same data and settings.

    Both are kept in content-hashed files, so that a second run starts at once. The demonstrations (section 4.1 of
    arXiv 2601.14686) also show where the zone of proximal development lies (its section 3.2.2).

    Args:
        tracer_epochs: Most epochs for the tracer; 0 uses the tracer as it is.
        tracer_patience: Epochs without improvement on validation learners before training stops.
        tracer_batch_size: Windows of answers in a batch.
        demonstrators: Searches whose paths are put together; default a greedy one and a small genetic one that
            starts from it. The paper uses a genetic search and teacher policies.
        paths_per_search: Best distinct paths kept from each search.
        chunk: Requests searched between two updates of the progress bar.
        seed: Of the tracer's weights and batches.
        cache_dir: Where the files lie; default: the cache folder of the package.
        announce: Show progress bars and results.
    """

    tracer_epochs: int = 30
    tracer_patience: int = 4
    tracer_batch_size: int = 64
    demonstrators: list[Demonstrator] | None = None
    paths_per_search: int = 2
    chunk: int = 64
    seed: int = 0
    cache_dir: str | None = None
    announce: bool = True

    def __post_init__(self) -> None:
        if self.demonstrators is not None:
            object.__setattr__(self, "demonstrators", built(list(self.demonstrators)))
            if not self.demonstrators:
                raise SettingError("demonstrators", [], "at least one search, or null for the usual ones")
        for name, least in (
            ("tracer_epochs", 0),
            ("tracer_patience", 1),
            ("tracer_batch_size", 1),
            ("paths_per_search", 1),
            ("chunk", 1),
        ):
            if getattr(self, name) < least:
                raise SettingError(name, getattr(self, name), f"a whole number of at least {least}")

    @property
    def searches(self) -> list[Demonstrator]:
        """The searches that demonstrations come from."""
        usual: list[Demonstrator] = [
            GreedySearch(),
            GeneticSearch(population=24, generations=8, seeded_by_greedy=True),
        ]
        return self.demonstrators or usual

    def train_simulator(self, simulator: Any, data: LearnerData, accelerator: str = "cpu") -> None:
        """Train the simulator's tracer, or load the weights that the same training gave before."""
        tracer = getattr(simulator, "tracer", None)
        if self.tracer_epochs == 0 or tracer is None:
            return
        settings = [self.tracer_epochs, self.tracer_patience, self.tracer_batch_size, self.seed]
        path = self._folder("tracers") / f"{fingerprint(FORMAT, plain(tracer), data.fingerprint, settings)}.safetensors"
        found = _load(path)
        if found is None:
            with self._progress() as progress:
                task = progress.add_task("training the simulator", total=self.tracer_epochs)
                figure = fit_tracer(
                    tracer,
                    data,
                    self.tracer_epochs,
                    self.tracer_patience,
                    self.tracer_batch_size,
                    self.seed,
                    accelerator,
                    (progress, task),
                )
                progress.update(task, completed=self.tracer_epochs)
            _save(path, tracer.state_dict(), {"figure": f"{figure:.4f}"})
        weights, notes = _load(path) or ({}, {})
        tracer.load_state_dict(weights)
        self._say(f"simulator: {type(tracer).__name__}, {_monitor(tracer)} {notes.get('figure')} ({path.name})")

    def demonstrate(self, simulator: Any, objectives: Iterable[Objective], data: LearnerData) -> Prepared:
        """Search for demonstrations of every training request and fit the objectives, or load both.

        Raises:
            SettingError: If the data's task does not make requests for paths.
        """
        examples = data.batches("train", data.task, self.chunk, False, across_ranks=False).examples
        first = examples.batch(torch.arange(min(1, len(examples.sizes))))
        if not isinstance(first, PathRequest):
            raise SettingError("data.task", type(data.task).__name__, "a task that makes requests", "use PathRequests")
        if not len(examples.sizes):
            raise SettingError("data.task", plain(data.task), "a task with requests", "no training learner is eligible")
        objectives = list(objectives)
        key = fingerprint(
            FORMAT,
            simulator.state_dict() if isinstance(simulator, nn.Module) else {},
            [plain(simulator), plain(objectives), plain(self.searches), plain(data.task)],
            [self.paths_per_search, data.fingerprint],
        )
        path = self._folder("demonstrations") / f"{key}.safetensors"
        if _load(path) is None:
            found = self._search(simulator, examples)
            self._fit_objectives(simulator, objectives, examples, found, data)
            fitted = {f"{o.name}.{name}": value for o in objectives for name, value in o.state_dict().items()}
            _save(path, {"path": found.path, "effect": found.effect, **fitted}, {})
        tensors, _ = _load(path) or ({}, {})
        for objective in objectives:
            prefix = f"{objective.name}."
            objective.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        effect = tensors["effect"]
        best = effect.max(1).values
        self._say(
            f"demonstrations: {int((effect > -torch.inf).sum())} paths for {len(best)} requests, "
            f"best learning effect {best[best > -torch.inf].mean():.3f} ({path.name})"
        )
        return Prepared(tensors["path"], effect)

    def _search(self, simulator: Any, examples: Examples) -> Prepared:
        paths, effects = [], []
        order = examples.sizes.argsort(stable=True)
        with self._progress() as progress:
            task = progress.add_task("searching for demonstrations", total=len(order))
            for index in torch.split(order, self.chunk):
                request = examples.batch(index)
                found = [one.search(request, simulator, self.paths_per_search) for one in self.searches]
                path, effect = _merge([one.path for one in found], [one.score for one in found])
                paths.append(path)
                effects.append(effect)
                progress.update(task, advance=len(index))
        longest = max(path.shape[2] for path in paths)
        paths = [nn.functional.pad(path, (0, longest - path.shape[2]), value=PAD) for path in paths]
        back = order.argsort()
        return Prepared(torch.cat(paths)[back].cpu(), torch.cat(effects)[back].cpu())

    def _fit_objectives(
        self, simulator: Any, objectives: list[Objective], examples: Examples, found: Prepared, data: LearnerData
    ) -> None:
        log = data.interactions("train")
        followed: list[Rollout] = []
        for index in torch.split(torch.arange(len(found.path)), 4 * self.chunk):
            request, path = examples.batch(index), found.path[index]
            followed.append(rollout(simulator, request, path.flatten(0, 1), path.shape[1]))
        everything = Rollout.join(followed)
        for objective in objectives:
            objective.fit(log)
            objective.fit_paths(everything)

    def _folder(self, kind: str) -> Path:
        return (Path(self.cache_dir) if self.cache_dir else cache_root()) / kind

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self.announce,
        )

    def _say(self, text: str) -> None:
        if self.announce:
            Console(stderr=True, highlight=False).print(text, soft_wrap=True)


def _merge(paths: list[Tensor], effects: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Put the paths of several searches side by side; of equal paths only the first keeps its place."""
    longest = max(path.shape[2] for path in paths)
    path = torch.cat([nn.functional.pad(one, (0, longest - one.shape[2]), value=PAD) for one in paths], 1)
    effect = torch.cat(effects, 1)
    same = (path[:, :, None] == path[:, None]).all(3).tril(-1).any(2)
    return path.masked_fill(same[..., None], PAD), effect.masked_fill(same, -torch.inf)


def _monitor(tracer: LightningModule) -> str:
    return str(getattr(tracer, "monitor", ("figure",))[0])


def _save(path: Path, tensors: dict[str, Tensor], notes: dict[str, str]) -> None:
    with atomic_write(path) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary, notes)


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Return the tensors and notes of a file; None where it is absent or damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            return {name: file.get_tensor(name).clone() for name in names}, file.metadata() or {}
    except (SafetensorError, OSError):
        path.unlink(missing_ok=True)
        return None
