"""A parser whose errors are short."""

from __future__ import annotations

import re
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from lpr_lightning.errors import LPRError, SettingError
from lpr_lightning.hparams import ALLOWED_PACKAGES

_NOISE = re.compile(
    r"^\s*(- )?(Does not validate against any|Subtypes:|Errors:|Given value|Expected a path but"
    r"|Expected a <class 'NoneType'>)"
)


class Parser(LightningArgumentParser):
    """Raises what is wrong as one error of this package, and says what to do about a package that is not allowed."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the message as an error of this package."""
        if denied := re.search(r"Importing '([^']+)' is not allowed", message):
            advice = f"If you trust that package, add --allow_package {denied[1].partition('.')[0]}"
            message = str(SettingError("class_path", denied[1], "a class of " + ", ".join(ALLOWED_PACKAGES), advice))
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
