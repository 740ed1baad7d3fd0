"""Images -> the bytes of a file: one image, or an archive whose images share one stack.

The prior codes the colours of the images that mode_decision.py chooses; all else lies in the
fallback parts (fallback/parts.py).  The file is the smaller of this and the fallback codec alone.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from bitsback.beside import helpers
from bitsback.codecs import mode_decision, prior_codec
from bitsback.codecs.bitstream import container
from bitsback.codecs.bitstream.container import Entry, Header
from bitsback.codecs.bitstream.sections import Tag
from bitsback.codecs.checksums import checked_entries, file_digest
from bitsback.codecs.decoder import ModelOption, Progress, check, no_progress
from bitsback.codecs.fallback.codec import FallbackCache
from bitsback.codecs.fallback.parts import join_parts
from bitsback.codecs.formats import looks, metadata
from bitsback.codecs.given import given_image
from bitsback.codecs.image import ImageData
from bitsback.codecs.photographs import estimate_of_jxl
from bitsback.codecs.prior_trial import prior_bits
from bitsback.codecs.remainders.codec import encode_all_remainders
from bitsback.coder.model import Model
from bitsback.devices import current, require
from bitsback.efforts import DEFAULT_EFFORT, EFFORTS, effort_name
from bitsback.errors import UnsupportedImage
from bitsback.integer.installed import find_model


class Encoder:
    """Codes images with one model, which is opened when the first image needs it.

    model: a Model, a shipped name or a path (default: the effort's, else the shipped default);
    device: torch's; effort: a name of EFFORTS or a number 1..9 (default: DEFAULT_EFFORT); tuning:
    steps of finding bias updates for 400,000 pixels, scaled with the root of the size
    (tune/tuning.py), 0 for none (default: the effort's); verify: decode each file and compare it
    with what went in.  Errors: ValueError for an unknown effort, or steps that are no number;
    WrongModel, BitsbackError for a model or device that is not here.
    """

    def __init__(
        self,
        model: ModelOption = None,
        device: str = "cpu",
        effort: str | int | None = None,
        tuning: int | None = None,
        verify: bool = False,
    ) -> None:
        chosen = EFFORTS[DEFAULT_EFFORT if effort is None else effort_name(effort)]
        self.device, self.verify, self.effort, self.jxl = device, verify, effort, chosen.jxl
        if tuning is not None and (not hasattr(tuning, "__index__") or tuning < 0):
            raise ValueError(f"tuning {tuning!r} is not a number of steps")
        self.tuning = chosen.tuning if tuning is None else tuning
        if not (model is None or isinstance(model, Model)):
            find_model(model)  # a wrong name is one for an image that needs no model, too
        require(device)
        self._model: ModelOption = chosen.model if model is None and effort is not None else model

    def open_model(self) -> Model:
        """The model, opened once.  Errors: WrongModel."""
        if not isinstance(self._model, Model):
            self._model = Model.open(self._model)
        return self._model

    def __reduce__(self) -> tuple:
        return type(self), self.options

    @property
    def options(self) -> tuple:
        """The arguments that make this encoder again, in another process."""
        model = self._model.path if isinstance(self._model, Model) else self._model
        return model, self.device, self.effort, self.tuning, self.verify

    def encode(self, image: ImageData | np.ndarray, progress: Progress = no_progress) -> bytes:
        """An ImageData, or an RGB image as (H, W, 3) uint8 -> the bytes of a .bbk file.

        progress: called with the share done, 0..1; once more from 0 where the result is verified.
        Errors: UnsupportedImage, WrongModel, VerifyFailed.
        """
        image = given_image(image)
        return self._encode([image], (_entry(image),), False, progress)

    def encode_many(
        self,
        images: Sequence[ImageData | np.ndarray],
        entries: tuple[Entry, ...],
        progress: Progress = no_progress,
    ) -> bytes:
        """Images, as encode takes them -> the bytes of an archive, maybe in another order.

        entries: name, size and so on of each image, in the same order; checks are filled in.
        Errors: encode's; UnsupportedImage where entries are not the images'.
        """
        made = [given_image(one) for one in images]
        for image in made:
            _refuse(image)
        return self._encode(made, checked_entries(made, entries), True, progress)

    def _encode(self, images, entries, archive, progress):
        with current(self.device), helpers() as beside, helpers() as idle:
            data = self._smallest_file(images, entries, archive, progress, beside, idle)
        if self.verify:
            check(data, images, model=self._model, device=self.device, progress=progress)
        return data

    def _smallest_file(self, images, entries, archive, progress, beside, idle):
        """The file with the prior, or the one by the fallback codec alone if that is smaller."""
        fallback = FallbackCache(self.jxl)
        chosen = self._choose(images, archive, fallback)
        order = sorted(range(len(images)), key=lambda i: _order(images[i], chosen[i]))
        images, entries = [images[i] for i in order], tuple(entries[i] for i in order)
        packed = metadata.pack(images)
        header = Header(
            entries,
            file_digest(images, packed),
            archive,
            metadata.kinds([(image.look, image.metadata) for image in images]),
            fallback_count=chosen.count(False),
            lost=tuple(dict.fromkeys(name for image in images for name in image.lost)),
        )
        prior, coded, samples = None, [], [image.samples for image in images]
        if any(chosen):
            estimate = estimate_of_jxl(samples, idle)
            prior, coded = self._with_prior(images, header, packed, progress, fallback, beside)
            if prior and mode_decision.fallback_hopeless(len(prior), samples, self.jxl, estimate):
                return prior
        for pixels in samples[len(coded) :]:
            useful = len(prior) - sum(map(len, coded)) if prior else None
            coded.append(fallback(pixels, useful))
            if useful is not None and len(coded[-1]) >= useful:
                return prior
        digest = header.digest if archive else header.digest[:4]
        header = dataclasses.replace(header, fallback_count=0, digest=digest)
        without = container.write(header, join_parts(packed, coded[:-1], coded[-1]), checks=archive)
        return min([without] + [prior] * bool(prior), key=len)

    def _choose(self, images, archive, fallback):
        """[whether the prior is tried on each image]; opens no model where it is tried on none."""
        chosen = [mode_decision.prior_possible(image) for image in images]
        if _can_start(images, chosen):
            model = self.open_model()
            chosen = [
                possible and (model.codes_gray or image.colour.shape[2] == 3)
                for image, possible in zip(images, chosen)
            ]
            bits = lambda crops: prior_bits(crops, model, self.device)  # noqa: E731
            if chosen == [True] and not archive:
                chosen = [not mode_decision.prior_hopeless(images[0].colour, bits, fallback)]
            if archive:
                tried = [i for i, possible in enumerate(chosen) if possible]
                likely = mode_decision.prior_likely([images[i] for i in tried], bits, fallback)
                for i, gains in zip(tried, likely):
                    chosen[i] = gains
        return chosen if _can_start(images, chosen) else [False] * len(images)

    def _with_prior(self, images, header, packed, progress, fallback, beside):
        """(bytes, codes of the images that the prior does not code).

        None for the bytes where the images under the prior hold too few bits to start a stack.
        """
        first, under_prior = images[: header.fallback_count], images[header.fallback_count :]
        coded = [fallback(image.samples) for image in first]
        alphas = [
            fallback(np.ascontiguousarray(image.alpha))
            for image in under_prior
            if image.alpha is not None
        ]
        entries = header.entries[: header.fallback_count] + tuple(
            dataclasses.replace(entry, gray_as_rgb=image.gray_as_rgb)
            for entry, image in zip(header.entries[header.fallback_count :], under_prior)
        )
        colours = [np.ascontiguousarray(image.colour) for image in under_prior]
        model = self.open_model()
        remainders, depths = encode_all_remainders(under_prior, model.gaussians)
        sections = {int(Tag.DEPTH): depths} if depths else {}
        header = dataclasses.replace(header, entries=entries, sections=sections)
        first = join_parts(packed, coded + alphas, remainders)

        def encoded(tuning, progress):
            return prior_codec.encode_stack(
                colours, header, model, self.device, progress, first, tuning, beside
            )

        result = encoded(self.tuning, progress)
        if not result:
            return None, coded
        data = container.write(*result)
        if result[0].section(Tag.BIAS_UPDATES):
            # Their gain is an estimate: the file without them is made too, in little time.
            data = min(data, container.write(*encoded(0, no_progress)), key=len)
        return data, coded


def _can_start(images, chosen):
    """Whether the chosen ones of these images are enough for the prior to be tried."""
    sizes = [(image.height, image.width) for image, under in zip(images, chosen) if under]
    return bool(sizes) and prior_codec.can_start(sizes)


def _order(image, under_prior):
    """Sort key of a file's images: those in the fallback parts first; then from small to large,
    since the stack grows as it is filled, and those of one size together."""
    if not under_prior:
        return (False,)
    return True, image.height * image.width, image.height, image.colour.shape[2]


def _refuse(image):
    looks.check_look(image)
    height, width = image.height, image.width
    if max(height, width) > container.MAX_SIDE or height * width > container.MAX_PIXELS:
        raise UnsupportedImage(f"{width}x{height} pixels are too many")


def _entry(image):
    _refuse(image)
    return Entry(image.width, image.height, mode=image.mode, source=image.source)


def encode_image(
    image: ImageData,
    *,
    model: ModelOption = None,
    device: str = "cpu",
    progress: Progress = no_progress,
    verify: bool = False,
    tuning: int | None = None,
    effort: str | int | None = None,
) -> bytes:
    """An ImageData -> the bytes of a .bbk file.  Options as Encoder; errors as Encoder.encode."""
    return Encoder(model, device, effort, tuning, verify).encode(image, progress)


def encode(
    pixels: np.ndarray,
    *,
    model: ModelOption = None,
    device: str = "cpu",
    progress: Progress = no_progress,
    tuning: int | None = None,
    effort: str | int | None = None,
) -> bytes:
    """(H, W, 3) uint8 -> the bytes of a .bbk file.  Options and errors as encode_image."""
    return Encoder(model, device, effort, tuning).encode(pixels, progress)
