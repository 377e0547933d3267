"""Records the public names of a TensorRT binding, for machines that cannot have the library itself.

The 1.3 MB wheels `tensorrt-cu12-bindings` and `tensorrt-cu13-bindings` import without CUDA once stub libraries export
the few C functions they link to. Needs gcc and one unpacked wheel per call:

    pip download --no-deps tensorrt-cu13-bindings && unzip -d wheel tensorrt_cu13_bindings-*.whl
    python tests/engines/tensorrt/record_surface.py wheel
"""

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ENTRY_POINTS = [
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "getPluginRegistry",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
]


def main(wheel: Path) -> None:
    version = next(wheel.glob("*.dist-info")).name.split("-")[1].removesuffix(".dist")
    major = version.split(".")[0]
    sys.path.insert(0, str(wheel))
    with TemporaryDirectory() as folder:
        code = Path(folder) / "stub.c"
        code.write_text("\n".join(f"void *{name}(void) {{ return 0; }}" for name in ENTRY_POINTS))
        for library in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
            file = f"{folder}/lib{library}.so.{major}"
            subprocess.run(["gcc", "-shared", "-fPIC", f"-Wl,-soname,{Path(file).name}", "-o", file, code], check=True)
            ctypes.CDLL(file, mode=ctypes.RTLD_GLOBAL)  # loaded already, so the binding's search finds it by name
        import tensorrt_bindings as library_module

        surface = {
            name: sorted(n for n in dir(value) if not n.startswith("_")) if isinstance(value, type) else []
            for name, value in vars(library_module).items()
            if not name.startswith("_") and name[0].isupper()
        }
    out = Path(__file__).parent / "surface" / f"tensorrt-{version}.json"
    out.write_text(json.dumps(surface, sort_keys=True, separators=(",", ":")).replace("],", "],\n") + "\n")
    print(out, len(surface))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
