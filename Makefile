PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test lint bench clean

demo: $(VENV)/.installed  ## embeds real test images with the shipped weights; see results/fashion_mnist/index.html
	$(BIN)/python -m experiments.fashion_mnist

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
