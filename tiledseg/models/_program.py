"""Programs of torch.export (.pt2), read without running what a file brings along.

``torch.export.load`` unpickles sample inputs, constants and weights where a file says so, evaluates
its symbolic extents as Python, follows names of operations to whatever they lead to, and makes
Python source of a graph's names. So a file is taken apart first: it may hold plain tensors, and a
graph of torch's operators whose every text is a name, a number or a known function. What a network
does not need (sample inputs, source lines, guards) is left out. torch gets an archive of the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError, DamagedInput, TiledsegError
from ._archive import packed, read_archive
from ._fit import Facts, Port
from ._quiet import quiet

_MODEL = "models/model.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_SAMPLES = "data/sample_inputs/model.pt"
_PLAIN = ("archive_format", "archive_version", "byteorder", ".data/version", "version")
#: Families of operators a network is made of (`torch.ops.aten.conv2d.default`).
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|quantized|torchvision)\.([A-Za-z]\w*|_[a-z]\w*)\.\w+"
)
#: Arithmetic on extents.
_ARITHMETIC = re.compile(
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pos|abs|pow|eq|ne|lt|le|gt|ge|and_|or_|xor|"
    r"getitem|not_)|math\.(ceil|floor|trunc|sqrt)|torch\.sym_(int|float|max|min|not|ite|sqrt|sum)"
)
#: Operators that touch files.
_FILES = {"from_file", "save"}
#: Functions of symbolic extents, and words beside them: `Mul(Integer(2), Symbol('s0'))`.
_SYMBOLIC = {
    *(
        "Symbol",
        "Integer",
        "Rational",
        "Float",
        "Add",
        "Mul",
        "Pow",
        "Max",
        "Min",
        "Abs",
        "Eq",
        "Ne",
    ),
    *("Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv", "CeilToInt", "FloorToInt", "Where"),
    *("IntTrueDiv", "FloatTrueDiv", "PowByNatural", "FloatPow", "TruncToInt", "TruncToFloat"),
    *("RoundToInt", "ToFloat", "Identity", "ModularIndexing", "Not", "And", "Or", "true", "false"),
    *("LessThan", "GreaterThan", "StrictLessThan", "StrictGreaterThan", "Equality", "Unequality"),
    *("positive", "integer", "nonnegative", "real", "finite", "True", "False", "precision"),
}
_EXPRESSION = re.compile(r"'[\w.]*'|[A-Za-z_]\w*|\d+(?:\.\d+)?|[-+*/%(),= ]|[<>!]=?|==")
_NAME = re.compile(r"[\w.]*", re.ASCII)
_TEXT = re.compile(r"[\w\s.,:;/>()\[\]=+-]*")
#: Operators whose results differ from call to call.
_RANDOM = re.compile(r"torch\.ops\.aten\.(rand|bernoulli|normal|multinomial|poisson)\w*\.")
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict"}


def load_program(path: Path) -> torch.export.ExportedProgram:
    """Return the program of a .pt2 file.

    Raises:
        ConfigError: It holds more than a network needs.
        DamagedInput: It is no such file, or is damaged.
    """
    entries = _parts(path)
    try:
        with quiet("torch.export"):  # it prints a traceback besides raising
            return torch.export.load(packed(entries))
    except Exception as error:  # what torch says of a bad program shares no base but Exception
        told = " ".join(str(error).split())[:200]
        raise DamagedInput(f"{path} is not a usable .pt2 file: {told}") from None


def program_facts(path: Path) -> Facts:
    """Return what a program takes and gives; extents that are free have a name.

    Raises:
        ConfigError: It holds more than a network needs.
        DamagedInput: It is no such file, or is damaged.
    """
    module = json.loads(_parts(path)[_MODEL])["graph_module"]
    try:
        values, signature = module["graph"]["tensor_values"], module["signature"]
        takes = [s["user_input"]["arg"] for s in signature["input_specs"] if "user_input" in s]
        gives = [s["user_output"]["arg"] for s in signature["output_specs"] if "user_output" in s]
        inputs, outputs = (tuple(_port(a, values) for a in side) for side in (takes, gives))
        hint = [_hint(e) for e in values[inputs[0].name]["sizes"]] if inputs else []
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise DamagedInput(f"{path} is not a usable .pt2 file: {error!r}") from None
    return Facts(inputs, outputs, window=tuple(hint) or None)


def _port(argument: dict[str, Any], values: dict[str, Any]) -> Port:
    if "as_tensor" not in argument:
        return Port(next(iter(argument)), (), "no tensor")
    name = argument["as_tensor"]["name"]
    meta = values[name]
    return Port(name, [_extent(e) for e in meta["sizes"]], _DTYPES.get(meta["dtype"], "unknown"))


def _extent(size: dict[str, Any]) -> int | str:
    """Return a fixed extent, or the name of a free one: ``s0``, ``4*s0``, or its expression."""
    if "as_int" in size:
        return int(size["as_int"])
    text = str(size["as_expr"]["expr_str"])
    free = re.fullmatch(r"(?:Mul\(Integer\((\d+)\), )?Symbol\('(\w+)'[^()]*\)\)?", text)
    if free is None:
        return text
    return free[2] if free[1] is None else f"{free[1]}*{free[2]}"


def _hint(size: dict[str, Any]) -> int:
    """Return an extent of the example that a program was exported with."""
    return int(size["as_int"] if "as_int" in size else size["as_expr"]["hint"]["as_int"])


#: Numbers of torch's types in such files (torch/_export/serde/schema.py, ScalarType).
_DTYPES = dict(enumerate(("uint8", "int8", "int16", "int32", "int64", "float16", "float32"), 1))
_DTYPES |= {8: "float64", 12: "bool", 13: "bfloat16"}


# --------------------------------------------------------------------- what may be inside


def _parts(path: Path) -> dict[str, bytes]:
    """Return the entries of a file that a network needs, looked through.

    Raises:
        ConfigError: It holds more than that.
        DamagedInput: It is damaged.
    """
    entries = read_archive(path)
    if _MODEL not in entries:
        raise ConfigError(
            f"{path} holds no single program as torch.export.save writes it since torch 2.8: save "
            "it again"
        )
    try:
        program = json.loads(entries[_MODEL])
        tensors = [name for config in _CONFIGS for name in _tensors(path, config, entries[config])]
        _strip(program)
        _check_program(path, program)
        _check_constant(path, program["graph_module"])
    except TiledsegError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        told = " ".join(str(error).split())[:200]
        raise DamagedInput(f"{path} is not a usable .pt2 file: {told}") from None
    kept = {name: entries[name] for name in (*_PLAIN, *_CONFIGS, *tensors) if name in entries}
    return {**kept, _SAMPLES: b"", _MODEL: json.dumps(program).encode()}


def _tensors(path: Path, config: str, content: bytes) -> Iterator[str]:
    """Yield the names of the files of plain tensors that a list of tensors names.

    Raises:
        ConfigError: Something in it is no plain tensor.
    """
    for name, entry in json.loads(content)["config"].items():
        file = entry["path_name"]
        if entry["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", file):
            raise ConfigError(
                f"{path} keeps {name[:60]!r} as a pickled object, which could run anything: save "
                "the program with plain tensors only"
            )
        yield f"{config.rpartition('/')[0]}/{file}"


def _strip(program: dict[str, Any]) -> None:
    """Leave out what running a network does not need, and torch would look into."""
    module = program["graph_module"]
    program["guards_code"] = []
    # Limits of extents that are expressions (`2*s0`) follow from those of their symbols.
    limits = program["range_constraints"].items()
    program["range_constraints"] = {name: v for name, v in limits if name.isidentifier()}
    module["metadata"], module["treespec_namedtuple_fields"] = {}, {}
    module["module_call_graph"] = [e for e in module["module_call_graph"] if e["fqn"] == ""]
    for node in module["graph"]["nodes"]:
        node["metadata"] = {}


def _check_program(path: Path, program: dict[str, Any]) -> None:
    """Refuse a program with a text that is more than a name.

    Raises:
        ConfigError: It has one.
    """
    for key, text in _texts("", program):
        if not _harmless(key, text):
            raise ConfigError(
                f"{path} holds {key} {text[:60]!r}, which is nothing a network needs: it is not run"
            )


def _check_constant(path: Path, module: dict[str, Any]) -> None:
    """Refuse a program that gives another result for the same window in another call.

    Raises:
        ConfigError: It changes its own tensors, or draws random numbers.
    """
    changes = [spec for spec in module["signature"]["output_specs"] if "user_output" not in spec]
    if changes or any(map(_is_random, module["graph"]["nodes"])):
        raise ConfigError(
            f"{path} gives another result in every call: it was exported in training mode; call "
            "eval() on the network and export it again"
        )


def _is_random(node: dict[str, Any]) -> bool:
    """Whether a node draws random numbers, or learns: dropout and batch norm in training."""
    trains = (a["arg"].get("as_bool") for a in node["inputs"] if a["name"] in ("train", "training"))
    return any(trains) or _RANDOM.match(node["target"]) is not None


def _texts(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield every text below a value, with the key it is found under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inside in value.items():
            yield "name", name
            yield from _texts(name, inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _texts(key, inside)


def _harmless(key: str, text: str) -> bool:
    if key in ("target", "as_operator"):
        operator = _OPERATOR.fullmatch(text)
        if operator is None:
            return _ARITHMETIC.fullmatch(text) is not None
        return operator[2] not in _FILES and "__" not in text
    if key == "expr_str":
        return _is_expression(text)
    if key in ("in_spec", "out_spec"):
        return _is_plain_spec(json.loads(text))
    if key in ("as_string", "torch_version"):
        return _TEXT.fullmatch(text) is not None
    return _NAME.fullmatch(text) is not None and not any(map(_is_special, text.split(".")))


def _is_special(name: str) -> bool:
    """Whether Python gives a name a meaning of its own, as ``__class__``."""
    return name.startswith("__") and name.endswith("__") and len(name) > 4


def _is_expression(text: str) -> bool:
    words = _EXPRESSION.findall(text)
    if len(text) > 10_000 or "".join(words) != text:
        return False
    named = [w for w in words if w[0].isalpha() or w[0] == "_"]
    return all(w in _SYMBOLIC or re.fullmatch(r"[suz]+[if]?\d+", w) for w in named)


def _is_plain_spec(spec: Any) -> bool:
    """Whether a description of nested containers is of lists, tuples and dicts of names alone."""
    protocol, node = spec
    left = [node]
    while left:
        node = left.pop()
        if node["type"] not in _CONTAINERS:
            return False
        context = json.loads(node["context"] or "null")
        if context is not None and not all(isinstance(name, str) for name in context):
            return False
        left += node["children_spec"]
    return isinstance(protocol, int)
