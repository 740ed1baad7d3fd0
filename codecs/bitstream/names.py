"""The names that images in an archive may have."""


def is_name(name: str) -> bool:
    """Whether an archive can store the name: Unicode, with U+DC80 to U+DCFF for bytes that are not
    UTF-8, as os.fsdecode maps them.

    These escapes must not form valid UTF-8, or two names would denote the same file.
    """
    try:
        return name.encode(errors="surrogateescape").decode(errors="surrogateescape") == name
    except UnicodeEncodeError:
        return False
