"""The errors that this package raises on purpose.

A message is one line that begins with the file or the argument it concerns.  Commands print it
and go on with the next file; users of the library catch `BitsbackError`.
"""


class BitsbackError(Exception):
    """Base class: a bad input, file or model, never a defect of the caller's code."""


class NotOurFile(BitsbackError):
    """The bytes do not begin as a bitsback file does."""


class DamagedFile(BitsbackError):
    """The bytes begin as a bitsback file does, but are cut short, altered or inconsistent."""


class WrongModel(BitsbackError):
    """A file or a command names a model that is not installed or cannot be read."""


class UnsupportedImage(BitsbackError):
    """The image is refused because it could not be restored exactly."""


class VerifyFailed(BitsbackError):
    """The coded image did not decode to the input, so nothing is written.

    The cause is a defect of this program or of the machine.
    """


class MissingPackage(UnsupportedImage):
    """A package that this image or file needs is not installed; the message names it."""


class LossySource(UnsupportedImage):
    """The image was lossily compressed before: its pixels would need more bytes than its file."""


class MetadataLoss(UnsupportedImage):
    """An input was to be removed although it holds metadata that its output does not keep."""


class OutputExists(BitsbackError):
    """The output exists and `-f` was not given, or two inputs have the same output."""


class NoSuchFolder(BitsbackError):
    """The folder of an output does not exist."""


class OutputFailed(BitsbackError):
    """The output cannot be written (no space, name too long, ...), and no part of it is left."""


class InputChanged(BitsbackError):
    """An input changed after or while it was read, so it is not removed or not coded."""


class TrainingError(BitsbackError):
    """Training cannot start or continue: no images, or a checkpoint of another network."""


class StackEmpty(BitsbackError):
    """A pop needs more bits than the stack holds."""


class NoiseOutOfRange(BitsbackError):
    """A noise level outside the range that a model was made for."""
