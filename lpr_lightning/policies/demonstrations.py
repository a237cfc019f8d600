"""Demonstrations: the best paths that searches find for training requests, found once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
from lpr_lightning.policies.search import FoundPaths, Search
from lpr_lightning.protocols import Environment, Examples, LearnerData
from lpr_lightning.ranks import gathered, rank_and_world
from lpr_lightning.types import PAD, PathRequest

FORMAT = 4
CHUNK = 64
"""Requests searched between two updates of the progress bar."""


@dataclass(frozen=True)
class Demonstrations:
    """Lets searches look for paths of every training request (section 4.1 of arXiv 2601.14686).

    Every rank searches for its share on its own device; all get the paths of all. Paths are stored in a file named by
    everything that they depend on, so that a second run finds them there.

    Differs from the paper, which takes a genetic search and teacher policies: the usual searches are a greedy one and
    a small genetic one that starts from it.

    Args:
        searches: whose paths are put together; None for the usual ones.
        paths_per_search: best distinct paths kept from each search.
        cache_dir: folder of the files; default: the cache folder of the package.
        announce: show a progress bar and the result.

    Raises:
        SettingError: an empty list of searches, or a number out of range.
    """

    searches: list[Search] | None = None
    paths_per_search: int = 2
    cache_dir: str | None = None
    announce: bool = True

    def __post_init__(self) -> None:
        if self.searches is not None:
            object.__setattr__(self, "searches", built_each(self.searches, Search))
            if not self.searches:
                raise SettingError("searches", [], "at least one search, or null for the usual ones")
        checked("paths_per_search", self.paths_per_search, 1)

    @property
    def used(self) -> list[Search]:
        """The searches that demonstrations come from."""
        usual: list[Search] = [GreedySearch(), GeneticSearch(population=24, generations=8, seeded_by_greedy=True)]
        return self.searches or usual

    def connect(self, data: LearnerData) -> None:
        """Let the searches take from the data what they need."""
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
        described = [plain(simulator), plain(environment.goal), plain(self.used), self.paths_per_search, data]
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
                    found = [one.search(environment, request, self.paths_per_search) for one in self.used]
                    parts.append(_merged(found))
                progress.update(task, advance=world * len(index))
        longest = int(gathered(torch.tensor([max((p.path.shape[2] for p in parts), default=0)]), device).max())
        width = len(self.used) * self.paths_per_search
        path, effect = share.new_full((0, width, longest), PAD), torch.empty(0, width)
        path = torch.cat([path, *(pad(p.path, (0, longest - p.path.shape[2]), value=PAD).cpu() for p in parts)])
        effect = torch.cat([effect, *(p.effect.cpu() for p in parts)])
        back = gathered(share, device).argsort()
        return FoundPaths(gathered(path, device)[back], gathered(effect, device)[back])

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


def _merged(found: list[FoundPaths]) -> FoundPaths:
    """Put the paths of several searches side by side; of equal paths only the first keeps its place."""
    longest = max(one.path.shape[2] for one in found)
    path = torch.cat([pad(one.path, (0, longest - one.path.shape[2]), value=PAD) for one in found], 1)
    effect = torch.cat([one.effect for one in found], 1)
    same = (path[:, :, None] == path[:, None]).all(3).tril(-1).any(2)
    return FoundPaths(path.masked_fill(same[..., None], PAD), effect.masked_fill(same, -torch.inf))
