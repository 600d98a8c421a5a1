PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test lint bench minimum clean

# Few images, apart from the results of the whole report: two minutes on two cores.
demo: $(VENV)/.installed  ## embeds real test images with the shipped weights; see results/demo/fashion_mnist/index.html
	$(BIN)/python -m experiments.fashion_mnist --images 64 --results results/demo

# Two processes: most of a test's time is Python, tracing on one core. What a file's tests share is
# made once, so that a file stays in one process.
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

bench: $(VENV)/.bench-installed  ## ours beside plain Keras and PyTorch; writes benchmarks/results.json
	$(BIN)/python -m benchmarks.run

# The oldest versions that setup.cfg allows, with uv's resolver: an import, two embeddings, a sample.
minimum:  ## tries the minimum versions of setup.cfg in a throw-away environment
	rm -rf build
	$(PYTHON) -m venv build/minimum
	build/minimum/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/minimum/bin/uv pip install --python build/minimum/bin/python --resolution lowest-direct .
	cd build/minimum && for method in unet lbfgs; do bin/ddim-embed embed --model fashion_mnist \
		--method $$method --out $$method $(CURDIR)/ddim_embed/samples/portraits/[acgp]*.png || exit 1; done
	cd build/minimum && bin/ddim-embed sample --model celeba --count 2
	cd build/minimum && bin/python -c "import tensorflow_datasets"
	rm -rf build

$(VENV)/.bench-installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch>=2.6"
	touch $@

# The stamp is newer than requirements.txt exactly when they are installed: a second call does nothing.
$(VENV)/.installed: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
