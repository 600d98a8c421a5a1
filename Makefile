PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo test lint docs bench versions clean

# Few images: two minutes on two cores. `make demo IMAGES=1000` takes all that are bundled.
IMAGES ?= 16
demo: $(VENV)/.installed  ## all four systems on test images, with the shipped weights: results/demo/index.html
	$(BIN)/python -m experiments.demo --images $(IMAGES)

# Two processes more than two cores: most of a test's time is Python, on one core, and some waits. What a file's tests share is
# made once, so that a file stays in one process; the longest files begin first.
test: lint
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# A link, an anchor or a reference that leads nowhere is an error (`strict` in mkdocs.yml).
docs: $(VENV)/.docs-installed  ## the documentation as a site: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

bench: $(VENV)/.bench-installed  ## ours beside plain Keras and PyTorch; writes benchmarks/results.json
	$(BIN)/python -m benchmarks.run

# With uv's resolver: the oldest versions that setup.cfg allows (lowest-direct), or the newest ones
# (highest). An import, embeddings by a network and an optimizer, a mask, a sample.
RESOLUTION ?= lowest-direct
versions:  ## make versions PYTHON=python3.13 RESOLUTION=highest: tries them in a throw-away environment
	rm -rf build
	$(PYTHON) -m venv build/versions
	build/versions/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/versions/bin/uv pip install --python build/versions/bin/python --resolution $(RESOLUTION) .
	cd build/versions && for method in unet lbfgs; do bin/ddim-embed embed --model fashion_mnist \
		--method $$method --out $$method $(CURDIR)/ddim_embed/samples/portraits/[acgp]*.png || exit 1; done
	cd build/versions && bin/python -c "from PIL import Image; Image.new('L', (64, 64)).save('image.png'); \
		mask = Image.new('L', (64, 64)); mask.paste(255, (16, 16, 32, 32)); mask.save('mask.png')"
	cd build/versions && bin/ddim-embed project image.png --mask mask.png --model fashion_mnist --out mask
	cd build/versions && bin/ddim-embed sample --model celeba --count 2
	cd build/versions && bin/python -c "import tensorflow_datasets"
	build/versions/bin/uv pip freeze --python build/versions/bin/python | grep -iE "^(tensorflow|keras|numpy|scipy|tyro)"
	rm -rf build

$(VENV)/.docs-installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	touch $@

$(VENV)/.bench-installed: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	touch $@

# The stamp is newer than requirements.txt exactly when they are installed: a second call does nothing.
# The command `ddim-embed` of this folder is installed, too, but not where `.venv` links to that of another folder.
$(VENV)/.installed: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	test -L $(VENV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis
