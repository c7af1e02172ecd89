"""What the name of a member says: its sample's key and its extension, by the rule of the webdataset library."""

from __future__ import annotations

import re

# Of a path: keys are in the statistics of tables' files.
MOST_BYTES = 1024
# Up to the first dot of the last part: the key; all after it is the extension, `left.mp4` and `cut.json` too.
_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)", re.DOTALL)


def parted(name: str) -> tuple[str, str] | None:
    """Divide the name of a member.

    Parts that are empty, `.` or `..` are left out: a key never leads out of the folder that it is written to.

    Args:
        name: as it stands in the archive.

    Returns:
        The key, folders included, and the extension in lower case; None where the name has no such parts, or
        is over 1,024 bytes long.
    """
    path = "/".join(part for part in clean(name).split("/") if part not in ("", ".", ".."))
    match = _NAME.fullmatch(path) if len(path.encode()) <= MOST_BYTES else None
    return (match[1], match[2].lower()) if match else None


def clean(text: str) -> str:
    r"""A text that every table can hold: bytes that are no UTF-8, and halves of characters, are written as `\xff`.

    Args:
        text: as Python read it, such bytes as surrogates.
    """
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        pass
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "backslashreplace")
