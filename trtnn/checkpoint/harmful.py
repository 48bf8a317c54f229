"""The classes and functions that no checkpoint's pickle has a use for: those that could do harm if they were called.

Nothing that a pickle names is ever imported or called (see ``unpickle.py``): an unknown class is inert, whoever wrote
it, and does not stand in the way of the weights. What is here is refused all the same, so that a file which was made to
do harm is not read as if nothing were wrong with it.

Of the standard library only the modules that hold values and containers are known to be harmless.
"""

from __future__ import annotations

import re
import sys
import unicodedata

NAME_LIMIT_CHARACTERS = 500  # of a module and a name in it

_INERT_STANDARD = frozenset(
    [
        *("_codecs", "abc", "argparse", "array", "calendar", "collections", "collections.abc", "configparser"),
        *("contextvars", "copyreg", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools"),
        *("graphlib", "http", "inspect", "ipaddress", "itertools", "logging", "math", "numbers", "operator"),
        *("pathlib", "pathlib._local", "queue", "random", "re", "statistics", "string", "struct", "threading"),
        *("time", "types", "typing", "uuid", "weakref", "zoneinfo", "_collections", "_decimal", "_functools"),
        *("_operator", "_random", "_struct", "_thread", "_weakref"),
    ]
)
_INERT_NAMES = frozenset(["io.BytesIO", "io.StringIO", "_io.BytesIO", "_io.StringIO"])  # of modules that are not
_HARMFUL_IN_INERT = frozenset(
    [
        *("array.fromfile", "inspect.getsource", "logging.FileHandler", "logging.config"),
        *("operator.methodcaller", "_operator.methodcaller", "types.CodeType", "types.FunctionType"),
        *("types.LambdaType", "threading.Thread", "threading.Timer", "itertools.starmap"),
    ]
)
_HARMFUL_BUILTINS = frozenset(
    [
        *("__build_class__", "__import__", "breakpoint", "compile", "delattr", "eval", "exec", "execfile"),
        *("exit", "file", "globals", "help", "input", "locals", "open", "quit", "raw_input", "reload"),
        *("setattr", "vars"),
    ]
)
# functions that run, load or remove what they are given, whatever module they are said to be of
_HARMFUL_ANYWHERE = frozenset(
    [
        *("__import__", "_load_from_bytes", "check_call", "check_output", "eval", "exec", "execfile", "execv"),
        *("execve", "execvp", "execvpe", "fork", "getoutput", "getstatusoutput", "import_module", "popen"),
        *("Popen", "posix_spawn", "rmtree", "run_module", "run_path", "runcode", "runsource", "runstring"),
        *("spawnl", "spawnv", "startfile", "system", "unlink"),
    ]
)
_HARMFUL_PACKAGES = (
    *("torch.hub", "torch.load", "torch.save", "torch.package", "torch.multiprocessing", "torch.testing"),
    *("torch.utils.collect_env", "torch.utils.cpp_extension", "torch.utils.bottleneck", "torch.utils.benchmark"),
    *("torch.serialization.load", "torch.jit.load", "torch.ops.load_library", "torch.classes.load_library"),
    *("torch.distributed.rpc", "torch.distributed.run", "torch.distributed.launch", "torch.distributed.elastic"),
    *("torch._inductor", "torch._dynamo", "torch.export.load", "torch.utils.model_zoo", "torch.utils.data.backward"),
    *("numpy.load", "numpy.loadtxt", "numpy.genfromtxt", "numpy.fromfile", "numpy.memmap", "numpy.save"),
    *("numpy.testing", "numpy.f2py", "numpy.distutils", "numpy.ctypeslib", "numpy.lib.npyio", "numpy.lib.format"),
    *("pip", "setuptools", "distutils", "pkg_resources", "dill", "cloudpickle", "joblib.load", "joblib.numpy_pickle"),
    *("pandas.eval", "pandas.read_pickle", "pandas.io", "yaml.load", "yaml.unsafe_load", "IPython", "sh", "pexpect"),
    *(
        "commands",
        "requests",
        "urllib2",
        "httplib",
        "fabric",
        "paramiko",
        "cffi",
        "nt",
        "winreg",
        "msvcrt",
        "nturl2path",
    ),
)


def is_harmful(module: str, name: str) -> bool:
    """Whether a checkpoint that names ``name`` of ``module`` is refused: it could do harm, or is no name at all."""
    module, name = (unicodedata.normalize("NFKC", text) for text in (module, name))
    parts = name.split(".")
    if not all(map(str.isidentifier, (*module.split("."), *parts))):
        return True
    whole, package = f"{module}.{name}", module.partition(".")[0]
    if not _HARMFUL_ANYWHERE.isdisjoint(parts) or (any(map(is_special, parts)) and module != "copyreg"):
        return True
    if any(_is_harmful_module(part) for part in parts[:-1]):
        return True
    if any(whole == harmful or whole.startswith(f"{harmful}.") for harmful in _HARMFUL_PACKAGES):
        return True
    if package == "builtins":
        return parts[0] in _HARMFUL_BUILTINS
    if package in sys.stdlib_module_names:
        is_inert = module in _INERT_STANDARD and len(parts) == 1 and whole not in _HARMFUL_IN_INERT
        return not is_inert and whole not in _INERT_NAMES
    return False


def is_special(part: str) -> bool:
    """Whether a name is one of Python's own, such as ``__class__``, by which one gets from anything to everything."""
    return bool(re.fullmatch(r"__\w+__", part))


def _is_harmful_module(part: str) -> bool:
    """Whether a part of a dotted name leads out of what it is a part of, into the standard library."""
    return part == "builtins" or (part in sys.stdlib_module_names and part not in _INERT_STANDARD)
