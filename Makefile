PYTHON ?= python3

# bytecode is written on import: to compile all that is installed takes half as long as to install it
unexport PYTHONDONTWRITEBYTECODE
PIP = -m pip install --no-compile --quiet --disable-pip-version-check

PYTEST = .venv/bin/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -rs --durations=15

.PHONY: help test test-fast lint format docs pictures demo models adherence quality clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: .venv/ready .venv-gradio4/ready ## run all tests, in two processes
	$(PYTEST) tests
	.venv-gradio4/bin/python -m pytest -m panel -rs --durations=15 tests/webui

FAST = ops prompts sampling schema techniques test_architecture.py test_new_technique.py

test-fast: .venv/ready ## test formulas, settings, samplers, techniques and architecture, with fewer examples: a minute
	$(PYTEST) --hypothesis-profile fast $(addprefix tests/,$(FAST))

lint: .venv/ready ## check style and format (ruff)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

format: .venv/ready ## fix what ruff can fix
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

docs: .venv/ready ## write docs/settings.md, from the declarations
	.venv/bin/python -m tools.documents

pictures: .venv/ready ## make docs/pictures, from the demo (needs chromium); SDFM_WEBUI_URL= takes the panel of another WebUI
	.venv/bin/python -m tools.pictures

DEMO_VENV = .venv$(if $(filter 4,$(GRADIO)),-gradio4)

demo: $(DEMO_VENV)/ready ## make example pictures, then serve the WebUI; ONCE=1 stops after the pictures, AGAIN=1 makes them again; PORT=, GRADIO=4
	$(DEMO_VENV)/bin/python demo/launch.py --pictures --port $(or $(PORT),7860) $(if $(ONCE),--once) $(if $(AGAIN),--again)

models: .venv/ready ## train the demo's models again (two hours on two cores); then run make adherence
	.venv/bin/python -m tools.train_tiny --again

adherence: .venv/ready ## count how often the demo's models draw what the caption says
	.venv/bin/python -m bench.quality.adherence --drawn

quality: .venv/ready ## measure whether techniques do what their papers say: tables of docs/benchmarks.md, the demo's sheets (half an hour)
	.venv/bin/python -m bench.quality --document docs/benchmarks.md --sheets demo/sheets

.venv/ready: tests/requirements.txt tests/requirements-no-deps.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) -r tests/requirements.txt
	.venv/bin/python $(PIP) --no-deps -r tests/requirements-no-deps.txt
	touch $@

PACKAGES = -c "import sysconfig; print(sysconfig.get_path('purelib'))"

# what it doesn't have itself, torch above all, it finds in .venv: pip takes that for installed
.venv-gradio4/ready: .venv/ready tests/requirements-gradio4.txt tests/requirements-no-deps.txt
	.venv/bin/python -m venv --clear .venv-gradio4
	.venv/bin/python $(PACKAGES) > "$$(.venv-gradio4/bin/python $(PACKAGES))/shared.pth"
	.venv-gradio4/bin/python $(PIP) --no-warn-conflicts -r tests/requirements-gradio4.txt
	.venv-gradio4/bin/python $(PIP) --no-deps -r tests/requirements-no-deps.txt
	touch $@

clean: ## remove the environments
	rm -rf .venv .venv-gradio4
