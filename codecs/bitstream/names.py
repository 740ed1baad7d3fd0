"""The names that images in an archive may have."""

from pathlib import PurePosixPath


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
