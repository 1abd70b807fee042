"""How many slots a device has room for: what weights, slots and CUDA take, against the memory that is free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from worker.engine.checkpoint import GIB
from worker.engine.checkpoint import memory as footprint
from worker.engine.checkpoint.files import ModelError, Weights

SlotCount: TypeAlias = int | Literal["auto"]

MOST_SLOTS = {"cuda": 64, "cpu": 8}  # of "auto"
COMFORTABLE = 0.85  # of the free memory: "auto" takes no more, and doctor warns beyond

# What CUDA takes beside weights and slots: kernels, workspaces, graphs, what the codec's widest calls compute in, and
# the other two bytes of the encoder's float32 weights.
# Computed for graphs of 1,050 nodes a frame and 250 a codec call; not measured.
CUDA_BYTES = int(1.5 * GIB)
CUDA_SLOT_BYTES = 36 << 20


@dataclass(frozen=True, slots=True)
class Need:
    """The memory that a model takes on a device, in bytes. kind: "cuda" or "cpu". slot: of each, and of a spare one."""

    name: str
    kind: str
    weights: int
    slot: int

    @classmethod
    def of(cls, weights: Weights, dtype: str, kind: str, n_positions: int = footprint.N_POSITIONS) -> Need:
        """Raises ModelError for a config that lacks something."""
        slot = footprint.slot_bytes(weights, dtype, n_positions, _codec_dtype(dtype, kind))
        return cls(weights.name, kind, footprint.weights_bytes(weights, dtype, _codec_dtype(dtype, kind)), slot)

    def slots(self, n: int) -> int:
        return (n + 1) * self.slot

    def cuda(self, n_slots: int) -> int:
        """Graphs, workspaces and intermediate results; an estimate."""
        return CUDA_BYTES + n_slots * CUDA_SLOT_BYTES if self.kind == "cuda" else 0

    def total(self, n_slots: int) -> int:
        return self.weights + self.slots(n_slots) + self.cuda(n_slots)

    def most(self, free_bytes: float) -> int:
        """The most slots that fit; below 1 when none does."""
        each = self.slot + self.cuda(1) - self.cuda(0)
        return int((free_bytes - self.total(0)) // each)

    def described(self, n_slots: int) -> str:
        parts = f"{self.weights / GIB:.2f} GiB of weights and {self.slots(n_slots) / GIB:.2f} GiB for {n_slots} slots"
        return f"{parts}, {self.cuda(n_slots) / GIB:.2f} GiB for CUDA and its graphs" if self.kind == "cuda" else parts


def choose_slots(wanted: SlotCount, need: Need, free_bytes: float | None, where: str) -> int:
    """The number of slots: the wanted one, or for "auto" as many as are of use on the device and fit comfortably.

    free_bytes: None where it is unknown. where: the device's name, for people. Raises ModelError when they do not fit.
    """
    if free_bytes is None:
        return MOST_SLOTS[need.kind] if wanted == "auto" else wanted
    most = need.most(free_bytes)
    n_slots = max(1, min(MOST_SLOTS[need.kind], need.most(COMFORTABLE * free_bytes))) if wanted == "auto" else wanted
    if n_slots <= most:
        return n_slots
    remedy = "end other processes that use it, choose another device, or a smaller --dtype"
    raise ModelError(
        f"too little memory for {need.name}: it takes about {need.described(n_slots)}, "
        f"and {where} has {free_bytes / GIB:.1f} GiB free",
        f"take at most {most} slots (--slots {most}), or {remedy}" if most > 0 else remedy,
    )


def _codec_dtype(dtype: str, kind: str) -> str:
    """A CPU computes the codec in float32 where the talker is in a half."""
    return "float32" if kind == "cpu" and footprint.ELEMENT_BYTES[dtype] == 2 else dtype
