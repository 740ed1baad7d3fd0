"""The names that images in an archive may have."""

import re
from pathlib import PurePosixPath

from bitsback.whole import WINDOWS

# Windows: "Naming Files, Paths, and Namespaces", Microsoft
FORBIDDEN = re.compile(r'[<>"|?*\x01-\x1f]|[ .]$')
DEVICE = r"(con|prn|aux|nul|(com|lpt)[0-9\u00b9\u00b2\u00b3]|conin\$|conout\$)"
DEVICES = re.compile(rf"^{DEVICE} *(?=\.|$)", re.IGNORECASE)  # with any suffix


def leaves_folder(name: str) -> bool:
    """Whether a name is no relative path with forward slashes that stays inside a folder."""
    path = PurePosixPath(name)
    outside = not path.parts or path.is_absolute() or ".." in path.parts
    return outside or any(letter in name for letter in ("\\", ":", "\0"))


def is_name(name: str) -> bool:
    """Whether an archive can store the name: Unicode, with U+DC80 to U+DCFF for bytes that are not
    UTF-8, as os.fsdecode maps them.

    These escapes must not form valid UTF-8, or two names would denote the same file.
    """
    try:
        return name.encode(errors="surrogateescape").decode(errors="surrogateescape") == name
    except UnicodeEncodeError:
        return False


def local_parts(name: str) -> tuple[str, ...]:
    """The folders and the file of a name, as this system takes them: on Windows with _ for letters,
    and after names of devices, that names there cannot have."""
    parts = PurePosixPath(name).parts
    if not WINDOWS:
        return parts
    return tuple(DEVICES.sub(r"\g<1>_", FORBIDDEN.sub("_", part), count=1) for part in parts)
