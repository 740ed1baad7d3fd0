"""What the page of `view` shows of a file: pictures, a map and facts that change as it decodes."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from bitsback.cli.messages import printable
from bitsback.codecs.bit_map import bit_map
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.chosen import as_one, chosen_groups
from bitsback.codecs.decoder import decode_group
from bitsback.codecs.display_png import display_png
from bitsback.codecs.formats import metadata
from bitsback.codecs.image import DEEP
from bitsback.codecs.io.facts import describe
from bitsback.coder.model import Model
from bitsback.errors import DamagedFile, NotOurFile
from bitsback.sampling.preview import on_preview

LONGEST, LONGEST_OF_MANY = 2048, 512  # pixels of a side that are sent, of one image and of several
LISTED = "names", "sizes", "groups", "damaged"  # facts of an archive that are not shown as such
MOST = 1000  # images of an archive that are shown, its first ones
MAPPED = 2**22  # pixels of an image up to which its map is made: 160 bytes each


class Contents:
    """`files`, {name: body}: the page, its state, and a PNG of each picture and of the map.

    A picture's step tells what its pixels are: "preview"; "decoding", not checked, and where pale a
    preview; "checked".  damage: what is wrong with groups of an archive whose others are shown.
    Errors: as of describe; DamagedFile, NotOurFile where no group can be read; WrongModel.
    """

    def __init__(self, source: Path, data: bytes, model: Model | None) -> None:
        facts, self.data, self.model = describe(printable(source.name), data), data, model
        self.groups, self.headers, self._unread = chosen_groups(data)
        self.damage = list(self._unread)
        for header in self.headers.values():
            self.model = Model.of_file(self.model, header.model) if header.model else self.model
        self.files = {"": Path(__file__).with_name("view.html").read_bytes()}
        self.state: dict[str, Any] = {"facts": {k: facts[k] for k in facts if k not in LISTED}}
        self.update(pictures=[], share=0, done=False)

    def update(self, **changes: Any) -> None:
        """Changes the state, which the page asks for again and again."""
        self.state |= changes
        self.files["state.json"] = json.dumps(self.state).encode()

    def show(self, at: int, name: str, pixels: np.ndarray | None, step: str) -> None:
        """Adds or replaces the last picture: (H, W) or (H, W, 1, 3 or 4) uint8, None: not shown."""
        body = b"" if pixels is None else display_png(pixels, LONGEST_OF_MANY if name else LONGEST)
        height, width = (0, 0) if pixels is None else pixels.shape[:2]
        picture = {"name": printable(name), "step": step, "version": zlib.crc32(body)}
        picture |= {"width": width, "height": height}
        self.files[f"{at}.png"] = body
        self.update(pictures=self.state["pictures"][:at] + [picture])

    def fail(self, error: BaseException) -> None:
        """Tells why the rest does not decode, and shows no pixel that was not checked."""
        checked = [one for one in self.state["pictures"] if one["step"] == "checked"]
        self.files |= {} if checked else {"0.png": b""}
        text = printable(str(error) or "not enough memory for this file")
        self.update(error=text, pictures=checked, done=True)

    def decode(self, device: str) -> None:
        """Decodes images group by group; one that is no archive's again for its map.

        Errors: DamagedFile of an image, or MemoryError; those of an archive's groups are `damage`.
        """
        shown, count = 0, len(container.read_groups(self.data))
        self.damage = list(self._unread)  # after a failed allocation this is the second time

        def show_growing(pixels: np.ndarray, share: float) -> None:
            self.state["share"] = share
            self.show(0, "", pixels, "decoding" if share else "preview")

        for number, group in self.groups.items():
            header = self.headers[number]
            options: dict[str, Any] = {"model": self.model, "device": device}
            if header.model and not header.archive:
                growing = on_preview(self.data, header, show_growing, **options)
                options["begun"], options["progress"] = growing
            try:
                _, images = decode_group(group.of(self.data), group, **options)
            except (DamagedFile, NotOurFile) as error:
                if not header.archive:
                    raise
                self.damage.append(type(error)(container.in_group(number, count, error)))
                continue
            for entry, image in zip(header.entries, images[: MOST - shown]):
                pixels = image.colour if image.mode in DEEP else image.shown
                name = header.archive and f"{entry.name}, {image.width}x{image.height}"
                self.show(shown, name or "", pixels, "checked")
                shown += 1
            if shown == MOST:
                break
        if self.damage:
            self.fail(as_one(self.damage))
        elif not header.archive:
            self.update(metadata=metadata.sizes(images[0].metadata))
            if header.height * header.width <= MAPPED:
                found = bit_map(self.data, model=self.model)
                self.files["map.png"] = display_png(found.heat, LONGEST)
                parts = {name: bits / 8 for name, bits in found.parts.items()}
                self.update(parts=parts, brightest=found.brightest)
        self.update(done=True)
