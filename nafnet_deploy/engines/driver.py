"""The GPU of this machine, asked of the CUDA driver itself: no package is needed, and no context is made."""

from __future__ import annotations

import ctypes
import dataclasses
import sys

_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h."""


@dataclasses.dataclass(frozen=True)
class LocalGpu:
    """The first GPU that the driver shows (CUDA_VISIBLE_DEVICES decides which)."""

    name: str
    """The driver's name for it, e.g. `NVIDIA H100 80GB HBM3`."""
    capability: str
    """Compute capability, e.g. `sm90`."""
    memory_gib: float
    """Its whole memory (GiB)."""
    cuda: str
    """Newest CUDA version the driver serves, e.g. `13.0`."""


def local_gpu() -> LocalGpu | None:
    """This machine's GPU, or None without a driver or a device."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    device, major, minor, version = (ctypes.c_int() for _ in range(4))
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    done = (
        cuda.cuInit(0) == 0
        and cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
        and cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device) == 0
        and cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device) == 0
        and cuda.cuDeviceGetName(name, len(name), device) == 0
        and cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device) == 0
        and cuda.cuDriverGetVersion(ctypes.byref(version)) == 0
    )
    if not done:
        return None
    return LocalGpu(
        name=name.value.decode(errors="replace"),
        capability=f"sm{major.value}{minor.value}",
        memory_gib=memory.value / 2**30,
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )
