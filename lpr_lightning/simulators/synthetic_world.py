"""A small world of concepts, items and learners, all known: what there is to learn and who comes to learn it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOPICS = [
    "Fractions",
    "Equations",
    "Geometry",
    "Probability",
    "Functions",
    "Statistics",
    "Decimals",
    "Ratios",
    "Measurement",
    "Integers",
    "Sequences",
    "Vectors",
]
LEVELS = 5
"""Concepts of one topic, each a prerequisite of the next: deep enough for order to matter, shallow enough to climb."""
SPREAD = 1.2
"""Difficulty rises from -SPREAD to SPREAD along a topic: an average learner knows the first and not the last."""
CROSS = 0.3
"""Share of concepts that also need a concept of another topic, so that the graph is no bundle of chains."""


@dataclass(frozen=True)
class World:
    """What is true. Abilities and difficulties share one logit scale: equal ones mean even odds.

    `prerequisites` [E, 2] int64: (needed, needing); `topic`, `level` [N] int64; `difficulty` [N]; `item_concept` [Q]
    int64; `item_difficulty` [Q], with mean `difficulty` over a concept's items; `ability` [B, N], the learners' when
    they come; `names`, one for each concept.
    """

    prerequisites: Tensor
    topic: Tensor
    level: Tensor
    difficulty: Tensor
    item_concept: Tensor
    item_difficulty: Tensor
    ability: Tensor
    names: list[str]


def build_world(num_concepts: int, num_items: int, num_learners: int, seed: int, graph: bool = True) -> World:
    """Return the world of a seed; without a `graph` no concept needs another.

    >>> world = build_world(num_concepts=7, num_items=14, num_learners=2, seed=0)
    >>> world.names[:6], world.ability.shape
    (['Fractions 1', 'Fractions 2', 'Fractions 3', 'Fractions 4', 'Fractions 5', 'Equations 1'], torch.Size([2, 7]))
    """
    generator = torch.Generator().manual_seed(2 * seed)
    concept = torch.arange(num_concepts)
    topic, level = concept // LEVELS, concept % LEVELS
    prerequisites = _prerequisites(topic, level, generator) if graph else torch.empty(0, 2, dtype=torch.int64)
    height = 2 * level / (LEVELS - 1) - 1
    difficulty = SPREAD * height + 0.25 * torch.randn(num_concepts, generator=generator)
    item_concept = torch.arange(num_items) % num_concepts
    # Items of a concept differ by half a logit: enough that items matter, less than the concepts' own spread.
    offset = 0.5 * torch.randn(num_items, generator=generator)
    items = torch.bincount(item_concept, minlength=num_concepts)
    mean = torch.zeros(num_concepts).index_add(0, item_concept, offset) / items.clamp_min(1)
    return World(
        prerequisites=prerequisites,
        topic=topic,
        level=level,
        difficulty=difficulty,
        item_concept=item_concept,
        item_difficulty=difficulty[item_concept] + offset - mean[item_concept],
        ability=_abilities(num_learners, prerequisites, level, generator),
        names=[
            f"{TOPICS[t % len(TOPICS)]} {t // len(TOPICS) * LEVELS + n + 1}"
            for t, n in zip(topic.tolist(), level.tolist())
        ],
    )


def _prerequisites(topic: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Each concept needs the one below it in its topic; some also need one a level lower in another topic."""
    below = (level > 0).nonzero().squeeze(1)
    edges = [torch.stack([below - 1, below], 1)]
    crossing = torch.rand(len(level), generator=generator) < CROSS
    chosen = torch.rand(len(level), len(level), generator=generator)
    allowed = (level[:, None] == level - 1) & (topic[:, None] != topic)
    needed = chosen.masked_fill(~allowed, -1).argmax(0)
    needing = (crossing & allowed.any(0)).nonzero().squeeze(1)
    edges.append(torch.stack([needed[needing], needing], 1))
    return torch.cat(edges)


def _abilities(num_learners: int, prerequisites: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a general level for each learner, and a leaning for each concept that its prerequisites share."""
    general = 0.7 * torch.randn(num_learners, 1, generator=generator)
    own = 0.6 * torch.randn(num_learners, len(level), generator=generator)
    needs = torch.zeros(len(level), len(level)).index_put((prerequisites[:, 1], prerequisites[:, 0]), torch.ones(()))
    needs = needs / needs.sum(1, keepdim=True).clamp_min(1)
    leaning = own
    for height in range(1, LEVELS if len(prerequisites) else 1):
        # .6 of the prerequisites' leaning and .8 of one's own: the spread stays the same along a topic (.36 + .64 = 1).
        leaning = torch.where(level == height, 0.6 * (leaning @ needs.T) + 0.8 * own, leaning)
    return general + leaning
