"""Which names the images of an archive may have."""


def is_name(name: str) -> bool:
    """Whether an image of an archive may be named so: Unicode, and in it U+DC80 to U+DCFF for
    bytes that are no UTF-8, as os.fsdecode has them.

    Such escapes must not add up to UTF-8, or two names would be one file's.
    """
    try:
        return name.encode(errors="surrogateescape").decode(errors="surrogateescape") == name
    except UnicodeEncodeError:
        return False
