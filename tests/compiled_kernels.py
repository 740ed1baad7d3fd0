"""Compiles the Triton kernels that a model needs for an NVIDIA H100, without one.

    python -m tests.compiled_kernels MODEL [limit]

MODEL: a shipped name, or `self-test`.  Prints how many kernels were compiled; an error ends it.
"""

import sys

import numpy as np
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bitsback.coder.model import Model
from bitsback.integer import selftest, triton_convolution, triton_inputs, triton_kernels
from bitsback.integer.network import IntegerNetwork
from bitsback.integer.triton_convolution import TritonInt8

KINDS = {"uint8": "*u8", "int8": "*i8", "int32": "*i32", "float32": "*fp32"}
KERNELS = ("convolve_kernel", "digits_kernel", "input_kernel")
TARGET = GPUTarget("cuda", 90, 32)


class Recorder:
    """Stands for a kernel: writes down how it is called."""

    def __init__(self, kernel, calls):
        self.kernel, self.calls = kernel, calls

    def __getitem__(self, grid):
        return self.call

    def call(self, *arguments, **constants):
        options = {key: constants.pop(key) for key in list(constants) if key.startswith("num_")}
        names, signature, aligned = self.kernel.arg_names, {}, []
        for number, (name, value) in enumerate(zip(names, arguments)):
            if isinstance(value, torch.Tensor):
                signature[name] = KINDS[str(value.dtype).removeprefix("torch.")]
                assert value.data_ptr() % 16 == 0
            else:
                signature[name] = "i32"
                assert isinstance(value, int) and abs(value) < 2**31
                specialised = not self.kernel.params[number].do_not_specialize
                if not specialised or value % 16:
                    continue
            aligned.append(number)
        assert names == [*signature, *constants]
        signature |= dict.fromkeys(constants, "constexpr")
        key = (self.kernel.__name__, str(signature), str(constants), str(aligned), str(options))
        self.calls[key] = self.kernel, signature, constants, aligned, options


def calls_of(name):
    """The distinct calls of the kernels for a model's experts, or in the self-test."""
    calls = {}
    for kernel in KERNELS:
        recorder = Recorder(getattr(triton_kernels, kernel), calls)
        module = triton_convolution if kernel == "convolve_kernel" else triton_inputs
        setattr(module, kernel, recorder)
    if name == "self-test":
        selftest.np.array_equal = lambda *_: True  # the recorder computes nothing
        assert selftest.failure(TritonInt8) is None
        return list(calls.values())
    model = Model.open(name)
    for expert in model.experts:
        first = expert.steps.start
        network = IntegerNetwork(TritonInt8(expert.layers), expert.config, model.steps, first)
        _, state = network.trunk(first, torch.zeros(1, 3, 16, 16, dtype=torch.int32))
        for number in range(1, expert.config.passes):
            known = torch.from_numpy(np.zeros((1, 8, 8, 12), np.int8))
            network.head(first, number, state, known)
    return list(calls.values())


def main():
    calls, limit = calls_of(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 999
    for kernel, signature, constants, aligned, options in calls[:limit]:
        source = ASTSource(
            fn=kernel,
            signature=signature,
            constexprs=constants,
            attrs={(number,): [["tt.divisibility", 16]] for number in aligned},
        )
        made = triton.compile(source, target=TARGET, options=options)
        assert "cubin" in made.asm
        if kernel.__name__ == "convolve_kernel":
            assert "wgmma" in made.asm["ptx"] and made.metadata.shared < 200_000
    print("compiled", min(len(calls), limit), "of", len(calls))


if __name__ == "__main__":
    main()
