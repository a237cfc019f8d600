"""A policy as a source of paths, beside searches."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from lpr_lightning.errors import SettingError, checked
from lpr_lightning.functional.learning_effect import learning_effect
from lpr_lightning.hparams import built, load_module
from lpr_lightning.policies.search import FoundPaths
from lpr_lightning.protocols import Connected, Environment, LearnerData, Policy
from lpr_lightning.simulators.rollout import request_draws, rollout
from lpr_lightning.types import PAD, PathRequest


@dataclass(frozen=True)
class Teacher:
    """Paths that a policy or a fitted agent takes: its likeliest one, and some that it samples.

    Args:
        teacher: the policy: an object, a checkpoint, or on the command line a configuration that is fitted first.
        samples: paths sampled for each request beside the likeliest one; the best are kept.
        seed: of the samples.

    Raises:
        SettingError: `samples` is below 0, or the checkpoint holds no policy.
    """

    teacher: Policy | str
    samples: int = 7
    seed: int = 0
    _loaded: list[Policy] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checked("samples", self.samples, 0)

    @property
    def policy(self) -> Policy:
        """The policy, read from its checkpoint the first time."""
        if not self._loaded:
            given = load_module(self.teacher) if isinstance(self.teacher, str) else built(self.teacher, Policy)
            if not isinstance(given, Policy):
                raise SettingError("teacher", str(self.teacher), "a policy, such as a fitted agent")
            if isinstance(given, nn.Module):
                given.eval()
            self._loaded.append(given)
        return self._loaded[0]

    @property
    def name(self) -> str:
        """Name of the source: the agent's class, or the policy's own name."""
        return type(self.policy).__name__ if isinstance(self.policy, nn.Module) else self.policy.name

    def weights(self) -> dict[str, Tensor]:
        """Return what the policy has learned."""
        return self.policy.state_dict() if isinstance(self.policy, nn.Module) else {}

    def connect(self, data: LearnerData) -> None:
        """Let a policy take from the data what it needs; an agent has taken it when it was fitted."""
        if isinstance(self.policy, Connected) and not isinstance(self.policy, nn.Module):
            self.policy.connect(data)

    @torch.no_grad()
    def search(self, environment: Environment, request: PathRequest, top: int = 1) -> FoundPaths:
        """Return up to `top` distinct paths of each request, best first, with the effect that they had."""
        simulator, goal, policy = *environment, self.policy
        if isinstance(policy, nn.Module):
            policy.to(request.row.device)
        draws = request_draws(self.seed, 0, request)
        taken = [rollout(simulator, goal, request, policy, draws)]
        if self.samples:
            taken.append(rollout(simulator, goal, request, policy, draws.at(1), self.samples, sample=True))
        longest = max(one.action.shape[1] for one in taken)
        path = [pad(one.action, (0, longest - one.action.shape[1]), value=PAD) for one in taken]
        effect = [learning_effect(one.score_before, one.score_after, one.score_max) for one in taken]
        every = torch.cat([one.view(len(request), -1, longest) for one in path], 1)
        reached = torch.cat([one.view(len(request), -1) for one in effect], 1)
        same = (every[:, :, None] == every[:, None]).all(3).tril(-1).any(2)
        reached = reached.masked_fill(same, -torch.inf)
        best = reached.topk(min(top, reached.shape[1]), 1)
        gone = (best.values == -torch.inf)[..., None]
        return FoundPaths(
            every.gather(1, best.indices[..., None].expand(-1, -1, longest)).masked_fill(gone, PAD), best.values
        )
