"""Ensembles: means of what several evaluations predict (ARITHMETIC.md, section 17)."""

from functools import cached_property

import numpy as np

from tests.second_decoder.errors import WrongModel, check
from tests.second_decoder.integers import half_up
from tests.second_decoder.network import ModelFile, cumulative


class EnsembleFile(ModelFile):
    """The model file of an ensemble."""

    keys = "arithmetic", "ensemble", "experts", "levels"

    @property
    def models(self):
        """Ids of the models that it names."""
        return [bytes.fromhex(one) for one in self.about["ensemble"]["models"]]


def padded(side):
    """A side, as a multiple of 8."""
    return -(-side // 8) * 8


def reflected(side):
    """Which line of an input each line of its canvas is."""
    lines = (np.arange(padded(side) + 8) - 4) % (2 * side)
    return np.minimum(lines, 2 * side - 1 - lines)


def mirror(n, wanted, odd=0):
    """Where line i of n is read: of pixels, or of blocks for their even or odd lines."""
    lines = np.arange(n)
    return (-lines - odd) % n if wanted else lines


class Ensemble:
    """What network.Model is, with means for its trunk and head; all else is the first model's."""

    def __init__(self, file, models):
        if file.about["arithmetic"] != 8:
            raise WrongModel("an ensemble of another arithmetic")
        self.file, self.models, self.members = file, models, file.about["ensemble"]["steps"]
        self.bits = [sum(weight for *_, weight in step).bit_length() - 1 for step in self.members]
        check(len(self.members) == len(file.about["levels"]), "an ensemble's steps")

    def __getattr__(self, name):
        return getattr(self.models[0], name)

    @cached_property
    def p(self):
        """The first model's rows, then those of `pixel_masses`."""
        own = self.file.tensors.get("pixel_masses")
        return self.models[0].p + (cumulative(own) if own is not None else [])

    def table(self, name, k):
        found = self.models[0].table(name, k)
        own = name == "scale" and not k and "pixel_masses" in self.file.tensors
        return found + len(self.models[0].p) // 32 if own else found

    def passes(self, k):
        return self.models[self.members[k][0][0]].passes(k)

    def mean(self, k, parts):
        total = sum(weight * part for (*_, weight), part in zip(self.members[k], parts))
        return half_up(total, self.bits[k]) if self.bits[k] else total

    def trunk(self, k, n):
        """As network.Model.trunk; the state is an array of the members'."""
        height, width = (padded(side) for side in n.shape[1:])
        n = n[:, reflected(n.shape[1])][:, :, reflected(n.shape[2])]
        outs, states = [], np.empty(len(self.members[k]), object)
        for i, (model, flips, _) in enumerate(self.members[k]):
            rows, columns = mirror(n.shape[1], flips & 2), mirror(n.shape[2], flips & 1)
            out, states[i] = self.models[model].trunk(k, n[:, rows][:, :, columns])
            outs.append(out[:, rows][:, :, columns][:, 4 : 4 + height, 4 : 4 + width])
        return self.mean(k, outs), states

    def head(self, k, pass_number, z, state):
        """As network.Model.head."""
        outs, ((row, column, _), *_) = [], self.passes(k)[pass_number]
        h, w = z.shape[1] // 2, z.shape[2] // 2
        z = np.pad(z, ((0, 0), (4, 4), (4, 4)))
        for (model, flips, _), own in zip(self.members[k], state):
            rows, columns = mirror(z.shape[1], flips & 2), mirror(z.shape[2], flips & 1)
            out = self.models[model].head(k, pass_number, z[:, rows][:, :, columns], own)
            rows = mirror(out.shape[1], flips & 2, row)
            columns = mirror(out.shape[2], flips & 1, column)
            outs.append(out[:, rows][:, :, columns][:, 2 : 2 + h, 2 : 2 + w])
        return self.mean(k, outs)
