"""Episodes kept on the device, to learn from again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.utilities.distributed import gather_all_tensors

from lpr_lightning.draws import Draws
from lpr_lightning.errors import SettingError, checked, checked_share
from lpr_lightning.functional.returns import n_step_return
from lpr_lightning.ranks import rank_and_world
from lpr_lightning.types import PAD, State, TensorData

LEAST = 1e-6
"""Added to errors, so that every step keeps some priority."""


@dataclass(frozen=True)
class Episodes(TensorData):
    """What is learned from E episodes of up to L steps; each state stands there once.

    `once`: what the encoder needs of an episode, [E, ...] each; `steps`: of each state, [E, L + 1, ...]; `goals`
    [E, G, N] bool, the goal's concepts, G = 1 where they stay the same, else L + 1; `action` [E, L] int64, -1 behind
    the end; `reward` [E, L]; `limit` [E] int64, the most steps; `row` [E] int64, the requests' rows; `vector`
    [E, L, D] of agents that act in the questions' space, else [E, L, 0].
    """

    once: State
    steps: State
    goals: Tensor
    action: Tensor
    reward: Tensor
    limit: Tensor
    row: Tensor
    vector: Tensor

    def __len__(self) -> int:
        return len(self.limit)

    @property
    def length(self) -> Tensor:
        """Steps of each episode, [E] int64."""
        return (self.action != PAD).sum(1)

    def gathered(self) -> Episodes:
        """Return the episodes of all ranks, by the rows of their requests; every rank must call it."""
        if rank_and_world()[1] > 1:
            parts = {name: joined(gather_all_tensors(one.contiguous())) for name, one in named(self).items()}
            episodes = rebuilt(parts)
        else:
            episodes = self
        return episodes.select(episodes.row.argsort(stable=True))


class Transitions(NamedTuple):
    """Steps drawn from a `Replay`, R rows.

    `episode` and `place` say which; `end` is the place n steps later, or the episode's end; `reward` is the n-step
    return up to there, and `discount` what the value of the state there counts (0 behind the end); `action` [R] int64;
    `vector` [R, D]; `weight` corrects for priorities, 1 without.
    """

    episode: Tensor
    place: Tensor
    end: Tensor
    reward: Tensor
    discount: Tensor
    action: Tensor
    vector: Tensor
    weight: Tensor


class Replay:
    """A ring of the latest episodes on the module's device, the same on every rank.

    Each state is stored once, whatever the n of n-step returns; flags are stored as bits, actions as numbers. Ranks add
    the episodes of all of them and draw equal places, of which each takes its share: a checkpoint fits any number of
    processes. `state_dict` holds what is filled.

    Args:
        capacity: episodes kept; the oldest make room.
        priority: exponent of a step's priority, from 0 (all alike) to 1 (Schaul et al. 2016, arXiv 1511.05952).

    Raises:
        SettingError: an argument is out of its range, or (when drawing) nothing is there.
    """

    def __init__(self, capacity: int, priority: float = 0.0) -> None:
        self.capacity, self.priority = checked("capacity", capacity, 1), checked_share("priority", priority)
        self.filled, self.next = 0, 0
        self._kept: Episodes | None = None
        self._chance = torch.zeros(0, 0)

    def __len__(self) -> int:
        return self.filled

    @property
    def episodes(self) -> Episodes:
        """The ring, flags packed (`goals_at` unpacks them); rows from `len` on are empty."""
        if self._kept is None:
            raise SettingError("replay", 0, "episodes", "add some before drawing")
        return self._kept

    @property
    def nbytes(self) -> int:
        """Bytes that the ring takes."""
        return sum(one.nbytes for one in named(self.episodes).values())

    def add(self, episodes: Episodes) -> None:
        """Add the episodes of all ranks; every rank must call it. New steps get the highest priority so far."""
        new = packed(episodes.gathered())
        new = new.select(torch.arange(len(new), device=new.limit.device)[-self.capacity :])
        if not len(new):
            return
        self._make_room(new)
        place = (torch.arange(len(new), device=new.limit.device) + self.next) % self.capacity
        old = named(self.episodes)
        for name, one in named(new).items():
            old[name][place] = padded(one, old[name].shape[1:])
        highest = self._chance.max().clamp_min(0.0)
        highest = torch.where(highest > 0, highest, torch.ones_like(highest))
        steps = torch.arange(self._chance.shape[1], device=place.device) < new.length[:, None]
        self._chance[place] = highest * steps
        self.next = (self.next + len(new)) % self.capacity
        self.filled = min(self.filled + len(new), self.capacity)

    def draw(
        self, count: int, draws: Draws, steps: int = 1, discount: float = 1.0, correction: float = 0.0
    ) -> Transitions:
        """Return this rank's share of `count` steps, drawn by priority.

        Args:
            count: of all ranks together.
            draws: of `count` rows, the same on every rank.
            steps: n of the n-step returns.
            discount: of rewards.
            correction: exponent of the weights that correct for priorities, from 0 to 1.
        """
        episodes, width = self.episodes, self._chance.shape[1]
        chance = self._chance[: self.filled].flatten().double()
        reached = chance.cumsum(0)
        point = draws.uniform().double() * reached[-1]
        flat = torch.searchsorted(reached, point, right=True)
        last = (chance > 0).nonzero()[-1, 0]
        flat = flat.minimum(last)
        share = chance[flat] / reached[-1]
        weight = (share * (chance > 0).sum()) ** -correction
        weight = (weight / weight.max()).float()
        rank, world = rank_and_world()
        flat, weight = flat[rank::world], weight[rank::world]
        episode, place = flat // width, flat % width
        action = episodes.action[episode]
        length = (action != PAD).sum(1)
        reward, end, left = n_step_return(episodes.reward[episode], length, place, steps, discount)
        chosen = action.gather(1, place[:, None]).squeeze(1).long()
        vector = episodes.vector[episode, place]
        return Transitions(episode, place, end, reward, left, chosen, vector, weight)

    def judge(self, episode: Tensor, place: Tensor, error: Tensor) -> None:
        """Set the priorities of the steps of all ranks by their absolute errors [R]; every rank must call it."""
        chance = (error.detach().abs().float() + LEAST) ** self.priority
        if rank_and_world()[1] > 1:
            episode, place, chance = (torch.cat(gather_all_tensors(one)) for one in (episode, place, chance))
        self._chance[episode, place] = chance

    def to(self, device: torch.device | str) -> None:
        """Move the ring."""
        if self._kept is not None:
            self._kept, self._chance = self._kept.to(device), self._chance.to(device)

    def state_dict(self) -> dict[str, object]:
        """Return what is filled, as plain values and tensors on the CPU."""
        if self._kept is None:
            return {}
        parts = {name: one[: self.filled].cpu() for name, one in named(self._kept).items()}
        chance = self._chance[: self.filled].cpu()
        return {"filled": self.filled, "next": self.next, "chance": chance, "episodes": parts}

    def load_state_dict(self, state: Mapping[str, object], device: torch.device | str = "cpu") -> None:
        """Take what `state_dict` gave.

        Raises:
            SettingError: it is of a ring with more room.
        """
        filled, following, chance, parts = (state.get(name) for name in ("filled", "next", "chance", "episodes"))
        if not isinstance(parts, Mapping) or not isinstance(chance, Tensor):
            return
        if not isinstance(filled, int) or not isinstance(following, int) or filled > self.capacity:
            raise SettingError("capacity", self.capacity, f"at least {filled}, the episodes of the checkpoint")
        tensors = {str(name): one.to(device) for name, one in parts.items() if isinstance(one, Tensor)}
        self._kept, self._chance = None, torch.zeros(0, 0)
        self._make_room(rebuilt(tensors))
        for name, one in named(self.episodes).items():
            one[:filled] = tensors[name]
        self._chance[:filled] = chance.to(device)
        self.filled = filled
        self.next = following if filled == self.capacity else filled % self.capacity

    def _make_room(self, like: Episodes) -> None:
        """Make a ring for such episodes, or widen it where they are longer than those before."""
        new, old = named(like), {} if self._kept is None else named(self._kept)
        device = like.limit.device
        room = {name: max_shape(one, old.get(name)) for name, one in new.items()}
        if not old or any(room[name] != old[name].shape[1:] for name in room):
            wide = {name: new[name].new_full((self.capacity, *shape), fill(new[name])) for name, shape in room.items()}
            for name, one in old.items():
                wide[name][tuple(slice(size) for size in one.shape)] = one
            self._kept = rebuilt(wide)
            chance = torch.zeros(self.capacity, wide["action"].shape[1], device=device)
            chance[: len(self._chance), : self._chance.shape[1]] = self._chance
            self._chance = chance


def named(episodes: Episodes) -> dict[str, Tensor]:
    """Return the tensors of episodes by name; those of a tuple are numbered."""
    found: dict[str, Tensor] = {}
    for field in fields(episodes):
        value = vars(episodes)[field.name]
        if isinstance(value, Tensor):
            found[field.name] = value
        else:
            found |= {f"{field.name}_{number}": part for number, part in enumerate(value)}
    return found


def rebuilt(tensors: Mapping[str, Tensor]) -> Episodes:
    """Return episodes of tensors that `named` gave."""

    def numbered(name: str) -> State:
        count = sum(key.startswith(f"{name}_") for key in tensors)
        return tuple(tensors[f"{name}_{number}"] for number in range(count))

    single = {field.name: tensors[field.name] for field in fields(Episodes) if field.name in tensors}
    return Episodes(once=numbered("once"), steps=numbered("steps"), **single)


def fill(one: Tensor) -> int:
    """Return what stands in unused places: -1 among signed whole numbers, else 0."""
    return PAD if one.dtype in (torch.int16, torch.int32, torch.int64) else 0


def max_shape(one: Tensor, other: Tensor | None) -> tuple[int, ...]:
    """Return the larger of two shapes along each axis but the first."""
    return tuple(map(max, one.shape[1:], one.shape[1:] if other is None else other.shape[1:]))


def padded(one: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a tensor whose axes but the first are padded at their ends to `shape`."""
    missing = [size - own for size, own in zip(shape, one.shape[1:], strict=True)]
    return F.pad(one, [pad for size in reversed(missing) for pad in (0, size)], value=fill(one))


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return the rows of tensors one after another, the smaller ones padded at the end of each axis."""
    shape = [max(sizes) for sizes in zip(*(one.shape[1:] for one in parts), strict=True)]
    return torch.cat([padded(one, shape) for one in parts])


def packed(episodes: Episodes) -> Episodes:
    """Return episodes with eight of the goals' flags a byte and actions as int32."""
    return replace(episodes, goals=packed_bits(episodes.goals), action=episodes.action.to(torch.int32))


def packed_bits(flags: Tensor) -> Tensor:
    """Return flags [..., N] bool as bytes [..., ceil(N / 8)] uint8.

    >>> packed_bits(torch.tensor([True, False, True])), unpacked_bits(packed_bits(torch.tensor([True, False, True])), 3)
    (tensor([5], dtype=torch.uint8), tensor([ True, False,  True]))
    """
    flags = F.pad(flags.to(torch.uint8), (0, -flags.shape[-1] % 8))
    flags = flags.view(*flags.shape[:-1], -1, 8)
    return (flags << torch.arange(8, dtype=torch.uint8, device=flags.device)).sum(-1, dtype=torch.uint8)


def unpacked_bits(packed: Tensor, count: int) -> Tensor:
    """Return the first `count` flags [..., N] bool of bytes [..., ceil(N / 8)]."""
    bits = packed[..., None] >> torch.arange(8, dtype=torch.uint8, device=packed.device)
    return (bits & 1).flatten(-2)[..., :count].bool()
