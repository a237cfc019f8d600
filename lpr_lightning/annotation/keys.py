"""The key of an endpoint: taken from the environment, shown nowhere."""

from __future__ import annotations

import os
import re

from lpr_lightning.errors import SettingError

HIDDEN = "[key]"
_LOOKS_LIKE_ONE = re.compile(r"\b[sp]k[-_][\w*.…-]{4,}|(?<=[Bb]earer )\S+")


def read_key(variable: str | None) -> str | None:
    """Return the key that an environment variable holds; None where no variable is named.

    Raises:
        SettingError: the variable is not set, or what is named is no name of one but perhaps a key itself.
    """
    if variable is None:
        return None
    if not variable.isidentifier():
        allowed = "the name of an environment variable that holds the key, never the key itself"
        raise SettingError("api_key_env", HIDDEN, allowed, "For instance OPENAI_API_KEY; null where no key is needed")
    key = os.environ.get(variable, "").strip()
    if not key:
        advice = f"export {variable}=...; or api_key_env: null for an endpoint without keys"
        raise SettingError("api_key_env", variable, "an environment variable that is set", advice)
    return key


def without_key(text: str, key: str | None) -> str:
    """Return a text in which the key, and what looks like a part of one, is not shown.

    >>> without_key("Incorrect API key provided: sk-ab***********yz.", "sk-abxyz")
    'Incorrect API key provided: [key]'
    >>> without_key("bad header 'Bearer swordfish'", "swordfish")
    "bad header 'Bearer [key]'"
    """
    shown = text.replace(key, HIDDEN) if key else text
    return _LOOKS_LIKE_ONE.sub(lambda found: found[0] if found[0].startswith(HIDDEN) else HIDDEN, shown)
