# make demo   builds an engine of a trained YOLOv5 and shows what it detects in a picture
# make test   runs the linter, the type checker and the tests, and says which lines and branches they come through
# make docs   builds the site into build/site, strictly, and opens its pages in Chromium where there is one
# All set up .venv by themselves. PYTHON and TORCH choose another interpreter or torch.
# Models of others that tests compare with come without what they ask for, where that would be another torch.

PYTHON ?= python3
TORCH ?= torch==2.13.0
MODELS ?= torchvision==0.28.0 timm==1.0.31
TRANSFORMERS ?= transformers==5.24.0
BIN := .venv/bin

# Tests start many processes, which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

# TensorRT takes 65 MB for each build, which glibc would give back to the system and take again, thousands of times.
test: export MALLOC_MMAP_THRESHOLD_ = 134217728
test: export MALLOC_TRIM_THRESHOLD_ = 268435456
# What reads memory that was freed fails each time, and not by chance: glibc writes over it.
test: export MALLOC_PERTURB_ = 165

.PHONY: demo test docs clean

demo: .venv/ready
	$(BIN)/trtnn demo --output build/demo

# Without --pythonpath pyright takes the PATH's version of Python, by which NumPy's types may be unknown.
test: .venv/ready .venv/bindings/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --project pyproject.toml --pythonpath $(BIN)/python
	$(BIN)/python -W 'ignore:Unable to activate pytest' -m slipcover -m pytest -n 2 --dist worksteal
	@sed -n '2p;$$p' build/coverage.txt  # a figure to look at, not a bound

docs: .venv/docs/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	$(BIN)/python -m website.browse build/site

.venv/ready: setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(TORCH)
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --editable ".[rtx,test]"
	$(BIN)/pip install --quiet --no-deps $(MODELS)
	$(BIN)/pip install --quiet $(TRANSFORMERS)  # with huggingface_hub, which timm takes as well
	touch $@

# The Python bindings of TensorRTs that are not installed, which tests/bindings/test_bindings.py looks at.
.venv/bindings/ready: tests/bindings/versions.py | .venv/ready
	mkdir -p $(@D)
	$(BIN)/python -m tests.bindings
	touch $@

.venv/docs/ready: pyproject.toml | .venv/ready
	mkdir -p $(@D)
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --editable ".[docs]"
	touch $@

clean:
	rm -rf .venv build
