"""Files of other versions of the format."""

import zlib

import pytest

from bitsback.codecs.bitstream import version
from bitsback.codecs.bitstream.container import read
from bitsback.errors import DamagedFile, NotOurFile
from tests.test_container import small_files


def test_names():
    assert version.VERSION == 16 and version.VERSION_NAME == version.version_name(16) == "1.0"
    assert version.version_name(0) == "0" and version.version_name(0x2F) == "2.15"


@pytest.mark.parametrize("byte, told", [(0, "0"), (15, "0.15"), (0x20, "2.0"), (255, "15.15")])
def test_another_version_says_so(byte, told):
    """A file of another major version is NotOurFile, whose message names both; of 0 the release."""
    data = bytearray(small_files()["plain"])
    data[4] = byte
    with pytest.raises(NotOurFile, match=f"version {told}, this program reads 1.x") as error:
        read(bytes(data))
    assert ("0.1.0" in str(error.value)) == (byte == 0)


@pytest.mark.parametrize("name", small_files())
def test_a_later_minor_version_is_read(name):
    """Of a file whose minor version alone is later, all is read."""
    data = small_files()[name]
    assert read(of_minor(data, 3)) == read(data)


@pytest.mark.parametrize("minor", [0, 1, 15])
def test_what_a_later_minor_version_added_is_refused_as_such(minor):
    """An unknown kind, mode or critical section: damage in a file of this version, else NotOurFile
    that names both versions, and the section."""
    critical = b"\1" + bytes([77, 14, 11]) + b"tone curves" + bytes(2)
    plain = small_files()["plain"]
    changed = {
        "unknown kind": plain[:5] + bytes([32]) + plain[6:],
        "an unknown mode": plain[:6] + bytes([31]) + plain[7:],
        'needs "tone curves" \\(section 77\\)': plain[:5] + bytes([8]) + plain[6:13] + critical,
        "needs section 78": plain[:5] + bytes([8]) + plain[6:13] + bytes([1, 78, 1, 0]),
        "needs section 79": plain[:5] + bytes([8]) + plain[6:13] + bytes([1, 79, 2, 1, 9]),
    }
    for told, data in changed.items():
        damaged = of_minor(data + bytes(4) * (told[0] == "n"), minor)
        with pytest.raises(NotOurFile if minor else DamagedFile, match=told) as error:
            read(damaged)
        later = f"; the file is of format 1.{minor}, this program reads 1.0"
        assert str(error.value).endswith(later) == bool(minor)


def test_a_wrong_checksum_is_damage_in_every_minor_version():
    data = bytearray(of_minor(small_files()["stack"], 2))
    data[-1] ^= 1
    with pytest.raises(DamagedFile, match="checksum of the file"):
        read(bytes(data))


def of_minor(data, minor):
    """A file with another minor version, and the right CRC."""
    data = data[:4] + bytes([0x10 + minor]) + data[5:-4]
    return data + zlib.crc32(data).to_bytes(4, "little")
