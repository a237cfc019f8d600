"""Demonstrations: the best paths that searches and teachers find for training requests, found once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import pad

from lpr_lightning.cache import atomic_write, cache_root, fingerprint
from lpr_lightning.errors import SettingError, checked
from lpr_lightning.hparams import built_each, plain
from lpr_lightning.policies.beam import GreedySearch
from lpr_lightning.policies.genetic import GeneticSearch
from lpr_lightning.policies.plain import RandomPaths
from lpr_lightning.policies.search import FoundPaths, Search
from lpr_lightning.policies.teacher import Teacher
from lpr_lightning.protocols import Environment, Examples, LearnerData
from lpr_lightning.ranks import gathered, rank_and_world
from lpr_lightning.types import PAD, PathRequest

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 5
CHUNK = 64
"""Requests searched between two updates of the progress bar."""
Source = Literal["random", "teacher", "genetic", "hybrid"]
"""Where demonstrations come from (section 4.1): random paths, teachers, searches, or these and teachers where they fall
short."""


@dataclass(frozen=True)
class Demonstrations:
    """Lets searches and teachers look for paths of every training request (section 4.1 of arXiv 2601.14686).

    Every rank searches for its share on its own device; all get the paths of all. Paths are stored in a file named by
    everything that they depend on, so that a second run finds them there; beside it a table (parquet) has each path
    with its request, its source and its effect.

    Differs from the paper, which takes a genetic search and teachers where that falls short (`source="hybrid"`):
    without a `source`, paths come from `searches`, by default a greedy one and a small genetic one that starts from it.

    Args:
        searches: whose paths are put together; None for the usual ones; with a `source` a `GeneticSearch`.
        source: `random` paths alone, the `teacher`s', the searches' (`genetic`), or `hybrid`: the searches', and those
            of teachers for requests whose best path found is below `enough`. None takes the searches, and no teacher.
        teachers: policies whose paths are taken.
        enough: learning effect of a search's best path at which no teacher is asked.
        paths_per_search: best distinct paths kept from each search.
        cache_dir: folder of the files; default: the cache folder of the package.
        announce: show a progress bar and the result.

    Raises:
        SettingError: an empty list of searches, an unknown source, teachers without a source that asks them or the
            other way round, or a number out of range.
    """

    searches: list[Search] | None = None
    paths_per_search: int = 2
    cache_dir: str | None = None
    announce: bool = True
    source: Source | None = None
    teachers: list[Teacher] = field(default_factory=list)
    enough: float = 0.5

    def __post_init__(self) -> None:
        if self.searches is not None:
            object.__setattr__(self, "searches", built_each(self.searches, Search))
            if not self.searches:
                raise SettingError("searches", [], "at least one search, or null for the usual ones")
        checked("paths_per_search", self.paths_per_search, 1)
        object.__setattr__(self, "teachers", built_each(self.teachers, Teacher))
        if self.source is not None and self.source not in get_args(Source):
            raise SettingError("source", self.source, f"null or one of {', '.join(get_args(Source))}")
        if bool(self.teachers) != (self.source in ("teacher", "hybrid")):
            allowed = "at least one with source teacher or hybrid, none otherwise"
            raise SettingError("teachers", len(self.teachers), allowed)
        if self.searches is not None and self.source in ("random", "teacher"):
            raise SettingError("searches", len(self.searches), f"null, since source={self.source} uses none")

    @property
    def first(self) -> list[Search | Teacher]:
        """What is asked for paths of every request."""
        usual: list[Search] = [GreedySearch(), GeneticSearch(population=24, generations=8, seeded_by_greedy=True)]
        match self.source:
            case "random":
                return [Teacher(RandomPaths(), samples=0)]
            case "teacher":
                return [*self.teachers]
            case None:
                return [*(self.searches or usual)]
            case _:
                return [*(self.searches or [GeneticSearch()])]

    @property
    def used(self) -> list[Search | Teacher]:
        """The searches and teachers that demonstrations come from, in the order of their paths."""
        return [*self.first, *(self.teachers if self.source == "hybrid" else [])]

    @property
    def sources(self) -> list[str]:
        """The name of the source of each of a request's paths."""
        return [one.name for one in self.used for _ in range(self.paths_per_search)]

    def connect(self, data: LearnerData) -> None:
        """Let searches and teachers take from the data what they need."""
        for search in self.used:
            search.connect(data)

    def find(self, environment: Environment, examples: Examples, data: object, device: torch.device) -> FoundPaths:
        """Return the demonstrations of all requests, `path` [E, D, L] and `effect` [E, D], on the CPU.

        A missing demonstration is an empty path whose effect is minus infinity. Every rank must call it.

        Args:
            environment: the model of the learners, and the goal.
            examples: the requests.
            data: what else they depend on, JSON-able.
            device: where the simulator is.

        Raises:
            SettingError: the examples are no requests for paths, or there are none.
        """
        if not len(examples.sizes):
            raise SettingError("data.task", 0, "a task with requests", "no training learner is eligible")
        if not isinstance(first := examples.batch(torch.tensor([0])), PathRequest):
            allowed = "a task that makes requests, such as PathRequests"
            raise SettingError("data.task", type(first).__name__, allowed)
        simulator = environment.simulator
        weights = simulator.state_dict() if isinstance(simulator, nn.Module) else {}
        used = [plain([one.samples, one.seed] if isinstance(one, Teacher) else one) for one in self.used]
        taught = [fingerprint(one.weights(), plain(one.policy)) for one in self.used if isinstance(one, Teacher)]
        limit = self.enough if self.source == "hybrid" else None
        described = [plain(simulator), plain(environment.goal), used, taught, limit, self.paths_per_search, data]
        folder = (Path(self.cache_dir) if self.cache_dir else cache_root()) / "demonstrations"
        file = folder / f"{fingerprint(FORMAT, weights, described)}.safetensors"
        found = self._load(file)
        if bool(gathered(torch.tensor([found is None]), device).any()):
            found = self._search(environment, examples, device)
            self._save(file, found)
        if found is None:
            raise SettingError("demonstrations", str(file), "a file that all processes can read")
        self._say(found, file)
        return found

    def _search(self, environment: Environment, examples: Examples, device: torch.device) -> FoundPaths:
        """Search for this rank's share; return the paths of all ranks in the order of the requests."""
        rank, world = rank_and_world()
        order = examples.sizes.argsort(stable=True)
        share = order[rank::world]
        parts: list[FoundPaths] = []
        with self._progress() as progress:
            task = progress.add_task("searching for demonstrations", total=len(order))
            for index in torch.split(share, CHUNK):
                request = examples.batch(index).to(device)
                if isinstance(request, PathRequest):
                    parts.append(self._found(environment, request))
                progress.update(task, advance=world * len(index))
        longest = int(gathered(torch.tensor([max((p.path.shape[2] for p in parts), default=0)]), device).max())
        width = len(self.used) * self.paths_per_search
        path, effect = share.new_full((0, width, longest), PAD), torch.empty(0, width)
        path = torch.cat([path, *(pad(p.path, (0, longest - p.path.shape[2]), value=PAD).cpu() for p in parts)])
        effect = torch.cat([effect, *(p.effect.cpu() for p in parts)])
        back = gathered(share, device).argsort()
        return FoundPaths(gathered(path, device)[back], gathered(effect, device)[back])

    def _found(self, environment: Environment, request: PathRequest) -> FoundPaths:
        """Return the paths of some requests, those of each source in places of its own."""
        count = self.paths_per_search
        found = [_widened(one.search(environment, request, count), count) for one in self.first]
        for teacher in self.teachers if self.source == "hybrid" else []:
            short = (torch.cat([one.effect for one in found], 1).amax(1) < self.enough).nonzero().squeeze(1)
            path, effect = torch.full_like(found[0].path, PAD), torch.full_like(found[0].effect, -torch.inf)
            if len(short):
                taught = _widened(teacher.search(environment, request.select(short), count), count)
                path = pad(path, (0, max(taught.path.shape[2] - path.shape[2], 0)), value=PAD)
                path[short, :, : taught.path.shape[2]] = taught.path
                effect[short] = taught.effect
            found.append(FoundPaths(path, effect))
        return _merged(found)

    def _load(self, file: Path) -> FoundPaths | None:
        try:
            tensors = load_file(file) if file.exists() else {}
        except (SafetensorError, OSError):
            return None
        return FoundPaths(tensors["path"], tensors["effect"]) if {"path", "effect"} <= set(tensors) else None

    @rank_zero_only
    def _save(self, file: Path, found: FoundPaths) -> None:
        with atomic_write(file) as temporary:
            save_file({"path": found.path.contiguous(), "effect": found.effect.contiguous()}, temporary)
        with atomic_write(file.with_suffix(".parquet")) as temporary:
            table(found, self.sources).to_parquet(temporary, index=False)

    def _progress(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        hidden = not self.announce or rank_and_world()[0] > 0
        console = Console(stderr=True)
        return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=hidden)

    @rank_zero_only
    def _say(self, found: FoundPaths, file: Path) -> None:
        if self.announce:
            best = found.effect.max(1).values
            Console(stderr=True, highlight=False).print(
                f"demonstrations: {int((found.effect > -torch.inf).sum())} paths for {len(best)} requests, "
                f"best learning effect {best[best > -torch.inf].mean():.3f} ({file.name})",
                soft_wrap=True,
            )


def table(found: FoundPaths, sources: Sequence[str]) -> pd.DataFrame:
    """Return demonstrations one a row: request, source, learning effect, length, path.

    >>> found = FoundPaths(torch.tensor([[[1, 0], [-1, -1]]]), torch.tensor([[0.5, -torch.inf]]))
    >>> table(found, ["genetic", "CSEAL"]).values.tolist()
    [[0, 'genetic', 0.5, 2, [1, 0]]]
    """
    import pandas as pd

    there = (found.effect > -torch.inf).nonzero()
    paths = [[step for step in row if step != PAD] for row in found.path[there[:, 0], there[:, 1]].tolist()]
    return pd.DataFrame(
        {
            "request": there[:, 0].tolist(),
            "source": [sources[place] for place in there[:, 1].tolist()],
            "effect": found.effect[there[:, 0], there[:, 1]].tolist(),
            "length": [len(path) for path in paths],
            "path": paths,
        }
    )


def _widened(found: FoundPaths, count: int) -> FoundPaths:
    """Return the paths with room for `count` of each request."""
    more = count - found.effect.shape[1]
    return FoundPaths(pad(found.path, (0, 0, 0, more), value=PAD), pad(found.effect, (0, more), value=-torch.inf))


def _merged(found: list[FoundPaths]) -> FoundPaths:
    """Put the paths of several searches side by side; of equal paths only the first keeps its place."""
    longest = max(one.path.shape[2] for one in found)
    path = torch.cat([pad(one.path, (0, longest - one.path.shape[2]), value=PAD) for one in found], 1)
    effect = torch.cat([one.effect for one in found], 1)
    same = (path[:, :, None] == path[:, None]).all(3).tril(-1).any(2)
    return FoundPaths(path.masked_fill(same[..., None], PAD), effect.masked_fill(same, -torch.inf))
