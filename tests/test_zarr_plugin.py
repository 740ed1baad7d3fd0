"""plugins/zarr.py: arrays of Zarr 3 written and read, by zarr and by xarray."""

import asyncio
import importlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitsback.codecs import encode, mode_decision
from bitsback.codecs.bitstream import container
from bitsback.errors import BitsbackError, UnsupportedImage, WrongModel

zarr = pytest.importorskip(
    "zarr", minversion="3", reason="zarr is not installed: pip install 'bitsback[zarr]'"
)
BitsbackCodec = importlib.import_module("bitsback.plugins.zarr").BitsbackCodec


@pytest.fixture(autouse=True)
def registered():
    """As the entry point does in an installed package."""
    zarr.registry.register_codec("bitsback", BitsbackCodec)


def created(store, pixels, chunks, codec):
    return zarr.create_array(
        store, data=pixels, chunks=chunks, serializer=codec, compressors=None, filters=None
    )


def files_of(folder):
    return [p for p in folder.rglob("*") if p.is_file() and p.name != "zarr.json"]


def test_a_colour_volume(tmp_path, tiny_model, photograph):
    """(Z, H, W, 3) in chunks that do not divide it: opened again, read whole and in part."""
    pixels = np.stack([photograph(20, 24, i) for i in range(5)])
    store = tmp_path / "a.zarr"
    created(store, pixels, (2, 16, 24, 3), BitsbackCodec(model=tiny_model.path))
    again = zarr.open_array(store, mode="r")
    assert np.array_equal(again[:], pixels) and np.array_equal(again[1:4, 3:19], pixels[1:4, 3:19])
    chunks = files_of(store)
    assert len(chunks) == 3 * 2
    assert all(container.read_header(p.read_bytes()).archive for p in chunks)
    told = json.loads((store / "zarr.json").read_text("utf-8"))["codecs"]
    assert told == [{"name": "bitsback", "configuration": {"model": str(tiny_model.path)}}]


@pytest.mark.slow
def test_gray_chunks_of_a_shipped_model(tmp_path, monkeypatch, photograph):
    """Under the fast model; the codec of Zarr 2 reads the same chunk without being told which."""
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
    pixels = photograph(56, 48)[..., 1]
    array = created(tmp_path / "a.zarr", pixels, pixels.shape, BitsbackCodec(model="fast"))
    assert np.array_equal(array[:], pixels)
    (file,) = files_of(tmp_path / "a.zarr")
    assert container.read_header(file.read_bytes()).model
    old = pytest.importorskip("bitsback.plugins.numcodecs").Bitsback()
    assert np.array_equal(old.decode(file.read_bytes()), pixels)


def test_a_gray_volume(tiny_model, photograph):
    """Axes before the last two number gray images; a last axis of 1 is their channel."""
    pixels = np.stack([photograph(16, 24, i)[..., 1] for i in range(4)]).reshape(2, 2, 16, 24)
    for some, chunks in ((pixels, (1, 2, 16, 24)), (pixels[0, ..., None], (2, 16, 24, 1))):
        array = created({}, some, chunks, BitsbackCodec(model=tiny_model.path))
        assert np.array_equal(array[:], some)


@settings(max_examples=6)
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=4),
    st.sampled_from([(), (1,), (3,), (4,)]),
    st.data(),
)
def test_any_shape_and_chunks(tiny_model, sizes, channels, data):
    """Of uint8 arrays of two axes or more."""
    shape = (*sizes, *channels)
    chunks = tuple(data.draw(st.integers(-(-size // 2), size)) for size in sizes) + channels
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    array = created({}, pixels, chunks, BitsbackCodec(model=tiny_model.path))
    assert np.array_equal(array[:], pixels)


@pytest.mark.parametrize("dtype", ["bool", "i1", "u2", "i4", "u8", "f2", "f4", "c8", "S3", "M8[s]"])
def test_other_types_are_refused_with_the_reason(dtype):
    """When the array is created, before anything is written."""
    store = {}
    with pytest.raises(UnsupportedImage, match="8 bits.*lossless"):
        zarr.create_array(
            store,
            shape=(8, 8),
            chunks=(8, 8),
            dtype=dtype,
            serializer=BitsbackCodec(),
            compressors=None,
        )
    assert not store


def test_arrays_of_one_axis_are_refused():
    with pytest.raises(UnsupportedImage, match=r"\(8,\)"):
        created({}, np.zeros(8, np.uint8), (8,), BitsbackCodec())


def test_synchronous_and_asynchronous_alike(photograph):
    """Both interfaces make the same bytes and read them back; foreign bytes are our errors."""
    from zarr.core.array_spec import ArrayConfig, ArraySpec
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.dtype import UInt8

    codec, prototype = BitsbackCodec(), default_buffer_prototype()
    spec = ArraySpec((9, 11, 3), UInt8(), 0, ArrayConfig.from_dict({}), prototype)
    pixels = photograph(9, 11)
    chunk = prototype.nd_buffer.from_ndarray_like(pixels)
    data = codec._encode_sync(chunk, spec)
    (other,) = asyncio.run(codec.encode([(chunk, spec)]))
    assert data.to_bytes() == other.to_bytes()
    (back,) = asyncio.run(codec.decode([(other, spec)]))
    assert np.array_equal(back.as_numpy_array(), pixels)
    assert np.array_equal(codec._decode_sync(data, spec).as_numpy_array(), pixels)
    for bad in (b"hello", data.to_bytes()[:-1]):
        with pytest.raises(BitsbackError):
            codec._decode_sync(prototype.buffer.from_bytes(bad), spec)
    small = ArraySpec((9, 10, 3), UInt8(), 0, ArrayConfig.from_dict({}), prototype)
    with pytest.raises(UnsupportedImage, match="9, 10, 3"):
        codec._decode_sync(data, small)


def test_configuration_and_pickle(tiny_model):
    """from_dict is the mirror of to_dict; the device is not stored; a wrong model is our error."""
    codec = BitsbackCodec(model=tiny_model.path)
    assert BitsbackCodec.from_dict(json.loads(json.dumps(codec.to_dict()))) == codec
    assert pickle.loads(pickle.dumps(codec)) == codec != BitsbackCodec()
    assert BitsbackCodec(device="cuda").to_dict() == BitsbackCodec().to_dict()
    with pytest.raises(WrongModel):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        created({}, noise, (64, 64, 3), BitsbackCodec(model="none.safetensors"))


def test_xarray(tmp_path, tiny_model, photograph):
    """A data set with images beside other variables; opened lazily."""
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    pixels = np.stack([photograph(16, 16, i) for i in range(3)])
    written = xarray.Dataset(
        {
            "image": (("time", "y", "x", "colour"), pixels),
            "mean": ("time", pixels.mean((1, 2, 3))),
        }
    )
    codec = BitsbackCodec(model=tiny_model.path)
    encoding = {"chunks": (1, 16, 16, 3), "serializer": codec, "compressors": None}
    written.to_zarr(tmp_path / "x.zarr", zarr_format=3, encoding={"image": encoding})
    with xarray.open_zarr(tmp_path / "x.zarr", chunks=None) as read:
        assert np.array_equal(read["image"].isel(time=1).values, pixels[1])
        assert np.array_equal(read["image"].values, pixels)
        assert np.array_equal(read["mean"].values, written["mean"].values)


def test_the_entry_point_names_the_class():
    """What pyproject.toml tells zarr is the class and its name."""
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
    line = text.split('[project.entry-points."zarr.codecs"]\n')[1].splitlines()[0]
    name, _, target = line.partition(" = ")
    module, _, attribute = target.strip('"').partition(":")
    assert getattr(importlib.import_module(module), attribute) is BitsbackCodec
    assert name == BitsbackCodec().to_dict()["name"]


def test_a_chunk_of_another_shape(tmp_path, photograph):
    """An image of as many samples, but other sides, is no chunk of the array."""
    store, pixels = tmp_path / "a.zarr", photograph(20, 24)
    array = created(store, pixels, pixels.shape, BitsbackCodec())
    (file,) = files_of(store)
    file.write_bytes(encode(np.ascontiguousarray(pixels.transpose(1, 0, 2))))
    with pytest.raises(UnsupportedImage, match="a chunk of .*24, 20"):
        array[:]
