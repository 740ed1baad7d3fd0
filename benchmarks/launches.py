"""Counts what a device is asked to do: torch operations that compute, and launches of kernels."""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

FREE = (
    "empty",
    "new_empty",
    "empty_like",
    "empty_strided",
    "new_empty_strided",
    "detach",
    "_unsafe_view",
)


class _Operations(TorchDispatchMode):
    def __init__(self, counted: Counter):
        super().__init__()
        self.counted = counted

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        schema = function._schema
        view = any(r.alias_info and not r.alias_info.is_write for r in schema.returns)
        name = schema.name.removeprefix("aten::")
        if not view and name not in FREE:
            self.counted[name] += 1
        return function(*arguments, **(options or {}))


@contextmanager
def launches() -> Iterator[Counter]:
    """Counter of operations by name while it is open; views and allocations are none."""
    counted: Counter = Counter()
    undo: list[Callable[[], None]] = []
    try:
        from triton.runtime.interpreter import InterpretedFunction
        from triton.runtime.jit import JITFunction

        from bitsback.ans.launch import Launcher

        for kind in (JITFunction, InterpretedFunction):
            run = kind.run

            def counting(self: Any, *arguments: Any, _run: Any = run, **options: Any) -> Any:
                counted["kernel " + self.fn.__name__] += 1
                return _run(self, *arguments, **options)

            kind.run = counting
            undo.append(functools.partial(setattr, kind, "run", run))
        direct = Launcher._direct

        def counting_direct(self: Any, *arguments: Any) -> None:
            counted["kernel " + self.name] += 1
            direct(self, *arguments)

        Launcher._direct = counting_direct  # type: ignore[method-assign]
        undo.append(functools.partial(setattr, Launcher, "_direct", direct))
    except ImportError:  # without Triton there are no kernels to count
        pass
    try:
        with _Operations(counted):
            yield counted
    finally:
        for back in undo:
            back()
