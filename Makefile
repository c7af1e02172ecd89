# The two that matter: make demo, make test. The rest: make help.
# Everything runs in .venv, which is made on first use and again when the dependencies change.

PYTHON ?= python3
ARGS   ?=
EXTRAS ?=
DIST   ?= dist

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
# What lets Spark start sooner: Delta's jars, and an archive of the classes that it loads.
READY := $(VENV)/var/v2d_spark/classes.jsa
# Extras that are large: 5 GB.
BIG   := $(VENV)/.big
# The oldest Spark and Delta that are served, in an environment of their own.
SPARK40 := .venv-spark40/.installed
# The archive of `make pack`: its environment fits one Python alone.
NAME_OF_PACK := import importlib.metadata as m, sys; print("v2d_spark-%s-py%d%d.tar.gz" % (m.version("v2d_spark"), *sys.version_info[:2]))
# What a benchmark compares with, in an environment of its own: it wants another pyarrow.
DAFT  := .venv-daft/.installed

# Benchmarks in which Spark has a part; the others measure the media engine, which knows no Spark.
SPARK_BENCHES := command download export growth incremental ingest narrow pick scale startup subsample

# Two workers with a Spark session each take file after file in their order: the short ones of tests/unit are the last,
# so that both end at about the same time. One process, for a debugger: ARGS="-n0 --pdb".
PYTEST_2 := python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
PYTEST   := $(BIN)/$(PYTEST_2)
# Tests of Spark about what is served with tables that a catalog manages.
MAIN_JOB := $(addprefix tests/spark/test_,$(addsuffix .py,choice download export ingest plan queries \
	revalidate suppressions views))
# All that take no long.
QUICK_ONES := not chaos and not soak and not big and not matrix

.DEFAULT_GOAL := help
.PHONY: help demo test test-by-name test-route lint types wheel pack bench bench-spark40 chaos soak test-matrix test-all jar clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## real video from URLs to tables to WebDataset tars, into demo-data/
	$(BIN)/v2d demo --to demo-data $(ARGS)

test: $(READY) ## all tests but the long and the big ones
	$(PYTEST) -m "$(QUICK_ONES)" $(ARGS)

test-by-name: $(READY) ## Spark's tests once more, their datasets called by names in a catalog
	$(PYTEST) tests/spark --by-name -m "$(QUICK_ONES)" $(ARGS)

test-route: $(READY) ## tests of the main job with tables that a catalog manages
	$(PYTEST) $(MAIN_JOB) --route spark -m "$(QUICK_ONES)" $(ARGS)

lint: $(STAMP) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## mypy --strict on the product and the benchmarks
	$(BIN)/mypy

wheel: $(STAMP) ## build the wheel, install it elsewhere and run a small job with it
	rm -rf build dist/*.whl
	$(BIN)/python -m build --wheel
	$(BIN)/python tests/wheel_check.py dist/*.whl

pack: $(STAMP) ## an environment for executors that have none, to dist/; with extras: EXTRAS=s3,tfrecord
	rm -rf build $(DIST)/v2d_spark-*.tar.gz
	$(PYTHON) -m venv build/env
	build/env/bin/python -m pip install --quiet --disable-pip-version-check '.$(if $(EXTRAS),[$(EXTRAS)])'
	build/env/bin/python -m pip uninstall --quiet --yes setuptools pip
	mkdir -p $(DIST)
	$(BIN)/venv-pack --quiet --prefix build/env --output $(DIST)/$$(build/env/bin/python -c '$(NAME_OF_PACK)')
	chmod 644 $(DIST)/v2d_spark-*.tar.gz
	rm -rf build

bench: $(READY) $(DAFT) ## the figures of benchmarks/results/
	$(BIN)/python -m benchmarks $(ARGS)

$(SPARK40): setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-spark40
	.venv-spark40/bin/python -m pip install --quiet --disable-pip-version-check 'pyspark == 4.0.2' 'delta-spark == 4.0.1' --editable '.[dev]'
	.venv-spark40/bin/v2d prepare
	touch $@

$(DAFT):
	$(PYTHON) -m venv .venv-daft
	.venv-daft/bin/python -m pip install --quiet --disable-pip-version-check 'daft == 0.7.*'
	touch $@

bench-spark40: $(SPARK40) $(DAFT) ## the figures that Spark has a part in, on Spark 4.0: benchmarks/results/spark40/
	.venv-spark40/bin/python -m benchmarks --results benchmarks/results/spark40 $(or $(ARGS),$(SPARK_BENCHES))

chaos: $(READY) ## the long fault tests
	$(BIN)/python -m pytest -m chaos $(ARGS)

soak: $(READY) ## 200 operations on one dataset, checked after each; the same again: ARGS="--seed N"
	$(BIN)/python -m pytest -s -m soak tests/soak $(ARGS)

# On Spark 4.0 all that Spark has a part in; the tests in tests/unit start none, and e2e's demo, docs and jobs would do the
# same once more. Through Spark Connect the tests of Spark, and whole jobs by commands on both versions. The main job with
# tables that a catalog manages.
test-matrix: $(READY) $(SPARK40) ## on Spark 4.0, through Spark Connect, and with managed tables
	.venv-spark40/bin/$(PYTEST_2) -m "$(QUICK_ONES)" tests/spark tests/e2e/test_cli.py tests/e2e/test_kill.py $(ARGS)
	.venv-spark40/bin/$(PYTEST_2) -m matrix tests/e2e/test_connect.py $(ARGS)
	$(PYTEST) --connect -m "$(QUICK_ONES)" tests/spark $(ARGS)
	$(PYTEST) $(MAIN_JOB) --route spark -m "$(QUICK_ONES)" $(ARGS)
	$(PYTEST) -m matrix $(ARGS)

test-all: $(READY) $(BIG) ## make test, and what needs big extras
	$(PYTEST) -m "not chaos and not soak and not matrix" $(ARGS)

# Delta's and Hadoop's classes, to compile against.
CLASSES = $(shell $(BIN)/python -c "import glob, os, pyspark; from v2d_spark import session as s; print(':'.join([*map(str, s._Jars(s.delta_coordinates()).on_disk()), *glob.glob(os.path.dirname(pyspark.__file__) + '/jars/hadoop-client-api-*.jar')]))")

jar: $(READY) ## build conf/v2d-s3-logstore.jar from jvm/; needs a JDK
	rm -rf build/jvm
	javac --release 11 -d build/jvm -cp "$(CLASSES)" jvm/v2d/*.java
	jar --create --no-manifest --date=2026-01-01T00:00:00Z --file conf/v2d-s3-logstore.jar -C build/jvm v2d

clean: ## remove what the targets above made
	rm -rf $(VENV) .venv-daft .venv-spark40 build dist demo-data spark-warehouse metastore_db derby.log .pytest_cache .hypothesis .mypy_cache .ruff_cache
	rm -rf *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

$(BIG): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,torch]'
	touch $@

$(READY): $(STAMP)
	$(BIN)/v2d prepare
