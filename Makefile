# make app    create the environment and start the dashboard
# make test   the same environment, what the tests need, then lint, types, contracts and every test
# make check  lint, types and contracts alone       make quick  the tests without the slow tail
# make bench  relevance a second, beside zennit, captum, gradient x input and the bare kernels (minutes)
# make format rewrite the code in the project's style
# make clean  remove the environment and all that was computed
#
# VENV=folder puts the environment elsewhere, PYTHON=python3.12 makes it with another interpreter.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Stamps carry the checksum of what was installed: a fresh clone or a touched file installs nothing again.
APP := $(VENV)/.app-$(shell cksum < requirements.txt | cut -d' ' -f1)
DEV := $(VENV)/.dev-$(shell cat requirements.txt requirements-dask.txt requirements-dev.txt | cksum | cut -d' ' -f1)

# Two test processes of one thread each: of two threads each, they would wait for each other.
TWO_BY_ONE := OMP_NUM_THREADS=1

.PHONY: app test check quick bench format clean
.DEFAULT_GOAL := app

app: $(APP)
	@exec $(BIN)/python -m streamlit run app.py $(ARGS)

test: check
	$(BIN)/python tools/ensure_browser.py
	$(TWO_BY_ONE) $(BIN)/python -m pytest -n 2 -m "not browser"
	$(BIN)/python -m pytest -m browser

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

quick: $(DEV)
	$(TWO_BY_ONE) $(BIN)/python -m pytest -n 2 -m "not slow and not browser"

bench: $(DEV)
	$(BIN)/python -m benchmarks.lrp_throughput $(ARGS)
	$(BIN)/python -m benchmarks.lrp_scaling

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(APP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is older: say make PYTHON=python3.12 (or whichever you have)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -r requirements.txt
	@rm -f $(VENV)/.app-*; touch $@

$(DEV): $(APP)
	$(BIN)/python -m pip install -r requirements-dev.txt
	@rm -f $(VENV)/.dev-*; touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find cache -mindepth 1 ! -name README.md -delete
