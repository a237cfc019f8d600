"""What may be recommended: concepts at large, or the questions of a bank."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from lightning.pytorch.core.mixins.hparams_mixin import HyperparametersMixin
from torch import Tensor, nn
from torch.nn import functional as F

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.hparams import arguments
from lpr_lightning.protocols import LearnerData
from lpr_lightning.types import PAD, Exercise


class ActionSet(HyperparametersMixin, nn.Module, ABC):
    """Base class of what may be recommended, numbered from 0.

    An agent that acts by vectors gives the actions theirs (`embed`), and takes the action nearest to a vector. They
    stay in checkpoints.

    >>> actions = ConceptActions(3)
    >>> actions.embed(torch.eye(3))
    >>> actions.nearest(torch.tensor([[0.1, 2.0, 1.0]]), k=2)
    tensor([[1, 2]])
    """

    vectors: Tensor | None
    _unit: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("vectors", None)
        self.register_buffer("_unit", None, persistent=False)

    @property
    def connected(self) -> bool:
        """Whether what is needed of the data is there."""
        return True

    def connect(self, data: LearnerData) -> None:
        """Take from the data what is needed beyond sizes; nothing here."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of actions."""

    @abstractmethod
    def at(self, action: Tensor) -> Exercise:
        """Return the exercises of actions [...] int64; nothing is asked where an action is -1."""

    def embed(self, vectors: Tensor) -> None:
        """Take the vectors of all actions, [A, D].

        Raises:
            SettingError: there are more or fewer, or one of them is zero or not finite.
        """
        if len(vectors) != len(self):
            raise SettingError("vectors", len(vectors), f"{len(self)} vectors, one for each action")
        if not bool((vectors.isfinite().all(1) & (vectors != 0).any(1)).all()):
            raise SettingError("vectors", "some that are zero or not finite", "vectors with a direction")
        self.vectors = vectors.detach().clone()
        self._unit = F.normalize(self.vectors, dim=1)

    @property
    def unit(self) -> Tensor:
        """The vectors of all actions at length 1, [A, D].

        Raises:
            SettingError: the actions have no vectors.
        """
        if self.vectors is None:
            raise SettingError("actions", type(self).__name__, "actions with vectors", "call embed(vectors) on them")
        if self._unit is None:
            self._unit = F.normalize(self.vectors, dim=1)
        return self._unit

    @property
    def length(self) -> Tensor:
        """The mean length of the vectors."""
        unit = self.unit
        return unit.new_ones(()) if self.vectors is None else self.vectors.norm(dim=1).mean()

    def nearest(self, vector: Tensor, k: int = 1, allowed: Tensor | None = None) -> Tensor:
        """Return the `k` actions of the largest cosine with vectors [..., D], largest first, [..., k] int64.

        All are compared, by one matrix product; of equal ones the first is taken where `k` is 1.

        Args:
            vector: of any length above 0, [..., D].
            k: how many.
            allowed: which actions may be taken, [..., A] bool; None allows all.

        Raises:
            SettingError: the actions have no vectors, fewer than `k` of them exist, or a vector is not finite.
        """
        unit = self.unit
        if not 1 <= k <= len(unit):
            raise SettingError("k", k, f"1 to {len(unit)}, the number of actions")
        if not bool(vector.isfinite().all()):
            raise SettingError("vector", "nan or inf", "finite numbers", "lower the learning rates of what made it")
        likeness = vector.detach().to(unit) @ unit.T
        if allowed is not None:
            likeness = likeness.masked_fill(~allowed, -torch.inf)
        return likeness.argmax(-1, keepdim=True) if k == 1 else likeness.topk(k, -1).indices

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: object) -> None:
        """Make room for the vectors as they were saved."""
        loaded = state_dict.get(prefix + "vectors")
        if loaded is not None:
            self.vectors, self._unit = loaded.new_empty(loaded.shape), None
        super()._load_from_state_dict(state_dict, prefix, *others)


class ConceptActions(ActionSet):
    """Every concept is an action of the same number.

    Args:
        num_concepts: number of concepts; the command line fills it in from the data.

    Raises:
        SettingError: `num_concepts` is missing or below 1.

    >>> ConceptActions(3).at(torch.tensor([2, -1])).concept
    tensor([[ 2],
            [-1]])
    """

    def __init__(self, num_concepts: int | None = None) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        self.num_concepts = checked("num_concepts", num_concepts, 1)

    def __len__(self) -> int:
        return self.num_concepts

    def at(self, action: Tensor) -> Exercise:
        """Return the exercises of actions [...] int64; nothing is asked where an action is -1."""
        return Exercise.of_concepts(action)


class QuestionActions(ActionSet):
    """Every question of the data is an action of the same number.

    Which questions are on which concepts comes by `connect`, and stays in checkpoints.

    Args:
        num_items: number of questions; the command line fills it in from the data.

    Raises:
        SettingError: `num_items` is missing or below 1, or other than that of the data.

    >>> bank = QuestionActions(2)
    >>> bank.item_concepts = torch.tensor([[0, 1], [1, -1]])
    >>> bank.at(torch.tensor([1, -1])).concept
    tensor([[ 1, -1],
            [-1, -1]])
    """

    item_concepts: Tensor

    def __init__(self, num_items: int | None = None) -> None:
        super().__init__()
        self.save_hyperparameters(arguments(locals()), logger=False)
        self.register_buffer("item_concepts", torch.full((checked("num_items", num_items, 1), 1), PAD))

    def __len__(self) -> int:
        return len(self.item_concepts)

    @property
    def connected(self) -> bool:
        """Whether the questions' concepts are known."""
        return bool((self.item_concepts >= 0).any())

    def connect(self, data: LearnerData) -> None:
        """Take from the data which questions are on which concepts."""
        if data.num_items != len(self):
            raise SettingError("num_items", len(self), f"{data.num_items}, as in the data")
        self.item_concepts = data.item_concepts.to(self.item_concepts)

    def at(self, action: Tensor) -> Exercise:
        """Return the exercises of actions [...] int64; nothing is asked where an action is -1."""
        concept = self.item_concepts[action.clamp_min(0)]
        return Exercise(concept.masked_fill(action[..., None] < 0, PAD), action)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: object) -> None:
        """Make room for the questions' concepts as they were saved."""
        loaded = state_dict.get(prefix + "item_concepts")
        if loaded is not None:
            self.item_concepts = self.item_concepts.new_empty(loaded.shape)
        super()._load_from_state_dict(state_dict, prefix, *others)
