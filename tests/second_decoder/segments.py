"""Segments, coded one after the other (ARITHMETIC.md, sections 3 to 5 and 11 to 13)."""

import numpy as np

from tests.second_decoder.colour_counts import Counts, keys
from tests.second_decoder.context import context, forward, mean_maps, side_context, top_parameters
from tests.second_decoder.errors import check
from tests.second_decoder.integers import B, G, R
from tests.second_decoder.passes import part
from tests.second_decoder.step import distributions, pop_step

CONTEXT_ROWS, MANY = 8, 4096


def pop_segment(model, lanes, x, sides, top, free, counts=None, *, more):
    """x (images, 3, H, W) with the samples that are not free, and the x below it and to its right.

    top: mean32 and scale of R, of G, of B.
    """
    known, told = context(model, sides), [x, *side_context(model, 2, x)]
    y = told[-1].copy()
    y[free] = lanes.pop_array(
        model.p, *(part[free] for part in top_parameters(x.shape, top, more)), escapes=True
    )
    for k in reversed(range(model.count)):
        down = pop_step(model, lanes, k, y, known[k], free, told[k], None if k else counts)
        lanes.push_array(model.q, y[free], *forward(model, k, down[free]), escapes=False)
        y = down
    return y


def push_segment(model, lanes, x, sides, top, free, counts=None, *, more):
    known, told = context(model, sides), side_context(model, 2, x)
    for k in range(model.count):
        y = told[k].copy()
        y[free] = lanes.pop_array(model.q, *forward(model, k, x[free]), escapes=False)
        arrays = distributions(model, k, y, known[k], x, free)
        if counts and not k:
            places = [
                keys(x, parts, colour, part(free, parts, colour))
                for parts in model.passes(0)
                for colour in ((G,) if x.shape[1] == 1 else (G, R, B))
            ]
            counts.push_arrays(
                lanes, model.p, [(key, *array) for key, array in zip(places, arrays, strict=True)]
            )
            arrays = []
        for array in reversed(arrays):
            lanes.push_array(model.p, *array, escapes=True)
        x = y
    lanes.push_array(
        model.p, x[free], *(part[free] for part in top_parameters(x.shape, top, more)), escapes=True
    )


def places(sizes, start, segments):
    """(slice of images, slice of rows, slice of columns) of each segment (kind, size).

    One after the other from `start` = (image, rows, columns).
    """
    image, rows, columns = start
    for kind, size in segments:
        height, width = sizes[image][:2]
        if kind == 0:
            yield slice(image, image + size), slice(0, height), slice(0, width)
            image += size
            continue
        if kind == 1:
            columns = columns or width
            yield slice(image, image + 1), slice(rows, rows + size), slice(0, columns)
            rows += size
        else:
            yield slice(image, image + 1), slice(0, rows), slice(columns, columns + size)
            columns += size
        if (rows, columns) == (height, width):
            image, rows, columns = image + 1, 0, 0


def around(images, rows, columns):
    """x below and to the right of a place in each image."""
    m = CONTEXT_ROWS
    return (
        np.stack(
            [x[:, rows.stop : rows.stop + m, columns.start : columns.stop + m] for x in images]
        ),
        np.stack([x[:, rows, columns.stop : columns.stop + m] for x in images]),
    )


def lane_counts(sizes, start, segments, rule=None, masks=None):
    """Section 3: [0, lanes of the first segment, of the second, ...]; masks: (C, H, W) bool.

    rule: (samples, most) of the header; None for those that the package's encoder writes.
    """
    each, most = rule or (256, max(1, min(4096, sum(h * w * c for h, w, c in sizes) // 6144)))
    counts, coded = [0], 0
    for which, rows, columns in places(sizes, start, segments):
        for i in range(which.start, which.stop):
            mask = np.full((sizes[i][2], *sizes[i][:2]), True) if masks is None else masks[i]
            coded += int(mask[:, rows, columns].sum())
        counts.append(max(1, min(most, coded // each)))
    return counts


def free_of(masks, which, rows, columns):
    return np.stack([mask[:, rows, columns] for mask in masks[which]])


def decode(
    model,
    lanes,
    sizes,
    start,
    segments,
    top,
    told=None,
    sharpness=0,
    means=None,
    rule=None,
):
    """All segments, last first -> list of (H, W, C) uint8, 0 where the fallback parts lie.

    sizes: (height, width, channels) of each image; start: (image, rows, columns);
    told: (images (H, W, C) uint8, masks (H, W, C) bool, False where a sample is known), section 11;
    sharpness: section 12; means: (r, c, C) or None for each image, section 13;
    rule: as of lane_counts.
    """
    more = mean_maps(model, sizes, means)
    counts = Counts(sharpness) if sharpness else None
    images = [
        np.full((channels, height, width), -128, np.int64) for height, width, channels in sizes
    ]
    masks = [np.full(x.shape, True) for x in images]
    for i, (pixels, mask) in enumerate(zip(*told or ([], []))):
        masks[i] = mask.transpose(2, 0, 1)
        images[i][~masks[i]] = pixels.transpose(2, 0, 1)[~masks[i]].astype(np.int64) - 128
    counted = lane_counts(sizes, start, segments, rule, masks)
    lanes.open(counted.pop())
    for which, rows, columns in reversed(list(places(sizes, start, segments))):
        x = np.stack([x[:, rows, columns] for x in images[which]])
        free = free_of(masks, which, rows, columns)
        coded = int(free.sum())
        check(coded <= MANY or 4 * lanes.bits() >= coded, "too few bits for a segment")
        got = pop_segment(
            model,
            lanes,
            x,
            around(images[which], rows, columns),
            top,
            free,
            counts,
            more=np.stack([one[:, rows, columns] for one in more[which]]),
        )
        lanes.narrow(counted.pop())
        check(got.min() >= -128 and got.max() <= 127, "a value that is no pixel")
        if counts:
            counts.add(got)
        for x, block in zip(images[which], got):
            x[:, rows, columns] = block
    return [(x + 128).transpose(1, 2, 0).astype(np.uint8) for x in images]


def encode(model, lanes, images, start, segments, top, masks=None, sharpness=0, means=None):
    """Pushes what `decode` pops."""
    more = mean_maps(model, [pixels.shape for pixels in images], means)
    masks = [
        np.full(pixels.shape, True) if masks is None else masks[i]
        for i, pixels in enumerate(images)
    ]
    masks = [mask.transpose(2, 0, 1) for mask in masks]
    images = [pixels.transpose(2, 0, 1).astype(np.int64) - 128 for pixels in images]
    counts, blocks = (
        Counts(sharpness) if sharpness else None,
        list(places([x.shape[1:] for x in images], start, segments)),
    )
    parts = [
        np.stack([x[:, rows, columns] for x in images[which]]) for which, rows, columns in blocks
    ]
    for x in parts if counts else ():
        counts.add(x)
    counted = lane_counts(
        [x.shape[1:] + x.shape[:1] for x in images], start, segments, masks=masks
    )[1:]
    for (which, rows, columns), x, count in zip(blocks, parts, counted):
        lanes.widen(count)
        if counts:
            counts.add(x, -1)  # those after it are decoded before
        push_segment(
            model,
            lanes,
            x,
            around(images[which], rows, columns),
            top,
            free_of(masks, which, rows, columns),
            counts,
            more=np.stack([one[:, rows, columns] for one in more[which]]),
        )
