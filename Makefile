# The project's verbs. Everything is set up in .venv from python3 alone: Node comes from PyPI too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# bytecode is kept, whatever the shell says: compiling is most of an emulator's start
RUN := PATH="$(CURDIR)/$(VENV)/node:$(CURDIR)/$(BIN):$$PATH" PYTHONDONTWRITEBYTECODE=
CDK := $(RUN) npm exec --yes --package=aws-cdk@2.1148.1 -- cdk
WORKFLOW ?= examples/workflows/build.yml
ARGS ?=
# how many processes, and what stays together in one: tests/conftest.py
IN_GROUPS := -n auto --dist loadscope --no-loadscope-reorder

.PHONY: demo test tests test-deep test-image check lint types docs synth bootstrap deploy destroy benchmark setup clean

demo: setup ## run a workflow of four jobs on the fleet, all of it on this machine
	@$(RUN) $(BIN)/runner-fleet local run $(WORKFLOW) $(ARGS)

test: lint ## lint, format, types, every test
	@$(MAKE) --no-print-directory --jobs=2 types tests # types take a minute of one core at first

tests: setup ## every test
	$(RUN) $(BIN)/python -m pytest $(IN_GROUPS) $(ARGS)

test-deep: setup ## all of what `make test` plays a share of, and the long soak
	TEST_DEEP=on $(RUN) $(BIN)/python -m pytest $(IN_GROUPS) tests/end_to_end/test_crashes.py \
		tests/properties tests/functions/images tests/packaging $(ARGS)
	$(RUN) $(BIN)/python -m benchmarks.soak

test-image: setup ## build every variant of the runner image and run it; needs root and apt-get
	@folder="$$(tools/image_tools.sh)" && \
	RUNNER_FLEET_TEST_IMAGE="$$folder" $(RUN) $(BIN)/python -m pytest tests/built_image $(ARGS)

check: lint types ## lint, format, types

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/format_lifecycle.py --check
	$(BIN)/shellcheck runner_image/*.sh runner_image/build/*.sh tools/*.sh findings/*.sh .ci/run
	$(BIN)/hadolint runner_image/Dockerfile

types: setup
	$(BIN)/mypy cdk_runner_fleet app.py tests/constructs/mistakes.py
	MYPYPATH=functions $(BIN)/mypy --explicit-package-bases functions

docs: setup ## the API reference, from the docstrings: reference/index.html
	$(RUN) $(BIN)/python tools/render_reference.py reference

synth: setup ## write cdk.out
	$(CDK) synth --quiet --app "$(BIN)/python app.py" $(ARGS)

bootstrap: setup ## cdk bootstrap, once for each account and region
	$(CDK) bootstrap --app "$(BIN)/python app.py" $(ARGS)

deploy: setup ## cdk deploy with the pinned CLI
	$(CDK) deploy --app "$(BIN)/python app.py" $(ARGS)

destroy: setup ## cdk destroy with the pinned CLI; drain first
	$(CDK) destroy --app "$(BIN)/python app.py" $(ARGS)

benchmark: setup ## the figures in docs/benchmarks.md
	$(RUN) $(BIN)/python -m benchmarks

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml tools/setup_environment.py
	@$(PYTHON) tools/setup_environment.py $(VENV)
	@touch $@

clean:
	rm -rf $(VENV) cdk.out dist reference
