"""Checks of somebody's own classes against the rules that this package counts on."""

from __future__ import annotations

from lpr_lightning.checks.method import check_method
from lpr_lightning.checks.policy import check_policy
from lpr_lightning.checks.rules import BrokenRule
from lpr_lightning.checks.simulator import check_simulator
from lpr_lightning.checks.tracer import check_tracer

__all__ = ["BrokenRule", "check_method", "check_policy", "check_simulator", "check_tracer"]
