"""The words of prompts: templates in files, which anyone may edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from lpr_lightning.annotation.chat import Message
from lpr_lightning.cache import atomic_write
from lpr_lightning.errors import DataError, MissingFileError, SettingError

OURS = Path(__file__).parent / "templates"
LINE = "---"
"""The line between what the system and what the user says."""
_COMMON = ("language", "standard")
FIELDS: dict[str, tuple[str, ...]] = {
    "steps": ("question", "answer"),
    "concepts": ("question", "steps"),
    "mapping": ("question", "steps", "concepts"),
    "prerequisites": ("concept", "concepts"),
    "mastery": ("concepts", "records", "prerequisites"),
    "extend": ("question", "steps", "concepts", "others"),
    "profile": ("records", "targets"),
    "choice": ("candidates", "profile", "records", "targets", "left"),
}
"""What each template may say as `$name`, beside `$language` and `$standard`; the first must be in it."""


@dataclass(frozen=True)
class Templates:
    """The templates of prompts: `NAME.txt` in a folder, else our own.

    A template is what the system says, a line `---`, and what the user says; `$question` stands for the question, `$$`
    for a dollar sign.

    Args:
        folder: where own templates lie; those that are not there are ours.
        language: in which answers are written.
        standard: whose wording concepts have.

    Raises:
        MissingFileError: there is no such folder.
        DataError: a template lacks its line or a field, or has a field that nobody fills.
        SettingError: an empty language or standard.
    """

    folder: str | None = None
    language: str = "English"
    standard: str = "the Common Core State Standards"

    def __post_init__(self) -> None:
        for name, value in (("language", self.language), ("standard", self.standard)):
            if not value.strip():
                raise SettingError(name, value, "some words")
        if self.folder is not None:
            folder = Path(self.folder)
            if not folder.is_dir():
                advice = "give a folder with templates; `annotate --copy_templates FOLDER` makes one"
                raise MissingFileError(folder.name, folder.parent, advice)
            for path in folder.glob("*.txt"):
                if path.stem not in FIELDS:
                    raise DataError(path, f"this is no template's name: expected one of {', '.join(FIELDS)}")
        for name in FIELDS:
            self._parts(name)

    def fill(self, name: str, values: Mapping[str, str]) -> tuple[Message, Message]:
        """Return the system's and the user's message of a template.

        >>> system, user = Templates(language="German").fill("steps", {"question": "What is $x$?", "answer": "1"})
        >>> "Write in German." in system.content, user.content
        (True, 'Question:\\nWhat is $x$?\\n\\nRight answer: 1')
        """
        known = {"language": self.language, "standard": self.standard, **values}
        system, user = (Template(part).substitute(known) for part in self._parts(name))
        return Message("system", system), Message("user", user)

    def path(self, name: str) -> Path:
        """Return the file of a template."""
        own = Path(self.folder) / f"{name}.txt" if self.folder is not None else OURS
        return own if own.is_file() else OURS / f"{name}.txt"

    def _parts(self, name: str) -> tuple[str, str]:
        path = self.path(name)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(path, "this is no text in UTF-8") from error
        system, line, user = text.partition(f"\n{LINE}\n")
        if not line or not user.strip():
            raise DataError(path, f"expected what the system says, a line {LINE}, and what the user says")
        allowed = (*_COMMON, *FIELDS[name])
        for part in (system, user):
            template = Template(part)
            if not template.is_valid():
                raise DataError(path, "a $ that is no field: write $$ for a dollar sign")
            strange = [one for one in template.get_identifiers() if one not in allowed]
            if strange:
                raise DataError(path, f"nobody fills ${strange[0]}: expected one of ${', $'.join(allowed)}")
        if FIELDS[name][0] not in Template(user).get_identifiers():
            raise DataError(path, f"what the user says lacks ${FIELDS[name][0]}")
        return system.strip(), user.strip()


def copy_templates(folder: str | Path) -> list[Path]:
    """Write our templates into a folder, to be edited; return their paths. Files that are there stay as they are."""
    written = []
    for name in FIELDS:
        target = Path(folder) / f"{name}.txt"
        if not target.exists():
            with atomic_write(target) as staged:
                staged.write_bytes((OURS / f"{name}.txt").read_bytes())
            written.append(target)
    return written


def numbered(lines: tuple[str, ...]) -> str:
    """Return lines with their numbers, from 1.

    >>> numbered(("add", "carry"))
    '1. add\\n2. carry'
    """
    return "\n".join(f"{number}. {' '.join(line.split())}" for number, line in enumerate(lines, 1))
