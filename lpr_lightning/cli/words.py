"""The words of a command line, sorted before anything is parsed: configuration files, checkpoint, allowed packages."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lpr_lightning.errors import MissingFileError, SettingError

_CLASS_PATH = re.compile(r"""(class_path["']?\s*:\s*["']?)([A-Za-z_]\w*)(?=["']?\s*(?:[,}#\n]|$))""")

_NESTED = ("--model", "--trainer", "--data.task")


@dataclass(frozen=True)
class Words:
    """What a command line says.

    `configs` are the configuration files in order, `flags` all other words in order, without `--config`,
    `--ckpt_path` and `--allow_package`.

    >>> words = Words.parse(["test", "--data.seed", "3", "--ckpt_path=a.ckpt", "--allow_package", "mine"])
    >>> words.subcommand, words.flags, words.ckpt_path, words.packages
    ('test', ['--data.seed', '3'], 'a.ckpt', ['mine'])
    """

    subcommand: str
    configs: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    ckpt_path: str | None = None
    packages: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, words: list[str]) -> Words:
        """Sort the words after the program's name; the first is the subcommand."""
        taken: dict[str, list[str]] = {"--config": [], "--ckpt_path": [], "--allow_package": []}
        flags: list[str] = []
        rest = iter(words[1:])
        for word in rest:
            name, equals, value = word.partition("=")
            name = "--config" if name == "-c" else name
            if name in taken:
                taken[name].append(value if equals else next(rest, ""))
                if not taken[name][-1]:
                    raise SettingError(name, "", "a value after it")
            else:
                flags.append(word)
        ckpt_paths = taken["--ckpt_path"]
        return cls(words[0], taken["--config"], flags, ckpt_paths[-1] if ckpt_paths else None, taken["--allow_package"])

    def names(self, key: str) -> bool:
        """Return whether a flag sets `key` itself, as in `--model DKT` or `--model.class_path=DKT`."""
        wanted = (f"--{key}", f"--{key}.class_path")
        return any(word.partition("=")[0] in wanted for word in self.flags)


def read_config(name: str) -> str:
    """Return the text of a configuration file."""
    path = Path(name)
    if not path.is_file():
        near = sorted(one.name for one in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        found = f"; that folder holds {', '.join(near)}" if near else ""
        raise MissingFileError(path.name, path.parent, f"give --config the path of a yaml file{found}")
    return path.read_text(encoding="utf-8")


def settings(texts: list[str]) -> dict[str, Any]:
    """Return configurations laid over one another as one plain dictionary.

    >>> settings(["a: {b: 1, c: 2}", "a: {b: 3}"])
    {'a': {'b': 3, 'c': 2}}
    """
    merged: dict[str, Any] = {}
    for text in texts:
        try:
            read = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SettingError("config", text[:60], "a yaml file", str(error).replace("\n", " ")) from error
        _lay(merged, read if isinstance(read, dict) else {})
    return merged


def _lay(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _lay(below[key], value)
        else:
            below[key] = value


def expand_text(text: str, paths: dict[str, str]) -> str:
    """Return a configuration's text with every short `class_path` written in full.

    >>> expand_text("{class_path: DKT, n: DKT}", {"DKT": "lpr_lightning.DKT"})
    '{class_path: lpr_lightning.DKT, n: DKT}'
    """
    return _CLASS_PATH.sub(lambda match: match[1] + paths.get(match[2], match[2]), text)


def expand_flags(flags: list[str], paths: dict[str, str]) -> list[str]:
    """Return flags with short class names written in full where a nested object is set.

    >>> expand_flags(["--model.simulator", "KES", "--data.root=KES"], {"KES": "lpr_lightning.KES"})
    ['--model.simulator', 'lpr_lightning.KES', '--data.root=KES']
    """
    expanded: list[str] = []
    for word in flags:
        name, equals, value = word.partition("=")
        before = expanded[-1] if expanded else ""
        if equals and name.startswith(_NESTED):
            word = f"{name}={paths.get(value, value)}"
        elif not equals and before.startswith(_NESTED) and "=" not in before:
            word = paths.get(word, word)
        expanded.append(word)
    return expanded
