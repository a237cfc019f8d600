"""Short names of public classes, read from what the packages offer; none of their modules is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import lpr_lightning

PACKAGES = (
    "annotation",
    "bases",
    "callbacks",
    "datamodules",
    "goals",
    "models",
    "nets",
    "objectives",
    "policies",
    "simulators",
    "tasks",
)
"""The packages of lpr_lightning whose public classes have short names."""
_PARTS = {
    "ConceptScorer": "nets.concept_scorer",
    "ConceptTokens": "nets.backbones.prompts",
    "HuggingFace": "nets.backbones.hugging_face",
    "TextPrompt": "nets.backbones.prompts",
    "Demonstrations": "policies.demonstrations",
    "LocalModel": "annotation.local_model",
    "SmallQwen2": "nets.path_decoder",
    "Teacher": "policies.teacher",
}
"""Parts that configurations name and packages do not offer."""


@cache
def short_names() -> dict[str, str]:
    """Return the full path of each public class by its name.

    >>> short_names()["DKT"], short_names()["Agent"]
    ('lpr_lightning.models.dkt.DKT', 'lpr_lightning.bases.agent.Agent')
    """
    offered: dict[str, str] = {}
    for package in PACKAGES:
        offered.update(_offered(package))
    for name, module in (lpr_lightning._MODULES | _PARTS).items():
        if module.partition(".")[0] in PACKAGES:
            offered.setdefault(name, f"lpr_lightning.{module}.{name}")
    return {name: path for name, path in sorted(offered.items()) if name[0].isupper()}


def _offered(package: str) -> dict[str, str]:
    """Return the paths of what a package's `__init__.py` takes from its modules, by name."""
    file = Path(lpr_lightning.__file__).parent / package / "__init__.py"
    found = ast.parse(file.read_text(encoding="utf-8")).body
    froms = [node for node in found if isinstance(node, ast.ImportFrom) and node.module]
    own = [node for node in froms if str(node.module).startswith(f"lpr_lightning.{package}.")]
    return {one.name: f"{node.module}.{one.name}" for node in own for one in node.names}


@contextmanager
def understood() -> Iterator[None]:
    """Within the block, let the parser take a short name wherever it expects a class, and nowhere else."""
    from jsonargparse import _actions, _typehints

    name = "resolve_class_path_by_name"
    holders = [vars(module) for module in (_actions, _typehints) if name in vars(module)]
    before = [holder[name] for holder in holders]

    def resolve(cls: type | tuple[type, ...], given: str) -> str:
        path = short_names().get(given)
        return path if path is not None else str(before[0](cls, given))

    for holder in holders:
        holder[name] = resolve
    try:
        yield
    finally:
        for holder, old in zip(holders, before):
            holder[name] = old
