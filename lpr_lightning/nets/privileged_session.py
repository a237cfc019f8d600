"""The answers of a session beside the true mastery, for agents that learn to do without the latter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lpr_lightning.nets.action_nets import ConceptNetwork, Observation, Sizes
from lpr_lightning.nets.encoders import Encoder, Memory, Privileged, Session
from lpr_lightning.protocols import Environment, Simulator
from lpr_lightning.types import PathRequest, State

PARTS = 6
"""Tensors in the state of a `Session`."""


class PrivilegedSession(Encoder):
    """A `Session`, with a third channel: the `Privileged` mastery of each concept, 0 where `looks` is False.

    While it does not look, nothing is asked of the simulator's model of the learner.

    Args:
        session: how answers are read; default `Session()`.
    """

    channels = 3

    def __init__(self, session: Session | None = None) -> None:
        super().__init__()
        self.session, self.privileged, self.looks = session or Session(), Privileged(), True

    def configure(self, simulator: Simulator) -> None:
        """Take the sizes of both."""
        self.session.configure(simulator)
        self.privileged.configure(simulator)
        self.size = self.session.size + self.privileged.size

    def begin(self, environment: Environment, request: PathRequest) -> State:
        """Return the session's state, then the privileged one."""
        state = self.session.begin(environment, request)
        return (*state, *self.privileged.begin(environment, request)) if self.looks else state

    def see(self, environment: Environment, state: State, action: Tensor, correct: Tensor) -> State:
        """Return both after answers."""
        after = self.session.see(environment, state[:PARTS], action, correct)
        known = state[PARTS:]
        return (*after, *self.privileged.see(environment, known, action, correct)) if known else after

    def forward(self, state: State) -> Tensor:
        """Return the session's channels, the mastery, and the GRU's state."""
        session, known = self.session(state[:PARTS]), state[PARTS:]
        return self._joined(session, self.privileged(known) if known else None)

    def remember(self, states: State) -> Memory:
        """Keep the answers and the mastery."""
        once, steps = self.session.remember(states[:PARTS])
        return Memory(once, (*steps, *self.privileged.remember(states[PARTS:]).steps))

    def recall(self, memory: Memory, episode: Tensor, place: Tensor) -> Tensor:
        """Run the GRU over the answers again, and take the mastery as it was kept."""
        session = self.session.recall(Memory(memory.once, memory.steps[:2]), episode, place)
        known = memory.steps[2:]
        return self._joined(session, self.privileged.recall(Memory((), known), episode, place) if known else None)

    def _joined(self, session: Tensor, mastery: Tensor | None) -> Tensor:
        """Put the mastery behind the session's channels of concepts."""
        count, split = self.privileged.size, self.session.channels * self.privileged.size
        own = session.new_zeros(*session.shape[:-1], count) if mastery is None else mastery.to(session)
        return torch.cat([session[..., :split], own, session[..., split:]], -1)


class DistilledCodes(nn.Module):
    """Codes of each concept: z of the true mastery, and z' of the answers, which learns to be z.

    Both read what the goal counts and the steps left, with messages along prerequisites where the data have them.

    Args:
        settings: of both networks.
        sizes: of what a `PrivilegedSession` sees.
        code_size: numbers of each concept in a code.
    """

    def __init__(self, settings: ConceptNetwork, sizes: Sizes, code_size: int) -> None:
        super().__init__()
        count = self.count = sizes.concepts
        self.of_mastery = settings.build(Sizes(count, 1, count, count), code_size)
        self.of_answers = settings.build(Sizes(sizes.vector - count, Session.channels, count, count), code_size)
        self.sizes = sizes._replace(
            vector=sizes.vector + (code_size - 1) * count, channels=sizes.channels - 1 + code_size
        )

    def forward(self, seen: Observation, privileged: bool) -> Observation:
        """Return what is seen, with z or z' in the place of the mastery."""
        answers, _ = self._split(seen)
        code = (self.z(seen) if privileged else self.z_of_answers(seen)).transpose(-1, -2).flatten(-2)
        split = Session.channels * self.count
        return seen._replace(vector=torch.cat([answers[..., :split], code, answers[..., split:]], -1))

    def z(self, seen: Observation) -> Tensor:
        """Return the codes of the mastery, [..., N, code_size]."""
        code: Tensor = self.of_mastery(self._untaken(seen, self._split(seen)[1]))[0]
        return code

    def z_of_answers(self, seen: Observation) -> Tensor:
        """Return the codes of the answers, [..., N, code_size]."""
        code: Tensor = self.of_answers(self._untaken(seen, self._split(seen)[0]))[0]
        return code

    def distance(self, seen: Observation) -> Tensor:
        """Return the mean squared difference of z' from z, [...]; z is not moved by it."""
        return (self.z_of_answers(seen) - self.z(seen).detach()).square().mean((-1, -2))

    def _split(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """Return the session's vector, and the mastery."""
        first = Session.channels * self.count
        vector, last = seen.vector, first + self.count
        return torch.cat([vector[..., :first], vector[..., last:]], -1), vector[..., first:last]

    def _untaken(self, seen: Observation, vector: Tensor) -> Observation:
        """Return what codes are made of: actions need not be concepts, and are left out."""
        return seen._replace(vector=vector, taken=seen.taken[..., :0])
