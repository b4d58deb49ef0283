# make demo   set up .venv, fit InstEval, print the fit and draw a plot
# make test   set up .venv, then every check
VENV ?= .venv
PYTHON ?= python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
DEBIAN := libsuitesparse-dev libopenblas0-pthread gcc
BIN := $(VENV)/bin
# one BLAS thread for each test process: see sparselmm/threads.py
TEST_ENV := OPENBLAS_NUM_THREADS=1

.PHONY: demo test system setup reference benchmarks docs site clean

demo: setup
	$(BIN)/python docs/demo.py

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(TEST_ENV) $(BIN)/python -m pytest -n 2

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml | system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[plot,test]"
	touch $@

# SuiteSparse's headers and a real BLAS, on Debian and Ubuntu; elsewhere see the README
system:
	@if command -v apt-get >/dev/null; then \
	  if ! dpkg -s $(DEBIAN) >/dev/null 2>&1; then \
	    $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $(DEBIAN); fi; \
	  if ! $(PYTHON) -c "import ensurepip" 2>/dev/null; then $(SUDO) apt-get install -y -qq python3-venv python3-dev; fi; \
	fi

# Rewrites tests/reference/*.json, a quarter of an hour; needs R with the packages named in tests/reference/README.md
REFERENCES := make_reference ddf comparison profile resampling emmeans prediction diagnostics
reference:
	set -e; for name in $(REFERENCES); do OPENBLAS_NUM_THREADS=1 Rscript tests/reference/$$name.R; done

# Races against the peers, two hours or so; needs R with lme4 and jsonlite. Run them alone
benchmarks: setup
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	$(BIN)/python benchmarks/race.py --out docs/benchmarks.json
	$(BIN)/python benchmarks/scale.py --out docs/scale.json
	$(BIN)/python benchmarks/accuracy.py --out docs/scale.json
	$(BIN)/python benchmarks/scale_report.py
	$(BIN)/python benchmarks/report.py docs/benchmarks.json

# Measures and writes what pages show: dense against sparse (two minutes), the comparisons of the tests, the plots
docs: setup
	$(TEST_ENV) $(BIN)/python docs/dense_or_sparse.py
	$(TEST_ENV) $(BIN)/python docs/validation.py
	$(TEST_ENV) $(BIN)/python docs/plots.py
	$(MAKE) site

# The pages as a site in build/site, every example executed (three minutes)
site: setup
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	$(TEST_ENV) $(BIN)/python docs/_extensions/examples.py docs/inference/*.md
	$(TEST_ENV) $(BIN)/sphinx-build -W -n -q --keep-going -E docs build/site

clean:
	rm -rf $(VENV) build *.egg-info demo.png
