"""Launching Triton kernels at little cost to the host.

`kernel[grid](...)` works out at each call which of its compiled forms fits the arguments: 20 to 30
microseconds of Python.  Here the form of the first call is kept, and run directly where the
arguments of a later call need the same.
"""

import struct
from operator import attrgetter, itemgetter
from typing import Any

import torch
from torch import Tensor
from triton.runtime import driver
from triton.runtime.jit import JITFunction

ALIGNED = 16  # bytes: a compiled kernel may count on it for the arrays of its first call
_dtype = attrgetter("dtype")


def _chosen(places: list[int]) -> Any:
    """A function from a tuple to the elements at these places, as a tuple."""
    if len(places) == 1:
        return lambda values, only=places[0]: (values[only],)
    return itemgetter(*places) if places else lambda values: ()


def _form(value: int) -> int:
    """What a kernel is compiled for, of an integer that it is specialised on."""
    return 1 if value == 1 else value % ALIGNED == 0 and ALIGNED


class Launcher:
    """Launches of one kernel with one set of constants; use `launcher`.

    constants: its constexpr parameters, which are its last, and how it is run (num_warps, ...).
    name: the kernel's.
    """

    def __init__(self, kernel: Any, constants: dict[str, Any]):
        self.name = getattr(kernel, "__name__", "")
        self._kernel, self._constants = kernel, constants
        self._compiled: dict[Any, Any] | None = {} if isinstance(kernel, JITFunction) else None
        self._seen = False

    def _inspect(self, arguments: tuple[Any, ...]) -> None:
        """Finds the arrays and the integers among the arguments."""
        parameters = self._kernel.params
        tensors = [i for i, value in enumerate(arguments) if isinstance(value, Tensor)]
        integers = [i for i, value in enumerate(arguments) if type(value) is int]
        names = [parameter.name for parameter in parameters[len(arguments) :]]
        if len(tensors) + len(integers) < len(arguments) or not self._constants.keys() >= {*names}:
            self._compiled = None
            return
        special = {i for i in range(len(arguments)) if not parameters[i].do_not_specialize}
        self._tensors, self._integers = _chosen(tensors), _chosen(integers)
        self._aligned = _chosen([i for i in tensors if i in special])
        self._special = _chosen([i for i in integers if i in special])
        self._as_int32 = struct.Struct(f"{len(integers)}i").pack
        self._last = tuple(self._constants[name] for name in names)
        self._seen = True  # last, for other threads

    def __call__(self, grid: tuple[int, ...], *arguments: Any) -> None:
        """Launches the kernel on the device of the first argument, an array.

        Arguments are arrays and integers, each always where it was at the first call.
        """
        if self._compiled is not None and not self._seen:
            self._inspect(arguments)
        compiled = self._compiled
        if compiled is None:
            self._plain(grid, arguments)
            return
        active = driver.active
        device, current = arguments[0].get_device(), active.get_current_device()
        if device != current and device >= 0:  # Triton launches on the current device
            with torch.cuda.device(device):
                return self(grid, *arguments)
        if self._odd(arguments):
            self._plain(grid, arguments)
            return
        key = (
            current,
            *map(_dtype, self._tensors(arguments)),
            *map(_form, self._special(arguments)),
        )
        found = compiled.get(key)
        if found is None:
            made = self._plain(grid, arguments)
            if all(hasattr(made, name) for name in ("run", "function", "packed_metadata")):
                compiled[key] = made
            return
        try:
            self._direct(found, grid, active.get_current_stream(current), arguments)
        except TypeError:  # a Triton whose compiled kernels take other arguments
            self._compiled = None
            self._plain(grid, arguments)

    def _odd(self, arguments: tuple[Any, ...]) -> bool:
        """Whether these need another form: for arrays at odd addresses, or integers past int32."""
        for array in self._aligned(arguments):
            if array.data_ptr() % ALIGNED:
                return True
        try:
            self._as_int32(*self._integers(arguments))
        except struct.error:
            return True
        return False

    def _plain(self, grid: tuple[int, ...], arguments: tuple[Any, ...]) -> Any:
        return self._kernel[grid](*arguments, **self._constants)

    def _direct(
        self, found: Any, grid: tuple[int, ...], stream: int, arguments: tuple[Any, ...]
    ) -> None:
        """As JITFunction.run does, once it has found the compiled kernel."""
        x, y, z = (*grid, 1, 1)[:3]
        where = stream, found.function, found.packed_metadata
        found.run(x, y, z, *where, None, None, None, *arguments, *self._last)


def launcher(kernel: Any, **constants: Any) -> Launcher:
    """The Launcher of a kernel and constants, always the same one: the kernel keeps it."""
    try:
        return kernel.launchers[(*constants.items(),)]
    except AttributeError:
        kernel.launchers = {}
    except KeyError:
        pass
    return kernel.launchers.setdefault((*constants.items(),), Launcher(kernel, constants))


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """kernel[grid](*arguments, **constants), as Launcher.__call__."""
    launcher(kernel, **constants)(grid, *arguments)
