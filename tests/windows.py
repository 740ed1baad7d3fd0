"""Rules of Windows, imitated on other systems as far as the program meets them."""

import errno
import os
from types import SimpleNamespace

from bitsback import whole
from bitsback.cli import options, pool
from bitsback.codecs.bitstream import names
from bitsback.codecs.io import delivery


def _refused(path):
    """Whether Windows would refuse to remove or replace a file: it is read-only, or open."""
    if not os.path.lexists(path):
        return False
    opened = []
    for number in os.listdir("/proc/self/fd"):
        try:
            opened.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            pass
    return not os.lstat(path).st_mode & 0o200 or os.path.realpath(path) in opened


def imitate(monkeypatch):
    """No files without a name, no locks, one permission; read-only and open files stay; renaming
    does not replace; what is opened to be read cannot be flushed."""
    unlink, replace, rename = os.unlink, os.replace, os.rename
    fsync, chmod, open_ = os.fsync, os.chmod, os.open
    denied = PermissionError(errno.EACCES, "Permission denied")

    def unlinked(path, **place):
        if not place and _refused(path):
            raise denied
        unlink(path, **place)

    def replaced(path, other):
        if _refused(other):
            raise denied
        replace(path, other)

    def renamed(path, other):
        if os.path.lexists(other):
            raise FileExistsError(errno.EEXIST, "File exists")
        rename(path, other)

    def flushed(handle):
        with open(f"/proc/self/fdinfo/{handle}") as info:
            flags = next(int(line.split()[1], 8) for line in info if line.startswith("flags"))
        if flags & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        fsync(handle)

    def opened(path, flags, *rest, **options):
        if os.path.isdir(path):
            raise denied
        return open_(path, flags, *rest, **options)

    for module in (whole, delivery, names, options, pool):
        monkeypatch.setattr(module, "WINDOWS", True)
    for module in (whole, delivery):
        monkeypatch.setattr(module, "fcntl", None)
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    monkeypatch.setattr(os, "supports_fd", os.supports_fd - {os.utime})
    mine = SimpleNamespace(
        unlink=unlinked,
        remove=unlinked,
        replace=replaced,
        rename=renamed,
        fsync=flushed,
        open=opened,
        chmod=lambda path, mode: chmod(path, 0o666 if mode & 0o200 else 0o444),
    )
    for name, function in vars(mine).items():
        monkeypatch.setattr(os, name, function)
