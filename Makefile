# make demo       set up .venv, fit InstEval, print the fit and draw a plot
# make test       set up .venv, then every check
# make types      the type check
# make lowest     the tests with each dependency at the lowest version that pyproject.toml allows
# make highest    the tests with the newest versions that it allows
# make pythons    make highest with each of PYTHONS that is found
# make package    wheel and sdist, each installed into a clean environment and used outside the checkout
# make check-all  all of these but the demo, half an hour or so
# make campaign   the long run of generated designs and hostile inputs (docs/reliability.md), an hour or so; CAMPAIGN="--seed 2" for other ones
# make site       the documentation in build/site, every example executed; make docs measures what its pages show before
#
# SCIKIT_SPARSE=0.5 takes that series of scikit-sparse instead of pyproject.toml's: docs/compatibility.md
VENV ?= .venv
PYTHON ?= python3
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
DEBIAN := libsuitesparse-dev libopenblas0-pthread gcc
BIN := $(VENV)/bin
# one BLAS thread for each test process: see sparselmm/threads.py
TEST_ENV := OPENBLAS_NUM_THREADS=1
PYTHONS ?= python3.11 python3.12 python3.13
TOOLS := build/tools/bin
UV := UV_PYTHON_DOWNLOADS=never $(TOOLS)/uv
export SCIKIT_SPARSE

.PHONY: demo test types lowest highest pythons package check-all campaign system setup reference benchmarks docs site clean

demo: setup
	$(BIN)/python docs/demo.py

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(TEST_ENV) $(BIN)/python -m pytest -n 2

types: setup
	$(BIN)/mypy

check-all: test lowest pythons package

# $(call suite,resolution): the tests in an environment of their own, with compiled code of their own
suite = set -e; python=$$($(PYTHON) -c "import sys; print(sys.executable)"); \
  folder=build/$(1)-$$($(PYTHON) -c "import sys; print('%d.%d' % sys.version_info[:2])"); \
  $(UV) venv --quiet --clear --python "$$python" $$folder; \
  $(UV) pip install --quiet --python $$folder --resolution $(1) --editable ".[test]"; \
  if [ -n "$$SCIKIT_SPARSE" ]; then $(UV) pip install --quiet --python $$folder "scikit-sparse==$$SCIKIT_SPARSE.*"; fi; \
  $$folder/bin/python -c "import sparselmm; sparselmm.show_versions()"; \
  $(TEST_ENV) NUMBA_CACHE_DIR="$(CURDIR)/$$folder/numba" $$folder/bin/python -m pytest -n 2

lowest: $(TOOLS)/uv
	@$(call suite,lowest-direct)

highest: $(TOOLS)/uv
	@$(call suite,highest)

pythons:
	@set -e; for python in $(PYTHONS); do \
	  if $$python -c "" 2>/dev/null; then $(MAKE) highest PYTHON=$$python; else echo "$$python is not here"; fi; \
	done

# What is installed is used with -I, in a folder of its own: nothing of the checkout can be imported
package: $(TOOLS)/uv
	rm -rf build/dist
	$(UV) build --quiet --out-dir build/dist --python $(PYTHON)
	$(TOOLS)/twine check --strict build/dist/*.whl build/dist/*.tar.gz
	$(PYTHON) tests/installed/contents.py build/dist
	@set -e; for file in "$(CURDIR)"/build/dist/*.whl "$(CURDIR)"/build/dist/*.tar.gz; do \
	  folder=$$(mktemp -d); \
	  $(UV) venv --quiet --python $(PYTHON) $$folder/venv; $(UV) pip install --quiet --python $$folder/venv "$$file"; \
	  (cp tests/installed/use.py $$folder && cd $$folder && venv/bin/python -I use.py); \
	  rm -rf $$folder; \
	done

$(TOOLS)/uv: | system
	$(PYTHON) -m venv build/tools
	$(TOOLS)/python -m pip install --quiet uv twine

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml | system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[plot,test]"
	if [ -n "$$SCIKIT_SPARSE" ]; then $(BIN)/python -m pip install --quiet "scikit-sparse==$$SCIKIT_SPARSE.*"; fi
	touch $@

# SuiteSparse's headers and a real BLAS, on Debian and Ubuntu; elsewhere see the README
system:
	@if command -v apt-get >/dev/null; then \
	  if ! dpkg -s $(DEBIAN) >/dev/null 2>&1; then \
	    $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $(DEBIAN); fi; \
	  if ! $(PYTHON) -c "import ensurepip" 2>/dev/null; then $(SUDO) apt-get install -y -qq python3-venv python3-dev; fi; \
	fi

CAMPAIGN ?= --seed 1
campaign: setup
	cd tests && $(TEST_ENV) $(abspath $(BIN))/python -m campaign --long --workers 2 --out ../docs/campaign.json $(CAMPAIGN)
	$(BIN)/python docs/reliability.py

# Rewrites tests/reference/*.json, a quarter of an hour; needs R with the packages named in tests/reference/README.md
REFERENCES := make_reference ddf comparison profile resampling emmeans prediction diagnostics checkup
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
	$(BIN)/python docs/reliability.py
	$(MAKE) site

# The pages as a site in build/site, every example executed (three minutes)
site: setup
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	$(TEST_ENV) $(BIN)/python docs/_extensions/examples.py docs/inference/*.md
	$(TEST_ENV) $(BIN)/sphinx-build -W -n -q --keep-going -E docs build/site

clean:
	rm -rf $(VENV) build *.egg-info demo.png
