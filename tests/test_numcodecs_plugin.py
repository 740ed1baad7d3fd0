"""plugins/numcodecs.py: chunks of images there and back, in numcodecs and in Zarr."""

import importlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitsback.codecs import encode, mode_decision
from bitsback.codecs.bitstream import container
from bitsback.errors import BitsbackError, NotOurFile, UnsupportedImage, WrongModel
from bitsback.integer.installed import shipped_models

numcodecs = pytest.importorskip(
    "numcodecs", reason="numcodecs is not installed: pip install 'bitsback[numcodecs]'"
)
Bitsback = importlib.import_module("bitsback.plugins.numcodecs").Bitsback


@pytest.mark.parametrize(
    "shape",
    [(9, 11, 3), (9, 11), (4, 20, 24, 3), (1, 5, 7, 3), (60, 52, 3), (9, 11, 4), (2, 20, 24, 4)],
)
@pytest.mark.parametrize("dtype", ["u1", "<u2"])
def test_chunks_come_back(tiny_model, photograph, shape, dtype):
    """Exact samples in the shape that went in; into `out` too; the bytes are a .bbk file."""
    pixels = (
        np.stack([photograph(*shape[-3:-1], i) for i in range(shape[0])])
        if len(shape) == 4
        else photograph(*shape[:2])
    )
    if shape[-1] == 4:
        pixels = np.concatenate([pixels, pixels[..., :1]], -1)
    pixels = pixels if shape[-1] in (3, 4) else np.ascontiguousarray(pixels[..., 1])
    pixels = (pixels * np.int32(1 if dtype == "u1" else 201)).astype(dtype)
    codec = Bitsback(model=tiny_model.path)
    data, out = codec.encode(pixels), np.empty(shape, dtype)
    assert data[:4] == container.MAGIC and container.read_header(data).archive == (len(shape) == 4)
    back = codec.decode(data)
    assert back.shape == shape and back.dtype == dtype and np.array_equal(back, pixels)
    codec.decode(np.frombuffer(data, np.uint8), out)
    assert np.array_equal(out, pixels)
    out = np.empty(shape, dtype, order="F")
    assert codec.decode(data, out) is out and np.array_equal(out, pixels)


def test_images_keep_their_places_under_the_prior(tiny_model, photograph, monkeypatch):
    """The coder moves images for the fallback codec to the front; the chunk keeps its order."""
    pixels = np.stack(
        [photograph(32, 32, 1), np.zeros((32, 32, 3), np.uint8), photograph(32, 32, 2)]
    )
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
    monkeypatch.setattr(
        mode_decision,
        "prior_likely",
        lambda images, *_: [bool(image.samples.any()) for image in images],
    )
    codec = Bitsback(model=tiny_model.path)
    data = codec.encode(pixels)
    header = container.read_header(data)
    assert (
        header.model
        and header.fallback_count == 1
        and [e.name for e in header.entries] == ["1", "0", "2"]
    )
    assert np.array_equal(Bitsback(model=tiny_model.path).decode(data), pixels)
    with pytest.raises(WrongModel):
        Bitsback().decode(data)


def test_what_is_no_image_is_refused():
    """Other types and shapes, empty chunks, and buffers without a shape, unless it is
    configured.
    """
    codec = Bitsback()
    for wrong in (
        np.zeros((4, 4, 3), np.int16),
        np.zeros((4, 4, 3), ">u2"),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((2, 4, 4, 1), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(48, np.uint8),
    ):
        with pytest.raises(UnsupportedImage, match="chunk"):
            codec.encode(wrong)
    with pytest.raises(UnsupportedImage, match="shape="):
        codec.encode(bytes(48))
    shaped = Bitsback(shape=(4, 4, 3))
    assert shaped.decode(shaped.encode(bytes(range(48)))).tobytes() == bytes(range(48))
    with pytest.raises(UnsupportedImage, match="47 samples"):
        shaped.encode(bytes(47))


def test_fortran_order_is_refused(photograph):
    """Zarr 2 would take the samples, which come back in C order, for memory in the array's order:
    wrong pixels.  An array whose memory is the same in both orders is none of these."""
    codec, pixels = Bitsback(), photograph(9, 11)
    for wrong in (np.asfortranarray(pixels), np.asfortranarray(pixels[..., 0]), pixels.T):
        with pytest.raises(UnsupportedImage, match="Fortran"):
            codec.encode(wrong)
    column = np.asfortranarray(pixels[:, :1, 0])
    for fine in (column, pixels[::2, ::2], pixels.transpose(1, 0, 2)):
        assert np.array_equal(codec.decode(codec.encode(fine)), fine)
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    array = zarr.create_array(
        store=zarr.storage.MemoryStore(),
        shape=pixels.shape,
        chunks=pixels.shape,
        dtype="u1",
        compressors=codec,
        zarr_format=2,
        order="F",
    )
    with pytest.raises(UnsupportedImage, match="order='C'"):
        array[...] = pixels


def test_foreign_bytes_are_errors_of_ours(photograph):
    """No chunk, a damaged one, an archive of named images."""
    data = encode(photograph(5, 5))
    for bad in (b"", b"hello", data[:-1]):
        with pytest.raises(BitsbackError):
            Bitsback().decode(bad)
    with pytest.raises(NotOurFile):
        Bitsback().decode(b"\x89PNG" + bytes(30))


def test_configuration_and_pickle(tiny_model):
    """get_config is JSON, from_config and pickle give an equal codec."""
    codec = Bitsback(model=tiny_model.path, shape=(4, 4, 3), device="cuda")
    config = json.loads(json.dumps(codec.get_config()))
    numcodecs.register_codec(Bitsback)
    assert (
        numcodecs.get_codec(config) == codec == pickle.loads(pickle.dumps(codec))
        and codec != Bitsback()
    )
    assert "shape=(4, 4, 3)" in repr(codec)
    # the device is that of the process, not of the store
    assert "device" not in config and pickle.loads(pickle.dumps(codec)).device == "cuda"
    for known in (config, config | {"device": "cuda"}):
        assert numcodecs.get_codec(dict(known)).device == "cpu"


def test_masks_are_refused():
    with pytest.raises(UnsupportedImage, match="mask"):
        Bitsback().encode(np.ma.masked_array(np.zeros((4, 4), np.uint8), True))


def test_a_buffer_with_a_shape(photograph):
    pixels = photograph(6, 5)
    assert np.array_equal(Bitsback().decode(Bitsback().encode(memoryview(pixels))), pixels)


@pytest.mark.slow
def test_a_chunk_is_read_without_the_path_of_its_model(tmp_path, monkeypatch, photograph):
    """A store comes from another machine; the model is shipped."""
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
    path = tmp_path / "mine.safetensors"
    shutil.copy(shipped_models()["fast"], path)
    pixels = photograph(56, 48)
    data = Bitsback(model=path).encode(pixels)
    assert container.read_header(data).model
    path.unlink()
    assert np.array_equal(Bitsback(model=path).decode(data), pixels)
    with pytest.raises(WrongModel, match="mine"):
        Bitsback(model=path).encode(pixels)


def test_the_entry_point_names_the_class():
    """What pyproject.toml tells numcodecs is the class and its id."""
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
    line = text.split('[project.entry-points."numcodecs.codecs"]\n')[1].splitlines()[0]
    name, _, target = line.partition(" = ")
    module, _, attribute = target.strip('"').partition(":")
    assert (
        getattr(importlib.import_module(module), attribute) is Bitsback
        and name == Bitsback.codec_id
    )


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_zarr_arrays(tmp_path, tiny_model, photograph, dtype):
    """A Zarr array of several chunks, with partial ones at the edge, written, opened again and
    read.
    """
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    numcodecs.register_codec(Bitsback)
    pixels = np.stack([photograph(20, 24, i) for i in range(3)])
    pixels = pixels.astype(dtype) * np.dtype(dtype).type(1 if dtype == "u1" else 201)
    array = zarr.create_array(
        store=str(tmp_path / "a.zarr"),
        shape=pixels.shape,
        chunks=(2, 16, 24, 3),
        dtype=dtype,
        zarr_format=2,
        compressors=Bitsback(model=tiny_model.path),
        filters=None,
    )
    array[:] = pixels
    again = zarr.open_array(str(tmp_path / "a.zarr"), mode="r")
    assert np.array_equal(again[:], pixels) and np.array_equal(again[1, 3:19], pixels[1, 3:19])
    stored = [
        path
        for path in (tmp_path / "a.zarr").rglob("*")
        if path.is_file() and path.read_bytes()[:4] == container.MAGIC
    ]
    assert len(stored) == 4


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=3),
    st.sampled_from([(), (3,), (4,)]),
    st.sampled_from(["u1", "<u2"]),
    st.integers(0, 9),
)
def test_any_shape_and_type_comes_back(tiny_model, sizes, channels, dtype, seed):
    """Of images and of stacks of images, gray, RGB and RGBA, of 8 and 16 bits."""
    if len(sizes) == 3 and not channels:
        channels = (3,)  # a stack of gray images would be taken as one of few channels
    shape = (*sizes, *channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)
    codec = Bitsback(model=tiny_model.path)
    back = codec.decode(codec.encode(pixels))
    assert back.shape == shape and back.dtype == dtype and np.array_equal(back, pixels)


@pytest.mark.parametrize("dtype", ["?", "i1", ">u2", "i4", "u8", "f2", "f8", "c8", "S3", "M8[s]"])
def test_other_types_are_refused_with_the_reason(dtype):
    """One line that says which types there are."""
    with pytest.raises(UnsupportedImage, match="uint8|8 or 16 bits|bits"):
        Bitsback().encode(np.zeros((4, 4, 3), dtype))


def test_a_chunk_of_another_shape(photograph):
    """An image of as many samples, but other sides, is neither `out` nor of the codec's shape."""
    pixels = photograph(20, 24)
    data = Bitsback().encode(np.ascontiguousarray(pixels.transpose(1, 0, 2)))
    with pytest.raises(UnsupportedImage, match="a chunk of .*24, 20"):
        Bitsback().decode(data, np.empty_like(pixels))
    with pytest.raises(UnsupportedImage, match="a chunk of .*24, 20"):
        Bitsback(shape=pixels.shape).decode(data)
    flat = np.empty(pixels.size, np.uint8)
    Bitsback().decode(data, flat)
    assert np.array_equal(flat, pixels.transpose(1, 0, 2).ravel())


def test_an_output_in_fortran_order(photograph):
    """The samples go where they belong, sides of one or not; what does not fit is refused."""
    codec, pixels = Bitsback(), photograph(9, 11)
    data = codec.encode(pixels)
    for shape in ((9, 11, 3), (1, 9, 11, 3)):
        out = np.zeros(shape, np.uint8, order="F")
        assert codec.decode(data, out) is out and np.array_equal(out.reshape(9, 11, 3), pixels)
    with pytest.raises(UnsupportedImage, match="does not fit"):
        codec.decode(data, np.zeros((9, 11, 3), np.int8, order="F"))
