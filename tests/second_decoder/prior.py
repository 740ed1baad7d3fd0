"""The images of a file with a stack: side information, segments, credit (FORMAT.md, payload)."""

import numpy as np

from tests.second_decoder import remainders
from tests.second_decoder.bias_updates import Stack, pop_deltas, tune
from tests.second_decoder.ensemble import Ensemble, EnsembleFile
from tests.second_decoder.errors import WrongModel, check
from tests.second_decoder.fallback import decode_part
from tests.second_decoder.index import ALPHA, UNDER_PRIOR
from tests.second_decoder.lanes import Lanes
from tests.second_decoder.network import Model, ModelFile
from tests.second_decoder.reader import Reader
from tests.second_decoder.sections import BIAS_UPDATES, BLOCK_MEANS, DEPTHS, FLAT_MAP, SHARPNESS
from tests.second_decoder.segments import decode
from tests.second_decoder.side_information import block_means, depths, flat_map

SHARPNESSES = [bytes([number]) for number in range(1, 7)]


def decode_stack(header, payload, models):
    """(metadata section, samples (H, W, C) of each image) of a file with a stack."""
    stack, sections = header.stack, header.sections
    inside, outside = header.under_prior, header.entries[: stack.fallback_images]
    check(all(entry.number in UNDER_PRIOR for entry in inside), "a mode that is not for the prior")
    sizes = [(entry.height, entry.width, entry.colours) for entry in inside]
    check_cover(sizes, stack.start, stack.segments)
    deep = depths(sections.get(DEPTHS), inside, stack.credit)
    model = open_model(models, stack.model)
    sharpness = sections.get(SHARPNESS, b"\0")
    check(SHARPNESS not in sections or sharpness in SHARPNESSES, "the sharpness")
    if BIAS_UPDATES in sections:
        update(model, sections[BIAS_UPDATES])
    lanes = Lanes(payload)
    pixels = decode(
        model,
        lanes,
        sizes,
        stack.start,
        stack.segments,
        stack.top,
        told=flat_map(sections[FLAT_MAP], sizes) if FLAT_MAP in sections else None,
        sharpness=sharpness[0],
        rule=stack.lanes,
        means=block_means(sections[BLOCK_MEANS], sizes) if BLOCK_MEANS in sections else None,
    )
    credit = Reader(lanes.credit(stack.credit))
    metadata = credit.sized() if header.mask else b""
    samples = [decode_part(credit.sized(), entry.shape, entry.dtype) for entry in outside]
    alphas = [
        decode_part(credit.sized(), (*entry.shape[:2], 1), entry.dtype)
        if entry.number in ALPHA
        else None
        for entry in inside
    ]
    parts = [credit.take(depth.length) if depth else b"" for depth in deep]
    add_start(credit, pixels, stack.start)
    credit.end("the last fallback part")
    for entry, colours, alpha, depth, part in zip(inside, pixels, alphas, deep, parts):
        colours = turned(colours, stack.flips)
        if depth:
            k = depth.bits - 8
            numbers = remainders.decode(model, part, colours, k) if k else colours
            colours = depth.samples(numbers).astype(entry.dtype)
        if entry.colours == 1 and entry.shape[2] > 2:
            colours = colours.repeat(3, axis=2)
        samples.append(colours if alpha is None else np.concatenate([colours, alpha], axis=2))
    return metadata, samples


def open_model(models, wanted):
    """models: of model files; wanted: the first bytes of an id."""
    for data in models:
        file = ModelFile(data)
        if "ensemble" in file.about:
            file = EnsembleFile(data)
        if not bytes.fromhex(file.id()).startswith(wanted):
            continue
        if isinstance(file, EnsembleFile):
            return Ensemble(file, [open_model(models, one) for one in file.models])
        return Model(data)
    raise WrongModel(f"the file was made with the model {wanted.hex()}")


def update(model, section):
    """Adds the bias updates of a section."""
    check(len(section) % 4 == 0 and section[-4:] != bytes(4), "the words of bias updates")
    stack = Stack(section)
    updates = pop_deltas(model, stack)
    check(stack.credit(1) == b"\1", "the stack of bias updates does not end where it began")
    check(tune(model, updates) < 2**24, "bias updates that overflow")


def turned(pixels, flips):
    pixels = pixels[:, ::-1] if flips & 1 else pixels
    return pixels[::-1] if flips & 2 else pixels


def add_start(credit, pixels, start):
    """The images before the start's image, then the block: the turned pixels of their places."""
    image, rows, columns = start
    places = [whole[...] for whole in pixels[:image]]
    if rows:
        places.append(pixels[image][:rows, :columns])
    for i, place in enumerate(places):
        data = credit.sized() if i < len(places) - 1 else credit.rest()
        place[...] = decode_part(data, place.shape)


def check_cover(sizes, start, segments):
    """Whether start and segments cover all images exactly, as FORMAT.md says of segments."""
    image, rows, columns = start
    if rows or columns:
        check(image < len(sizes), "the start lies beyond the images")
        height, width, _ = sizes[image]
        check(0 < rows <= height and 0 < columns <= width, "the start's corner")
        check(at_edge(rows, height) and at_edge(columns, width), "the start's corner")
        check((rows, columns) != (height, width), "the start is a whole image")
    for kind, size in segments:
        check(size > 0 and image < len(sizes), "a segment beyond the images")
        height, width, _ = sizes[image]
        if kind == 0:
            check(not rows and not columns, "whole images within an image")
            check(sizes[image : image + size] == [sizes[image]] * size, "images of several sizes")
            check(size * height * width <= 2**21, "a large segment")
            image += size
            continue
        if kind == 1:
            columns = columns or width
            rows += size
        else:
            check(rows > 0, "columns beside nothing")
            columns += size
        check(rows <= height and columns <= width, "a segment beyond its image")
        check(at_edge(rows, height) and at_edge(columns, width), "the side of a segment")
        check(size * (columns if kind == 1 else rows) <= 2**21, "a large segment")
        if (rows, columns) == (height, width):
            image, rows, columns = image + 1, 0, 0
    check((image, rows, columns) == (len(sizes), 0, 0), "the segments do not cover the images")


def at_edge(place, side):
    return place % 8 == 0 or place == side
