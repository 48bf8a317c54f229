"""``trtnn from-torch``, and the build of what it writes."""

import html
import re
import shlex

import pytest
import torch

import trtnn
from tests.from_torch.models import images, make

NET = "tests.from_torch.models:Residual"


def test_source_and_weights_that_build(run, tmp_path):
    path = tmp_path / "net.py"
    result = run("from-torch", NET, "--input", "1x3x16x16", "--dynamic", "batch=1,2,4", "-o", path)
    assert result.code == 0, result.err
    stages = ("recording one call", "writing the source", "recording a call with other lengths", "a second input")
    assert [stage for stage in stages if stage not in result.err] == []
    for row in ("modules", "classes", "lines", "layers", "largest difference"):
        assert row in result.out
    assert f"trtnn build {path}:Residual --weights {tmp_path / 'net.safetensors'}" in result.out
    built = run("build", f"{path}:Residual", "--weights", tmp_path / "net.safetensors", "-o", tmp_path / "net.engine",
                "--target", "sm86", "--level", "0")  # fmt: skip
    assert built.code == 0, built.err
    assert trtnn.Engine.load(tmp_path / "net.engine").profiles


def test_weights_of_a_checkpoint(run, tmp_path):
    model, _, _ = make("residual")
    torch.save(model.state_dict(), tmp_path / "x.pt")
    path = tmp_path / "net.py"
    assert run("from-torch", NET, "--input", "1x3x16x16", "--weights", tmp_path / "x.pt", "-o", path).code == 0
    state = trtnn.load(tmp_path / "net.safetensors")
    assert (state["fc.weight"] == model.fc.weight.detach().numpy()).all()
    torch.save({"fc.weight": images(5, 24)}, tmp_path / "y.pt")
    result = run("from-torch", NET, "--input", "1x3x16x16", "--weights", tmp_path / "y.pt", "-o", path, "--force")
    assert result.code == 1
    assert "y.pt does not fit: " in result.err


def test_named_lengths_and_types(run, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x, *, mask):\n"
        "        return x.masked_fill(mask, 0).flatten(1)\n"
    )
    path = tmp_path / "net.py"
    result = run("from-torch", f"{file}:Net", "--input", "2xheightx4:float16", "--input", "mask=2xheightx4:bool",
                 "--dynamic", "height=2,4,8,2", "-o", path)  # fmt: skip
    assert result.code == 0, result.err
    assert path.read_text().startswith('"""Net, converted from own.Net."""\n')  # as its author calls it
    assert '    """own.Net: the model.\n' in path.read_text()
    assert '"x": Input((2, Dim("height", 2, 4, 8, multiple_of=2), 4), "float16")' in path.read_text()
    assert '"mask": Input((2, Dim("height", 2, 4, 8, multiple_of=2), 4), "bool")' in path.read_text()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((NET,), "from_torch needs an example of each input\n  forward takes: x"),
        ((NET, "--input", "1x3xy"), "an input is lengths with an x between them, such as 1x3x224x224, not 1x3xy"),
        ((NET, "--input", "1x3:complex64"), "an input is of float32, float16, bfloat16, int64, int32 or bool"),
        ((NET, "--input", "1x3x16x16", "--dynamic", "batch=4"), "a dynamic length is NAME=MIN,OPT,MAX or"),
        ((NET, "--input", "1x3x16x16", "--dynamic", "h=1,2,4"), "no input has the length h\n  write it in one"),
        ((NET, "--input", "1x4x16x16"), "torch's own forward raised RuntimeError"),
        (("Residual", "--input", "1x3x16x16"), "Residual names no factory"),
        (("no.such:thing", "--input", "1"), "there is no module no.such"),
        (("no.py:thing", "--input", "1"), "there is no file no.py"),
        (("tests.from_torch.models:Residul", "--input", "1"), "has no Residul\n  near: Residual"),
        (("tests.from_torch.models:CASES", "--input", "1"), "gives no torch module, but dict"),
        (("gc:collect", "--input", "1"), "gc:collect gives no torch module, but int"),
        (
            ("tests.from_torch.models:Block", "--input", "1"),
            "Block needs arguments: inplanes, planes\n  write a function",
        ),
        (
            ("torch.nn:LSTM", "--input", "1x3x4"),
            "LSTM needs arguments: RNNBase.__init__() missing 2 required positional arguments: 'input_size' and",
        ),
    ],
)
def test_what_is_wrong_is_told(run, tmp_path, args, said):
    result = run("from-torch", *args, "-o", tmp_path / "net.py")
    assert result.code == 1
    assert said in result.err
    assert not (tmp_path / "net.py").exists()


def test_the_command_that_is_shown_can_be_typed(run, tmp_path):
    path = tmp_path / "two words.py"
    result = run("from-torch", NET, "--input", "1x3x16x16", "-o", path, "--no-verify")
    *_, line = result.out.strip().splitlines()
    assert shlex.split(line) == [
        "trtnn",
        "build",
        f"{path}:Residual",
        "--weights",
        str(path.with_suffix(".safetensors")),
    ]


def test_files_that_are_there_stay(run, tmp_path):
    path = tmp_path / "net.py"
    path.write_text("mine")
    result = run("from-torch", NET, "--input", "1x3x16x16", "-o", path)
    assert result.code == 1
    assert "net.py would be overwritten" in result.err
    assert path.read_text() == "mine"
    assert run("from-torch", NET, "--input", "1x3x16x16", "-o", path, "--force", "--no-verify").code == 0


def test_a_page_of_both_sources(run, tmp_path):
    """It needs nothing beside itself, and what looks like HTML in a source is text."""
    file, page = tmp_path / "own.py", tmp_path / "page.html"
    file.write_text(
        "import torch\n\n"
        "class Half(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return torch.where(x < 1, x / 2, x)  # <script>\n\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.halves = Half()\n"
        "        self.relu = torch.nn.ReLU()\n\n"
        "    def forward(self, x):\n"
        "        return self.relu(self.halves(x)) + 1\n"
    )
    args = ("from-torch", f"{file}:Net", "--input", "1x4", "-o", tmp_path / "net.py", "--side-by-side", page)
    result = run(*args)
    assert result.code == 0, result.err
    cells = re.findall(r"<pre>(.*?)</pre>", page.read_text(encoding="utf-8"), re.DOTALL)
    assert "<" not in "".join(cells)
    head, *classes = map(html.unescape, cells)
    source, theirs = (tmp_path / "net.py").read_text(), file.read_text()
    assert source == f"{head}\n\n\n{classes[1]}\n\n\n{classes[3]}\n"
    assert theirs == f"import torch\n\n{classes[0]}\n\n{classes[2]}\n"
    assert not re.search(r"(src|href)=|url\(|<script", page.read_text())
    assert re.findall("<td><b>(own.*?)</b>", page.read_text()) == ["own.Half", "own.Net"]
    again = run(*args[:-4], "-o", tmp_path / "other.py", "--side-by-side", page)
    assert again.code == 1
    assert "page.html would be overwritten" in again.err
    assert not (tmp_path / "other.py").exists()
    assert run(*args, "--force").code == 0
