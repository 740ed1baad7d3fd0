"""bitsback: lossless image compression with a variational diffusion model as its prior."""

from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "1.4.2"

# An installed package has codecs/ inside; in a checkout it is the folder beside this one.  The
# search path then leads to the root of the checkout, so that `bitsback.codecs` is found there.
_ROOT = Path(__file__).resolve().parent.parent
if not (_ROOT / "bitsback" / "codecs").is_dir() and (_ROOT / "codecs" / "FORMAT.md").is_file():
    __path__.append(str(_ROOT))


def __getattr__(name: str) -> Any:
    """`bitsback.Archive` and `bitsback.codecs`, imported when they are first used: torch takes
    seconds to load."""
    if name == "codecs":
        return import_module("bitsback.codecs")
    if name == "Archive":
        from bitsback.reading import Archive

        return Archive
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
