"""The three errors of a file (FORMAT.md, order of checks)."""


class FileError(Exception):
    """Any of them."""


class NotOurFile(FileError):
    """No .bbk file, or one of another version."""


class Damaged(FileError):
    """DamagedFile of the documents."""


class WrongModel(FileError):
    """None of the models given is the file's."""


def check(holds, message):
    if not holds:
        raise Damaged(message)
