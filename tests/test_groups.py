"""groups.py, bitstream/table.py, bitstream/chosen.py: archives that are read in part."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bitsback.codecs import Encoder, archive, decoder, groups, mode_decision
from bitsback.codecs.bitstream import chosen, container, table
from bitsback.codecs.bitstream.container import Entry
from bitsback.codecs.image import ImageData
from bitsback.codecs.io import facts, files
from bitsback.efforts import EFFORTS
from bitsback.errors import DamagedFile, NotOurFile, UnsupportedImage
from tests import numpy_decoder, test_format
from tests.commands import call, error_lines, names
from tests.test_version import of_minor


@pytest.fixture(scope="module")
def tree(tmp_path_factory, photograph):
    """Twelve small images in three folders."""
    folder = tmp_path_factory.mktemp("tree")
    for i in range(12):
        path = folder / ("cat", "dog", "owl")[i % 3] / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(photograph(16, 16 + 8 * (i // 8), i)).save(path)
    return folder


@pytest.fixture
def small_groups(monkeypatch):
    """Four images a group."""
    monkeypatch.setattr(groups, "GROUP_IMAGES", 4)
    monkeypatch.setattr(groups, "FEWEST_BYTES", 1)


@pytest.fixture
def grouped(tree, tiny_model, small_groups, tmp_path):
    """(path of an archive in three groups, its bytes)."""
    path = tmp_path / "set.bbk"
    files.compress_archive([tree], path, model=tiny_model)
    data = path.read_bytes()
    assert [group.images for group in container.read_groups(data)] == [4, 4, 4]
    return path, data


def damaged(data, number, at=-9):
    """The file with one bit of a group flipped, `at` a place in it."""
    group, altered = container.read_groups(data)[number], bytearray(data)
    altered[group.begin + at % group.size] ^= 4
    return bytes(altered)


# --- which images are in which group ---------------------------------------------------------


def test_sizes_of_groups():
    """About a megabyte, or 256 images of 32x32; small images fill 256 kB; no small rest."""
    count = lambda sizes: [len(part) for part in groups.split_images(sizes)]  # noqa: E731
    assert count([1150] * 256) == [256] and count([1150] * 1024) == [256] * 4
    assert count([1150] * 846) == [282] * 3
    assert count([2**18] * 8) == [4, 4] and count([100] * 2000) == [2000]
    assert count([2**23, 10, 10]) == [1, 2] or count([2**23, 10, 10]) == [3]
    assert count([5]) == [1] and count([2**22]) == [1]


@given(st.lists(st.integers(1, 2**22), min_size=1, max_size=300))
def test_groups_partition_the_images(sizes):
    """Each image is in one group, in order, and no group is empty."""
    parts = groups.split_images(sizes)
    assert [i for part in parts for i in part] == list(range(len(sizes)))
    assert all(len(part) for part in parts)
    assert all(len(p) <= 1 or sum(sizes[i] for i in p) < 2**20 + 2 * 2**22 for p in parts)


# --- the table -------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 999), st.binary(max_size=40)), min_size=2, max_size=9))
def test_table_round_trip(bodies):
    """read_table gives what join_groups was given, from all of a file or its beginning."""
    data = table.join_groups(b"\x8aBBK\x10", bodies)
    found = table.read_table(data)
    assert [(group.images, group.of(data)) for group in found] == bodies
    assert found == table.read_table(data[: table.table_bytes(data)], len(data))
    assert numpy_decoder.groups(data) == bodies
    assert [group.first for group in found] == np.cumsum([0, *(n for n, _ in bodies)])[:-1].tolist()


def test_one_group_has_no_table():
    """A small archive is what it was before there were groups."""
    assert table.join_groups(b"head.", [(3, b"archive")]) == b"archive"


def test_tables_that_lie(grouped):
    """Bytes after the groups, no images, one group, a table altered or cut: DamagedFile."""
    data = grouped[1]
    begin = container.read_groups(data)[0].begin
    bodies = [(4, group.of(data)) for group in container.read_groups(data)]
    head = data[:5]
    for wrong in (
        data + b"\0",
        table.join_groups(head, [(0, bodies[0][1]), bodies[1]]),
        table.join_groups(head, [(2**24, bodies[0][1]), bodies[1]]),
        data[: begin - 1],
        data[:6] + bytes([data[6] ^ 1]) + data[7:],
    ):
        for read in (container.read, container.read_header, decoder.decode_images):
            with pytest.raises(DamagedFile):
                read(wrong)
    with pytest.raises(UnsupportedImage, match="in 3 groups"):
        container.read(data)


def test_a_group_is_an_archive_of_the_tables_images(grouped, tiny_model):
    """Another number of images, a single image, groups within a group: DamagedFile."""
    data = grouped[1]
    bodies = [(4, group.of(data)) for group in container.read_groups(data)]
    alone = Encoder().encode(ImageData("P", np.zeros((3, 3), np.uint8)))
    for wrong in ((3, bodies[0][1]), (1, alone)):
        made = container.write_groups([wrong, bodies[1]])
        with pytest.raises(DamagedFile, match="group 1 of 2.*table"):
            container.read_header(made)
    later = b"\x8aBBK\x20" + bodies[0][1][5:]
    for wrong in ((12, data), (4, later), (4, b""), (4, bodies[0][1][:4])):
        with pytest.raises(DamagedFile, match="group 1 of 2: a group that does not begin as one"):
            decoder.decode_images(container.write_groups([wrong, bodies[1]]), model=tiny_model)


def test_as_the_document_says(grouped):
    """By FORMAT.md's parsers: groups, and each as an archive."""
    found = numpy_decoder.groups(grouped[1])
    assert [images for images, _ in found] == [4, 4, 4]
    for images, data in found:
        header, _ = test_format.compare(data)
        assert header.archive and len(header.entries) == images


# --- coding ----------------------------------------------------------------------------------


def test_all_images_come_back(grouped, tree, tiny_model):
    """decode_images and the header of all groups; progress rises to 1."""
    shares = []
    header, images = decoder.decode_images(grouped[1], model=tiny_model, progress=shares.append)
    assert header.archive and len(header.entries) == len(images) == 12
    for entry, image in zip(header.entries, images):
        assert np.array_equal(image.samples, np.array(Image.open(tree / entry.name)))
    assert container.read_header(grouped[1]).entries == header.entries
    assert shares == sorted(shares)


def test_groups_are_what_the_encoder_makes_of_their_images(grouped, tiny_model):
    """Nothing depends on the other groups: each is the archive of its images alone."""
    for group in container.read_groups(grouped[1]):
        data = group.of(grouped[1])
        header, images = decoder.decode_images(data, model=tiny_model)
        assert Encoder(tiny_model).encode_many(images, header.entries) == data


class Here:
    """An executor in this process."""

    def __enter__(self):
        from concurrent.futures import ThreadPoolExecutor

        self.pool = ThreadPoolExecutor(2)
        return self.pool

    def __exit__(self, *_):
        self.pool.shutdown()


def test_groups_at_once_are_the_same(grouped, tree, tiny_model):
    """Through an executor: the same bytes, the same images, damage told of its group."""
    path, data = grouped
    made, _ = archive.encode_archive([tree], model=tiny_model, processes=Here)
    assert made == data
    found = container.read_groups(data)
    numbered = dict(enumerate(found))
    done = dict(groups.decoded_groups(damaged(data, 1), numbered, model=tiny_model, processes=Here))
    assert sorted(done) == [0, 1, 2] and isinstance(done[1], DamagedFile)
    assert all(len(done[i][1]) == 4 for i in (0, 2))


def test_all_damaged_groups_are_named(grouped, tiny_model):
    """`test`, with groups at once too, in their order; a whole file has the header of all."""
    path, data = grouped
    for processes in None, Here:
        path.write_bytes(data)
        header = files.check_file(path, model=tiny_model, processes=processes)
        assert header.entries == container.read_header(data).entries
        path.write_bytes(damaged(damaged(data, 2), 0))
        first = header.entries[0].name
        with pytest.raises(DamagedFile, match=f"group 1 .*{first} and 3 more.; group 3 of 3"):
            files.check_file(path, model=tiny_model, processes=processes)


def test_a_device_without_memory(grouped, tiny_model, monkeypatch):
    """After the first group, which its caller may try again, a group is decoded on the CPU."""
    tried, decode = [], groups.decode_group

    def small(data, group, *, device, **options):
        tried.append((group.first, device))
        if device != "cpu" and (group.first == 4 or not fits):
            raise RuntimeError("CUDA out of memory")
        return decode(data, group, device="cpu", **options)

    monkeypatch.setattr(groups, "decode_group", small)
    numbered, fits = dict(enumerate(container.read_groups(grouped[1]))), True
    done = dict(groups.decoded_groups(grouped[1], numbered, model=tiny_model, device="cuda"))
    assert [len(done[i][1]) for i in range(3)] == [4, 4, 4]
    assert tried == [(0, "cuda"), (4, "cuda"), (4, "cpu"), (8, "cuda")]
    fits = False
    with pytest.raises(RuntimeError):
        next(groups.decoded_groups(grouped[1], numbered, model=tiny_model, device="cuda"))


@pytest.mark.slow
def test_groups_in_processes(grouped, tree, tiny_model, tmp_path):
    """`-j 2`, in processes of their own."""
    out, options = tmp_path / "out", ["-q", "-j", 2, "--model", tiny_model.path]
    assert call("decompress", *options, "--dir", out, grouped[0]).exit_code == 0
    assert names(out) == names(tree)
    assert all(np.array_equal(Image.open(out / n), Image.open(tree / n)) for n in names(tree))


# --- reading in part -------------------------------------------------------------------------


def test_only_some_images(grouped, tree, tiny_model, tmp_path, monkeypatch):
    """--only writes what matches, decodes no group without it, and names what matches nothing."""
    decoded, decode = [], groups.decode_group
    monkeypatch.setattr(
        groups, "decode_group", lambda d, g, **o: decoded.append(g.first) or decode(d, g, **o)
    )
    path, out = grouped[0], tmp_path / "out"
    arguments = ["decompress", "-q", "--model", tiny_model.path, "--dir", out, path, "--only"]
    assert call(*arguments, "owl/0*", "--only", "cat/03.png").exit_code == 0
    assert names(out) == ["cat/03.png", "owl/02.png", "owl/05.png", "owl/08.png"]
    found = container.read_header(path.read_bytes()).entries
    first = next(entry.name for entry in found)
    assert call(*arguments, first, "-f").exit_code == 0 and decoded[-1] == 0
    before = len(decoded)
    result = call(*arguments, "bird*")
    assert result.exit_code == 1 and "bird*" in error_lines(result)[0] and len(decoded) == before
    assert call("decompress", "--rm", path, "--only", "a").exit_code == 2


def test_only_is_for_archives(tmp_path):
    """A file of one image has no names."""
    (tmp_path / "a.bbk").write_bytes(Encoder().encode(ImageData("L", np.zeros((3, 3), np.uint8))))
    result = call("decompress", tmp_path / "a.bbk", "--only", "a")
    assert result.exit_code == 1 and "one image" in error_lines(result)[0]


@pytest.mark.parametrize("at", [-9, 20, 0])
def test_one_damaged_group_leaves_the_others(grouped, tree, tiny_model, tmp_path, at):
    """decompress writes the others, says which are lost, exits with 1, and --rm keeps the file."""
    path, data = grouped
    path.write_bytes(damaged(data, 1, at))
    out, lost = tmp_path / "out", container.read_header(data).entries[4:8]
    result = call("decompress", "--model", tiny_model.path, "--rm", "--dir", out, path)
    (line,) = error_lines(result)
    assert result.exit_code == 1 and path.exists() and "8 images written" in line
    assert "group 2 of 3" in line and (f"{lost[0].name} and 3 more" in line) == (at != 20)
    assert names(out) == sorted(set(names(tree)) - {entry.name for entry in lost})
    result = call("info", path)
    assert result.exit_code == 1 and "group 2 of 3" in error_lines(result)[0]
    assert "group 3" in result.stdout and lost[0].name not in result.stdout
    result = call("test", "--model", tiny_model.path, path)
    assert result.exit_code == 1 and "group 2 of 3" in error_lines(result)[0]


def test_damage_behind_a_right_checksum(grouped, tiny_model, tmp_path):
    """A group whose pixels are not those of its digest: found by decoding, named, left out."""
    path, data = grouped
    bodies = [group.of(data) for group in container.read_groups(data)]
    header, payload = container.read(bodies[0])
    bodies[0] = container.write(dataclasses.replace(header, digest=bytes(8)), payload)
    path.write_bytes(container.write_groups([(4, body) for body in bodies]))
    result = call("decompress", "--model", tiny_model.path, "--dir", tmp_path / "out", path)
    (line,) = error_lines(result)
    assert result.exit_code == 1 and header.entries[0].name in line and "group 1 of 3" in line
    assert len(names(tmp_path / "out")) == 8


def later(body, told):
    """An archive as a later minor version may write it: with a critical section that it names, or
    with pixels that are not those of the digest as it is known here."""
    header, payload = container.read(body)
    changes = {"sections": {77: b"\x0btone curves"}} if told else {"digest": bytes(8)}
    return of_minor(container.write(dataclasses.replace(header, **changes), payload), 2)


@pytest.mark.parametrize("told", ['needs "tone curves" (section 77)', ""])
def test_a_group_of_a_later_version_leaves_the_others(grouped, tree, tiny_model, tmp_path, told):
    """As a damaged one, by every command; it is not called damaged."""
    path, data = grouped
    found = container.read_groups(data)
    bodies = [group.of(data) for group in found]
    names_of = [[entry.name for entry in container.read_header(b).entries] for b in bodies]
    bodies[1] = later(bodies[1], told)
    path.write_bytes(container.write_groups([(4, body) for body in bodies]))
    out, options = tmp_path / "out", ["--model", tiny_model.path]
    for salvage in [], ["--salvage"]:
        result = call("decompress", *options, *salvage, "-f", "--dir", out, path)
        (line,) = error_lines(result)
        assert result.exit_code == 1 and "group 2 of 3" in line and told in line
        assert "of format 1.2, this program reads 1.0" in line and "amaged" not in line
        assert f"({names_of[1][0]} and 3 more)" in line
        assert names(out) == sorted(set(names(tree)) - set(names_of[1]))
    result = call("decompress", *options, "--rm", "-f", "--dir", out, path)
    assert result.exit_code == 1 and path.exists()
    options += ["--dir", out, "-f"]
    assert call("decompress", *options, "--only", names_of[0][0], path).exit_code == 0
    with pytest.raises(NotOurFile, match="8 images written, not all: group 2 of 3"):
        files.decompress_file(path, folder=out, force=True, model=tiny_model, processes=Here)
    result = call("test", "--model", tiny_model.path, path)
    assert result.exit_code == 1 and "group 2 of 3" in error_lines(result)[0]
    path.write_bytes(container.write_groups([(4, bodies[1])] * 2))
    result = call("decompress", *options, "--only", "none", path)
    assert result.exit_code == 1 and len(error_lines(result)) == 1


def test_a_file_that_was_cut_short(grouped, tiny_model, tmp_path):
    """The groups before the cut are there."""
    path, data = grouped
    path.write_bytes(data[: container.read_groups(data)[2].begin + 50])
    result = call("decompress", "--model", tiny_model.path, "--dir", tmp_path / "out", path)
    assert result.exit_code == 1 and len(names(tmp_path / "out")) == 8
    path.write_bytes(data[: container.read_groups(data)[0].begin + 50])
    result = call("decompress", "--model", tiny_model.path, "--dir", tmp_path / "out2", path)
    assert result.exit_code == 1 and len(error_lines(result)) == 1


def test_damage_elsewhere_does_not_concern_only(grouped, tiny_model, tmp_path):
    """--only of images in whole groups succeeds, if the damaged one's index says it has none."""
    path, data = grouped
    path.write_bytes(damaged(data, 1))
    last = container.read_header(data).entries[-1].name
    options = ["--model", tiny_model.path, "--dir", tmp_path / "out", "--only", last]
    assert call("decompress", *options, path).exit_code == 0
    assert chosen.salvaged_names(b"", container.read_groups(data)[0]) == []


def test_many_damaged_groups_in_one_line(grouped, tiny_model, tmp_path):
    """The first ones and how many more, not a line of megabytes."""
    path, data = grouped
    body = container.read_groups(data)[0].of(data)
    path.write_bytes(container.write_groups([(4, body)] + [(1, b"none")] * 5000))
    for command in ("info",), ("decompress", "--model", tiny_model.path, "-f", "--dir", tmp_path):
        for option in [[]] if command == ("info",) else [[], ["--salvage"]]:
            result = call(*command, *option, path)
            (line,) = error_lines(result)
            assert result.exit_code == 1 and line.endswith("; and 4980 more") and len(line) < 3000


def test_two_groups_with_one_name(grouped, tmp_path):
    """Refused before anything is written."""
    path, data = grouped
    body = container.read_groups(data)[0].of(data)
    path.write_bytes(container.write_groups([(4, body), (4, body)]))
    result = call("decompress", "--dir", tmp_path / "out", path)
    assert result.exit_code == 1 and "one name" in error_lines(result)[0]
    assert not names(tmp_path / "out")


def test_facts_add_up(grouped):
    """`info`: sizes, groups, and rates whose parts are the whole."""
    data = grouped[1]
    told = facts.describe("set.bbk", data)
    table_bytes = container.read_groups(data)[0].begin
    assert sum(group["bytes"] for group in told["groups"]) + table_bytes == len(data)
    assert told["images"] == 12 and len(told["sizes"]) == len(told["names"]) == 12
    assert set(map(tuple, told["sizes"])) == {(16, 16), (24, 16)} and told["damaged"] == []
    assert abs(8 * len(data) / told["bits_per_dim"] - 3 * 16 * (8 * 16 + 4 * 24)) < 1e-6
    printed = call("info", grouped[0]).stdout
    assert "group 3" in printed and "cat/00.png  16x16" in printed


def test_facts_of_a_group_without_segments(tiny_model, photograph, monkeypatch):
    """One group by the fallback codec alone beside one under the prior: info and view tell both."""
    monkeypatch.setattr(mode_decision, "fallback_hopeless", lambda *_: True)
    made = []
    for name, mode, pixels in (
        ("a", "RGB", photograph(64, 64)),
        ("b", "P", photograph(9, 9)[..., 0] % 7),
    ):
        palette = {"palette": bytes(21)} if mode == "P" else {}
        entry = Entry(*pixels.shape[1::-1], name, mode=mode)
        image = ImageData(mode, np.ascontiguousarray(pixels), palette)
        made.append((1, Encoder(tiny_model).encode_many([image], (entry,))))
    data = container.write_groups(made)
    assert [bool(container.read_header(one).model) for _, one in made] == [True, False]
    told = facts.describe("set.bbk", data)
    assert told["segments"] == len(container.read_header(made[0][1]).segments)
    assert told["images"] == 2 and abs(8 * len(data) / told["bits_per_dim"] - 3 * 64**2 - 81) < 1e-6


def test_entries_are_checked_before_the_work():
    """A name in two groups is refused by the encoder's side."""
    images = [ImageData("L", np.zeros((2, 2), np.uint8))] * 2
    with pytest.raises(UnsupportedImage):
        Encoder().encode_many(images, (Entry(2, 2, "a", mode="L"),) * 2)


def test_processes_have_the_encoders_options():
    """Its effort too: libjxl's effort 9 belongs to `max`."""
    for effort in ("max", "best", None):
        encoder = Encoder("fast", effort=effort, tuning=0, verify=True)
        again = groups._encoder(encoder.options)
        assert (again.jxl, again.tuning, again.verify) == (encoder.jxl, 0, True)
        assert again.options == encoder.options
    assert groups._encoder(Encoder(effort="max").options).tuning == EFFORTS["max"].tuning
