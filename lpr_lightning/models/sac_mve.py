"""Soft actor-critic with a model-based critic: module 4 of ExRec."""

from __future__ import annotations

from lpr_lightning.models.sac import SAC
from lpr_lightning.nets.vector_critics import CriticSettings, ModelValue


class SACwithMVE(SAC):
    """Soft actor-critic whose critics read values off trainable copies of the tracer.

    Source: ExRec, Ozyurt et al. 2025, section 4.4, eq. 20 to 23.

    It is `SAC` with `critic=ModelValue()`: see there for the arguments, and `nets.vector_critics.ModelCritic` for the
    critic and where it differs from the paper and its code. `critic={class_path: ModelValue, init_args: {horizon: H}}`
    expands over H steps.
    """

    default_critic: CriticSettings = ModelValue()
