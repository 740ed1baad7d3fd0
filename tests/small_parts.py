"""Arrays of any length in up to three parts, as if threads shared them out."""

from bitsback.ans import lane_intervals
from bitsback.coder import sample_loops


def in_small_parts(monkeypatch):
    """Every loop that may be shared out is, in this process."""

    def thirds(n, least=1):
        edges = [n * i // 3 for i in range(4)]
        return [part for part in zip(edges[:-1], edges[1:]) if part[0] < part[1]] or [(0, n)]

    for module in (lane_intervals, sample_loops):
        monkeypatch.setattr(module, "parts", thirds)
