"""Every error this package raises on purpose.

Each is one line that names the file or the argument first.  The commands print it and go
on with the next file; a library user catches `BitsbackError`.
"""


class BitsbackError(Exception):
    """Base class: bad input, bad file, bad model.  Never a bug of ours."""


class NotOurFile(BitsbackError):
    """The bytes do not begin as a bitsback file does."""


class DamagedFile(BitsbackError):
    """The bytes begin as ours do, but are cut short, altered or inconsistent."""


class WrongModel(BitsbackError):
    """A file or a command names a model that is not installed, or that cannot be read."""


class UnsupportedImage(BitsbackError):
    """An image that could not be given back exactly as it is, so it is refused."""


class VerifyFailed(BitsbackError):
    """What was coded did not decode to what went in: a defect of this program or machine; nothing is written."""


class LossySource(UnsupportedImage):
    """An image that was compressed with loss already: its pixels would take more room than it does."""


class MetadataLoss(UnsupportedImage):
    """An input that was to be removed and carries what its output does not keep."""


class OutputExists(BitsbackError):
    """The output is there already and `-f` was not given, or two inputs have one output."""


class NoSuchFolder(BitsbackError):
    """The folder an output should go to is not there."""


class OutputFailed(BitsbackError):
    """The output cannot be written: no space, a name that is too long, a closed stream.  Nothing is left of it."""


class InputChanged(BitsbackError):
    """An input is no longer what was read, so it is not removed, or was altered while it was read."""


class TrainingError(BitsbackError):
    """Training cannot start or go on: no images, a checkpoint of another network."""


class StackEmpty(BitsbackError):
    """A pop asked for more bits than the stack holds."""


class NoiseOutOfRange(BitsbackError):
    """A noise level outside those a model was made for."""
