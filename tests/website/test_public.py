"""Every public name is documented and has an entry; what griffe reads has the signatures that there are."""

from __future__ import annotations

import ast
import inspect

import pytest
import torch

import trtnn
from trtnn import functional as F
from website import api, definitions, public
from website.public import Name


def test_every_public_name_is_documented():
    assert list(public.undocumented()) == []


class _Undocumented:
    """A class of which one method is."""

    def documented(self):
        """Return nothing."""

    def bare(self):
        pass


def test_what_is_not_documented_is_told(monkeypatch):
    def function():
        pass

    names = {"page": [Name("trtnn.function", function), Name("trtnn.kind", _Undocumented), Name("trtnn.data", 3)]}
    monkeypatch.setattr(public, "public_names", lambda: names)
    assert list(public.undocumented()) == ["trtnn.function", "trtnn.kind.bare", "trtnn.data"]


@pytest.fixture(scope="module")
def pages():
    return api.pages()


def test_every_public_name_has_an_entry(pages):
    whole = "\n".join(pages.values())
    for names in public.public_names().values():
        for name in names:
            entry = f"| `{name.path}` |" if name.is_data else f"::: {name.entry}\n"
            assert whole.count(entry) == 1, name.path


def test_all_that_packages_name_is_public():
    paths = {name.path for names in public.public_names().values() for name in names}
    for package in ("trtnn.functional", "trtnn.modules", "trtnn.vision", "trtnn.models"):
        module = __import__(package, fromlist=["__all__"])
        assert {f"{package}.{name}" for name in module.__all__} <= paths
    with_pages = {"errors", "functional", "modules", "TrtnnError", "UnsupportedError"}
    assert {f"trtnn.{name}" for name in {*trtnn.__all__} - with_pages} <= paths


def test_what_torch_has_beside_is_on_the_page(pages):
    for name in ("unique", "linalg.svd", "CrossEntropyLoss", "register_forward_hook", "LazyLinear"):
        assert f"`{name}`" in pages["api/missing.md"]


def test_the_methods_of_tensors(pages):
    page = pages["api/tensor.md"]
    for name in ("relu", "permute", "sum"):
        assert f"[`{name}`][trtnn.functional.{name}]" in page
    assert "| `T` | It with its dimensions reversed. |" in page
    assert "`relu_`" in page
    for name in public.tensor_methods():
        assert name in public.OF_THE_TRACE or hasattr(torch.Tensor, name) or name == "cast"


@pytest.mark.parametrize("name", [n for n in public.names_in("trtnn.functional") if n.short in F.__all__][::20])
def test_a_function_is_defined_as_it_is(name):
    (node,) = ast.parse(definitions.definition(name)).body
    signature = inspect.signature(name.value)
    assert [a.arg for a in (*node.args.posonlyargs, *node.args.args)] == [
        p.name for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    assert (ast.get_docstring(node) or "").strip() == inspect.getdoc(name.value)


def test_a_class_is_defined_as_it_is_called():
    (node,) = ast.parse(definitions.definition(Name("trtnn.modules.ELU", trtnn.modules.ELU))).body
    assert ast.unparse(node.body[1].args) == "self, alpha: float=1.0, inplace: bool=False"
    (node,) = ast.parse(definitions.definition(Name("trtnn.Network", trtnn.Network))).body
    by_name = {child.name: child for child in node.body[1:]}
    assert ast.unparse(by_name["flops"].decorator_list[0]) == "property"
    assert ast.get_docstring(by_name["run"]).startswith("Execute the network on the CPU")
