"""What a report says about the machine."""

from __future__ import annotations

import subprocess
import sys

from nafnet_deploy.environment import read_environment


def test_names_the_machine_and_its_packages() -> None:
    environment = read_environment(threads=2)
    assert environment.cpu
    assert environment.cores >= 1
    assert environment.threads == 2
    assert environment.packages["numpy"]
    assert environment.date.endswith("+00:00")


def test_parity_and_benchmarks_import_neither_torch_nor_an_engine() -> None:
    code = (
        "import sys, nafnet_deploy.benchmarks.run, nafnet_deploy.parity.run, nafnet_deploy.environment as e;"
        "e.read_environment(); print(sorted({'torch', 'onnxruntime', 'onnx'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
