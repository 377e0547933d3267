# make demo   restores a sample picture, from nothing
# make test   runs the tests
# make check  runs linter, type checker and import contract
# make bench  runs the suites of benchmarks/ and draws their pictures
# make family measures every preset that docs/family.md lacks, hours on one core; it may be stopped and started
# make parity compares every released network, and its half graph, with PyTorch
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: venv browser demo check test slow parity bench family clean

venv: $(VENV)/.installed

# spandrel has the independent NAFNet that the tests compare with, spandrel-extra-arches the Restormer. Their torchvision
# requirement has no wheel that fits a CPU build of torch, and only architecture files are used, so they come without
# their requirements.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps 'spandrel>=0.4.2,<0.5' 'spandrel-extra-arches>=0.2,<0.3'
	touch $@

demo:
	test -x $(BIN)/nafdeploy || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/nafdeploy || $(BIN)/python -m pip install --quiet --editable '.[export,demo]'
	$(BIN)/nafdeploy export --iters 3 -o demo
	$(BIN)/nafdeploy demo --model demo/denoise-light-n3-dynamic-fp32.onnx -o demo

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The server's page is tested in a browser.
browser: venv
	$(BIN)/python -m tests.browser

test: venv browser
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not gpu"

slow: venv
	$(BIN)/python -m pytest -m slow

# A half graph is not released: it is made here, which proves it, and then walks the chain from the released graph.
parity: venv
	set -e; for graph in nafnet_deploy/weights/*.onnx; do \
		name=$$(basename $$graph .onnx); folder=$$(mktemp -d); trap 'rm -r $$folder' EXIT; \
		$(BIN)/nafdeploy parity $$name -m $$name; \
		$(BIN)/nafdeploy export $$name --precision fp16 -o $$folder/$$name-fp16.onnx; \
		$(BIN)/nafdeploy parity $$folder/$$name-fp16.onnx --fp32 $$graph; \
		rm -r $$folder; trap - EXIT; \
	done

bench: venv
	set -e; for suite in benchmarks/suites/*.toml; do \
	  result=benchmarks/results/$$(basename $$suite .toml).json; \
	  $(BIN)/nafdeploy bench --recipe $$suite --json > $$result.part; mv $$result.part $$result; \
	done
	$(BIN)/python benchmarks/pictures.py

family: venv
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/family.py

clean:
	rm -rf $(VENV) demo dist
