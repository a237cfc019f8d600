"""Command-line arguments and configuration files, read before anything is parsed; a parser whose errors are short."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from lpr_lightning import hparams
from lpr_lightning.errors import LPRError, MissingFileError, SettingError
from lpr_lightning.hparams import Plain

Settings = dict[str, Plain]

CONFIGS, CHECKPOINT = (".yaml", ".yml"), ".ckpt"
TRACER = "tracer"
FITTED = (TRACER, "teacher")
"""The arguments, at any depth of a model's or a task's, that may be the path of a checkpoint or a configuration."""
_NOISE = re.compile(
    r"^\s*(- )?(Does not validate against any|Subtypes:|Errors:|Given value|Expected a path but"
    r"|Expected a <class 'NoneType'>)"
)


@dataclass(frozen=True)
class CommandLine:
    """The arguments of a command line, sorted.

    `configs` are the configuration files in order, `flags` all other arguments in order, without `--config`,
    `--ckpt_path` and `--allow_package`.

    >>> line = CommandLine.parse(["test", "--data.seed", "3", "--ckpt_path=a.ckpt", "--allow_package", "mine"])
    >>> line.subcommand, line.flags, line.ckpt_path, line.packages
    ('test', ['--data.seed', '3'], 'a.ckpt', ['mine'])
    >>> CommandLine.parse(["fit", "--data.separator=~", "--data.concept_separator", "#"]).flags
    ['--data.separator="~"', '--data.concept_separator', '"#"']
    """

    subcommand: str
    configs: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    ckpt_path: str | None = None
    packages: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, arguments: list[str]) -> CommandLine:
        """Sort the arguments after the program's name; the first is the subcommand."""
        taken: dict[str, list[str]] = {"--config": [], "--ckpt_path": [], "--allow_package": []}
        flags: list[str] = []
        rest = iter(arguments[1:])
        for argument in rest:
            name, equals, value = argument.partition("=")
            name = "--config" if name == "-c" else name
            if name in taken:
                taken[name].append(value if equals else next(rest, ""))
                if not taken[name][-1]:
                    raise SettingError(name, "", "a value after it")
            else:
                flags.append(_as_typed(argument, flags[-1] if flags else ""))
        paths, packages = taken["--ckpt_path"], taken["--allow_package"]
        return cls(arguments[0], taken["--config"], flags, paths[-1] if paths else None, packages)

    def value(self, *keys: str) -> str | None:
        """Return the last value that a flag gives to one of the dotted `keys`.

        >>> CommandLine.parse(["fit", "--model", "DKT", "--data.seed=3"]).value("model", "model.class_path")
        'DKT'
        """
        wanted = {f"--{key}" for key in keys}
        found: str | None = None
        for flag, following in zip(self.flags, [*self.flags[1:], ""]):
            name, equals, value = flag.partition("=")
            if name in wanted:
                found = value if equals else following
        return found


def _as_typed(argument: str, before: str) -> str:
    """Return an argument with a separator in quotes: without, yaml reads nothing in `~` and a remark in `#`."""
    name, equals, value = argument.partition("=")
    prefix = f"{name}=" if equals and name.startswith("--") and name.endswith("separator") else ""
    value = value if prefix else argument
    named = prefix or (before.startswith("--") and before.endswith("separator"))
    return f'{prefix}"{value}"' if named and value not in ("", "null") and value[0] != '"' else argument


def read_config(name: str, short_names: Mapping[str, str]) -> Settings:
    """Return the settings of a configuration file: class names in full, paths of tracers absolute.

    Raises:
        MissingFileError: there is no such file.
        SettingError: it is not yaml.
    """
    path = Path(name)
    if not path.is_file():
        near = sorted(one.name for one in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        found = f"; that folder holds {', '.join(near)}" if near else ""
        raise MissingFileError(path.name, path.parent, f"give --config the path of a yaml file{found}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SettingError("config", name, "a yaml file", str(error).replace("\n", " ")) from error
    if not isinstance(content, dict):
        return {}
    settings: Settings = {str(key): in_full(value, short_names) for key, value in content.items()}
    for holder, key, fitted in tracer_paths([settings.get("model"), settings.get("data")]):
        holder[key] = str((path.resolve().parent / fitted).resolve())
    return settings


def in_full(value: object, short_names: Mapping[str, str]) -> Plain:
    """Return settings as plain values in which every short `class_path` is written in full.

    >>> in_full({"class_path": "DKT", "name": "DKT"}, {"DKT": "lpr_lightning.DKT"})
    {'class_path': 'lpr_lightning.DKT', 'name': 'DKT'}
    """
    if isinstance(value, dict):
        named = {str(key): in_full(one, short_names) for key, one in value.items()}
        if isinstance(name := named.get("class_path"), str):
            named["class_path"] = short_names.get(name, name)
        return named
    if isinstance(value, list):
        return [in_full(one, short_names) for one in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def tracer_paths(value: object) -> Iterator[tuple[dict[str, object], str, str]]:
    """Yield every mapping in settings (also in a parser's namespaces) with a tracer or a teacher that is a path.

    With it come the name of the argument and the path.

    >>> given = [{"init_args": {"tracer": "dkt.yaml"}}, {"tracer": {"class_path": "DKT"}}, {"teacher": "a.ckpt"}]
    >>> [(name, path) for _, name, path in tracer_paths(given)]
    [('tracer', 'dkt.yaml'), ('teacher', 'a.ckpt')]
    """
    inner = vars(value) if isinstance(value, Namespace) else value
    for one in inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else ():
        yield from tracer_paths(one)
    if isinstance(inner, dict):
        for key in FITTED:
            if isinstance(path := inner.get(key), str) and path.endswith((*CONFIGS, CHECKPOINT)):
                yield inner, key, path


def merged(layers: list[Settings]) -> Settings:
    """Return settings laid over one another.

    >>> merged([{"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}])
    {'a': {'b': 3, 'c': 2}}
    """
    result: Settings = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            result[key] = merged([below, value]) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


class Parser(LightningArgumentParser):
    """Raises what is wrong as one error of this package, and says what to do about a package that is not allowed."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the message as an error of this package."""
        if denied := re.search(r"Importing '([^']+)' is not allowed", message):
            packages = ", ".join([*hparams.ALLOWED_PACKAGES, *hparams.CONFIGURABLE])
            advice = hparams.ALLOW.format(denied[1].partition(".")[0])
            message = str(SettingError("class_path", denied[1], f"a class of {packages}", advice))
        raise LPRError(shortened(message)) from ex


def shortened(message: str) -> str:
    """Return a parser's message without its remarks on how it tried.

    >>> shortened("Errors:\\n  Parser key 'a':\\n    - Option 'lrr' is not accepted".replace("'a'", '"a"'))
    "a: Option 'lrr' is not accepted"
    """
    lines = [
        line.strip().removeprefix("- ") for line in message.splitlines() if line.strip() and not _NOISE.match(line)
    ]
    lines = [re.sub(r'^Parser key "([^"]+)":', r"\1:", line) for line in lines]
    return " ".join(dict.fromkeys(lines))
