# make demo   the main job on the bundled weights and real photographs, into demo/
# make test   everything that needs no GPU
# make check  ruff and mypy alone
# make web    cut-outs in the browser at http://localhost:8000; fetches onnxruntime-web by npm
# make gpu-check   tests and timings on a GPU, into docs/results/; installs nothing, takes what PYTHON has; ARGS=--help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check lint types tests web gpu-check bare rembg clean

demo: .venv/ready
	$(BIN)/python examples/photographs.py demo/photographs
	$(BIN)/u2net build -o demo --images demo/photographs

test: check tests

check: lint types

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy must see an installed copy: in the tree itself every module would have two names.
types: .venv/ready
	rm -rf build/lib build/bdist.* .typing
	$(BIN)/pip install --quiet --no-deps --target .typing .
	$(BIN)/mypy -p u2net
	$(BIN)/mypy tests examples

# Three processes, each with whole test files, because the tests of a file share what they export, and with one thread of
# torch, because more would wait for each other; a process that crashes ends the run. The timing tests run alone.
tests: .venv/ready .bindings/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --max-worker-restart 0 --dist loadfile --ignore tests/timing
	$(BIN)/python -m pytest tests/timing

WEB := examples/web
web: $(WEB)/node_modules $(WEB)/model.onnx
	$(BIN)/python $(WEB)/serve.py

$(WEB)/node_modules: $(WEB)/package.json
	npm install --prefix $(WEB) --no-package-lock --ignore-scripts --no-audit --no-fund
	touch $@

$(WEB)/model.onnx: .venv/ready
	$(BIN)/u2net export -o $@ --io image --precision fp16

# Runs from the source tree alone: tree.py puts it in place of the installed package.
gpu-check:
	$(PYTHON) -P benchmarks/gpu/tree.py u2net.benchmarks.gpu $(ARGS)

# The wheel in an environment without torch and onnx, with the oldest packages that pyproject.toml allows.
OLDEST = $(shell sed -nE 's/^(dependencies|cpu) = //p' pyproject.toml | grep -oE '[a-z]+>=[0-9.]+' | sed 's/>=/==/')
bare: .venv/ready dist/model.onnx
	rm -rf .venv-bare
	$(PYTHON) -m venv .venv-bare
	.venv-bare/bin/pip install --quiet $(OLDEST) "$$(ls dist/*.whl)[cpu]"
	cd dist && ../.venv-bare/bin/python ../tests/environments/bare_mask.py model.onnx

# An exported file in rembg, whose pins clash with those of the other extras. rembg only opens files in its home folder.
rembg: .venv/ready dist/model.onnx
	rm -rf .venv-rembg
	$(PYTHON) -m venv .venv-rembg
	.venv-rembg/bin/pip install --quiet -r tests/environments/rembg.txt "$$(ls dist/*.whl)"
	cd dist && REMBG_HOME=. ../.venv-rembg/bin/python ../tests/environments/rembg_drop_in.py model.onnx
	$(BIN)/python tests/environments/rembg_contestant.py .venv-rembg/bin/python build/rembg

dist/model.onnx: .venv/ready
	rm -rf build/lib build/bdist.* dist
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/u2net export -o dist/model.onnx

.venv/ready: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# TensorRT's bindings of every supported version, linked with stubs that do nothing: enough to list what they contain.
BINDINGS := tests/environments/tensorrt_bindings
.bindings/ready: .venv/ready $(BINDINGS).txt $(BINDINGS).py
	rm -rf .bindings
	while read -r wheel; do \
		version=$${wheel#*==}; \
		$(BIN)/pip install --quiet --no-deps --target ".bindings/$${version%%;*}" "$$wheel" || exit 1; \
	done < $(BINDINGS).txt
	$(BIN)/python $(BINDINGS).py stub .bindings/*/
	touch $@

clean:
	rm -rf .venv .venv-bare .venv-rembg .bindings .headers .typing build dist demo *.egg-info $(WEB)/node_modules $(WEB)/model.onnx
