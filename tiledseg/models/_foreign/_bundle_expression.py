"""The expressions of a MONAI bundle's config: a few harmless ones are worked out, nothing is run.

A text that starts with ``$`` is Python to MONAI, which evaluates it. Here it is parsed to a syntax
tree, and the tree is walked. What is known:

- numbers, texts, ``True``, ``False``, ``None``, lists, tuples, dicts;
- ``+ - * / // %`` and small powers of numbers, ``+`` of texts and of lists, a list times a number;
- comparisons, ``and``, ``or``, ``not``, ``a if b else c``, ``a[i]``, texts like ``f'{a}/b'``;
- ``@id`` wherever a value can stand;
- ``int float str`` of a number or text, ``len list tuple`` of a list, ``os.path.join`` of texts;
- the zoo's idioms for devices and types: ``torch.device(a)`` is ``a``, ``a.to(device)`` is ``a``,
  ``torch.cuda.is_available()`` is False, ``torch.float32`` and ``numpy.float32`` are their names.

Everything else is refused, with the expression quoted.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

from ...errors import ConfigError

#: How references look to MONAI: ``@a``, ``@a::b::0`` (``#`` has been turned into ``::``).
REFERENCE = re.compile(r"@\w*(?:::\w*)*")
#: Letters of an expression, letters or items of a value, its bits and the power of a number beyond
#: which it is no setting but an attack on memory or time.
_LETTERS, _ITEMS, _BITS, _POWER = 4000, 10_000, 1024, 64
_MARK = "__reference_{}__"
_NUMBERS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_SCALARS = (int, float, str, type(None))
#: Functions, and what their arguments must be: nothing that could be a tree of any size.
_FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[type, ...]]] = {
    **{f.__name__: (f, _SCALARS) for f in (int, float, str)},
    **{f.__name__: (f, (list, tuple)) for f in (len, list, tuple)},
    "os.path.join": (lambda *parts: "/".join(parts), (str,)),
    "torch.device": (lambda device: device, (str,)),
    "torch.cuda.is_available": (lambda: False, ()),
}
_TYPES = re.compile(r"(?:torch|np|numpy)\.((?:u?int|float|bfloat)\d+|bool|half|float|long|int)")


class NeedsCode(ConfigError):
    """What a bundle asks for can be had only by running code of it, or of MONAI."""


def evaluate(text: str, place: str, refer: Callable[[str], Any]) -> Any:
    """Return the value of an expression.

    Args:
        text: The expression, with its ``$``.
        place: Where it stands, for the message.
        refer: Returns the value of an id (without ``@``).

    Raises:
        NeedsCode: It is not one of those that are known.
        ConfigError: What it refers to cannot be worked out.

    >>> evaluate("$@root + '/models/' + ('a.pt' if @high else 'b.pt')", "x", {"root": ".",
    ...     "high": True}.__getitem__)
    './models/a.pt'
    """
    try:
        return _Walk(text[1:], refer).value()
    except ConfigError:
        raise
    except (_NotKnown, ArithmeticError, ValueError, TypeError, LookupError, SyntaxError) as error:
        told = f" ({error})" if isinstance(error, _NotKnown) else ""
        raise _refused(text, place, told) from None
    except (RecursionError, MemoryError):
        raise _refused(text, place, " (it is nested too deep)") from None


def _refused(text: str, place: str, told: str) -> NeedsCode:
    quoted = " ".join(text.split())
    quoted = quoted if len(quoted) <= 120 else f"{quoted[:117]}..."
    return NeedsCode(
        f"the expression {quoted} at {place} is code{told}, and code of a bundle is not run; "
        "write the value it stands for in its place"
    )


class _NotKnown(Exception):
    """A part of an expression that is not among the known ones."""


class _Walk:
    """The walk through one expression."""

    def __init__(self, text: str, refer: Callable[[str], Any]) -> None:
        if len(text) > _LETTERS:
            raise _NotKnown(f"of more than {_LETTERS} letters")
        self._references: dict[str, str] = {}
        self._refer = refer
        self._tree = ast.parse(REFERENCE.sub(self._marked, text.strip()), mode="eval").body

    def _marked(self, found: re.Match[str]) -> str:
        mark = _MARK.format(len(self._references))
        self._references[mark] = found.group()[1:]
        return mark

    def value(self) -> Any:
        """Return the value of the whole."""
        return self._of(self._tree)

    def _of(self, node: ast.AST) -> Any:
        """Return the value of a part."""
        known: Callable[[Any], Any] | None = getattr(self, f"_{type(node).__name__}", None)
        if known is None:
            raise _NotKnown(type(node).__name__)
        value = known(node)
        if (isinstance(value, int) and value.bit_length() > _BITS) or (
            isinstance(value, str | list | tuple | dict) and len(value) > _ITEMS
        ):
            raise _NotKnown("a value that large")
        return value

    def _Constant(self, node: ast.Constant) -> Any:
        if not isinstance(node.value, int | float | str | None):
            raise _NotKnown(type(node.value).__name__)
        if isinstance(node.value, str) and any(mark in node.value for mark in self._references):
            raise _NotKnown("a reference inside a text")
        return node.value

    def _Name(self, node: ast.Name) -> Any:
        if node.id not in self._references:
            raise _NotKnown(node.id)
        return self._refer(self._references[node.id])

    def _List(self, node: ast.List) -> Any:
        return [self._of(item) for item in node.elts]

    def _Tuple(self, node: ast.Tuple) -> Any:
        return tuple(self._of(item) for item in node.elts)

    def _Dict(self, node: ast.Dict) -> Any:
        return {
            self._of(k) if k is not None else None: self._of(v)
            for k, v in zip(node.keys, node.values, strict=True)
        }

    def _UnaryOp(self, node: ast.UnaryOp) -> Any:
        value = self._of(node.operand)
        if isinstance(node.op, ast.Not):
            return not value
        if isinstance(node.op, ast.USub) and isinstance(value, int | float):
            return -value
        raise _NotKnown(type(node.op).__name__)

    def _BinOp(self, node: ast.BinOp) -> Any:
        left, right, kind = self._of(node.left), self._of(node.right), type(node.op)
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if numbers and kind in _NUMBERS and (kind is not ast.Pow or abs(right) <= _POWER):
            return _NUMBERS[kind](left, right)
        same = type(left) is type(right) and isinstance(left, str | list | tuple)
        if kind is ast.Add and same:
            return left + right
        listed = isinstance(left, list | tuple) and all(isinstance(i, _SCALARS) for i in left)
        if kind is ast.Mult and listed and isinstance(right, int) and len(left) * right <= _ITEMS:
            return left * right
        raise _NotKnown(kind.__name__)

    def _Compare(self, node: ast.Compare) -> Any:
        left = self._of(node.left)
        for op, other in zip(node.ops, node.comparators, strict=True):
            right = self._of(other)
            if not isinstance(left, _SCALARS):
                raise _NotKnown("a comparison of what is no number or text")
            if not _COMPARISONS[type(op)](left, right):
                return False
            left = right
        return True

    def _BoolOp(self, node: ast.BoolOp) -> Any:
        wanted = isinstance(node.op, ast.Or)
        value: Any = None
        for item in node.values:
            value = self._of(item)
            if bool(value) is wanted:
                break
        return value

    def _IfExp(self, node: ast.IfExp) -> Any:
        return self._of(node.body if self._of(node.test) else node.orelse)

    def _Subscript(self, node: ast.Subscript) -> Any:
        held, key = self._of(node.value), self._of(node.slice)
        if not isinstance(held, list | tuple | dict | str):
            raise _NotKnown("Subscript")
        return held[key]

    def _JoinedStr(self, node: ast.JoinedStr) -> Any:
        return "".join(str(self._of(part)) for part in node.values)

    def _FormattedValue(self, node: ast.FormattedValue) -> Any:
        value = self._of(node.value)
        if node.format_spec is not None or not isinstance(value, int | float | str):
            raise _NotKnown("FormattedValue")
        return value

    def _Attribute(self, node: ast.Attribute) -> Any:
        found = _TYPES.fullmatch(_dotted(node))
        if found is None:
            raise _NotKnown(_dotted(node) or node.attr)
        return found.group(1)

    def _Call(self, node: ast.Call) -> Any:
        name = _dotted(node.func)
        if name in _FUNCTIONS and not node.keywords:
            function, kinds = _FUNCTIONS[name]
            values = [self._of(argument) for argument in node.args]
            if all(isinstance(value, kinds) for value in values):
                return function(*values)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "to":
            return self._of(node.func.value)
        raise _NotKnown(name or "a call")


def _dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` of a dotted name, "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        held = _dotted(node.value)
        return held and f"{held}.{node.attr}"
    return ""
