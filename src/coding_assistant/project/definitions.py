"""Tells from a syntax node whether it defines something that has a name.

One small function per shape of definition; ``grammars`` says which of them a language uses for which
node type. Nothing here walks a tree: each looks at a node and a few of its descendants.

Nodes are never printed and never recursed into. ``str(node)`` on a tree of 400,000 levels, which a
minified file reaches, ends the process with a segmentation fault (tree-sitter 0.26).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tree_sitter import Node

from coding_assistant.domain import ChunkKind

# A name is shown beside a path and indexed as words. What is longer is not a name but a parse gone wrong.
_LONGEST_NAME = 200
# Pointers to functions that return pointers to functions: C declarators nest, but not deeper than this.
_DEEPEST_DECLARATOR = 16


@dataclass(frozen=True, slots=True)
class Definition:
    """A name that a node defines; a dotted name brings its owner along."""

    kind: ChunkKind
    name: str


Recogniser: TypeAlias = Callable[[Node], Definition | None]


def text_of(node: Node | None) -> str:
    """Return the node's source as one line, or nothing for no node and for what is too long for a name."""
    if node is None or node.end_byte - node.start_byte > _LONGEST_NAME * 4:
        return ""
    text = " ".join((node.text or b"").decode(errors="replace").split())
    return text if len(text) <= _LONGEST_NAME else ""


def _definition(kind: ChunkKind, name: str) -> Definition | None:
    return Definition(kind, name) if name else None


def _child_of_type(node: Node | None, *types: str) -> Node | None:
    if node is None:
        return None
    return next((child for child in node.named_children if child.type in types), None)


def named(kind: ChunkKind, field: str = "name") -> Recogniser:
    """Recognise a node whose name stands in a field."""

    def recognise(node: Node) -> Definition | None:
        return _definition(kind, text_of(node.child_by_field_name(field)).replace("::", "."))

    return recognise


def called(kind: ChunkKind, name: str) -> Recogniser:
    """Recognise a node that has no name of its own, such as a constructor, under a fixed one."""

    def recognise(_: Node) -> Definition | None:
        return Definition(kind, name)

    return recognise


def with_body(recognise: Recogniser, field: str = "body") -> Recogniser:
    """Recognise only nodes that have a body: ``struct point p;`` defines no structure."""

    def recognise_with_body(node: Node) -> Definition | None:
        return recognise(node) if node.child_by_field_name(field) is not None else None

    return recognise_with_body


# --- C and C++ --------------------------------------------------------------------------------


def c_function(node: Node) -> Definition | None:
    """Recognise a function; ``Type::name`` is a method of ``Type``."""
    declarator = node.child_by_field_name("declarator")
    for _ in range(_DEEPEST_DECLARATOR):
        inner = declarator.child_by_field_name("declarator") if declarator is not None else None
        if inner is None:  # these two keep what they are about without a field
            inner = _child_of_type(declarator, "function_declarator", "pointer_declarator")
        if inner is None:
            break
        declarator = inner
    if declarator is not None and declarator.type == "qualified_identifier":
        return _definition(ChunkKind.METHOD, _qualified_name(declarator))
    return _definition(ChunkKind.FUNCTION, text_of(declarator))


def _qualified_name(node: Node) -> str:
    """Return ``Type.name`` for ``space::Type<Value>::name``: where namespaces end cannot be seen."""
    parts: list[str] = []
    current: Node | None = node
    while current is not None and current.type == "qualified_identifier":
        scope = current.child_by_field_name("scope")
        if scope is not None and scope.type == "template_type":
            scope = scope.child_by_field_name("name")
        parts.append(text_of(scope))
        current = current.child_by_field_name("name")
    parts.append(text_of(current))
    return ".".join(part for part in parts[-2:] if part)


def c_typedef(node: Node) -> Definition | None:
    """Recognise ``typedef struct { … } name;``."""
    described = node.child_by_field_name("type")
    if described is None or described.child_by_field_name("body") is None:
        return None
    return _definition(ChunkKind.CLASS, text_of(node.child_by_field_name("declarator")))


# --- C#, Go, Rust, Kotlin, Swift, Ruby --------------------------------------------------------


def csharp_operator(node: Node) -> Definition | None:
    """Recognise an operator, or the conversion to a type."""
    sign = node.child_by_field_name("operator") or node.child_by_field_name("type")
    return _definition(ChunkKind.METHOD, f"operator {text_of(sign)}")


def go_method(node: Node) -> Definition | None:
    """Recognise ``func (q *Queue[T]) Put`` as ``Queue.Put``."""
    parameter = _child_of_type(node.child_by_field_name("receiver"), "parameter_declaration")
    receiver = parameter.child_by_field_name("type") if parameter is not None else None
    if receiver is not None and receiver.type == "pointer_type":
        receiver = receiver.named_child(0)
    if receiver is not None and receiver.type == "generic_type":
        receiver = receiver.child_by_field_name("type")
    name = text_of(node.child_by_field_name("name"))
    return _definition(ChunkKind.METHOD, f"{text_of(receiver)}.{name}".strip(".") if name else "")


def rust_impl(node: Node) -> Definition | None:
    """Recognise an ``impl`` block under the type that it is for."""
    subject = node.child_by_field_name("type")
    if subject is not None and subject.type == "generic_type":
        subject = subject.child_by_field_name("type")
    return _definition(ChunkKind.CLASS, text_of(subject).replace("::", "."))


def kotlin_function(node: Node) -> Definition | None:
    """Recognise a function; an extension function brings the type that it extends."""
    name = node.child_by_field_name("name")
    if name is None:
        return None
    receiver = _child_of_type(node, "user_type", "nullable_type")
    if receiver is None or receiver.start_byte > name.start_byte:
        return _definition(ChunkKind.FUNCTION, text_of(name))
    owner = text_of(receiver).partition("<")[0].rstrip("?")
    return _definition(ChunkKind.METHOD, f"{owner}.{text_of(name)}")


def swift_property(node: Node) -> Definition | None:
    """Recognise a property that is computed; a stored one is a field."""
    if node.child_by_field_name("computed_value") is None:
        return None
    return _definition(ChunkKind.METHOD, text_of(node.child_by_field_name("name")))


def ruby_call(node: Node) -> Definition | None:
    """Recognise ``private def name``: a call whose argument is the method."""
    arguments = node.child_by_field_name("arguments")
    method = _child_of_type(arguments, "method", "singleton_method")
    return named(ChunkKind.FUNCTION)(method) if method is not None else None


# --- JavaScript and TypeScript ----------------------------------------------------------------

_JS_FUNCTIONS = ("arrow_function", "function_expression", "generator_function")


def _js_kind(value: Node | None) -> ChunkKind | None:
    """Return what a value makes of its name.

    A function handed to a call, ``memo(() => …)``, counts as one; an object that holds functions is as good
    as a class.
    """
    if value is None:
        return None
    if value.type == "class" or (value.type == "object" and _holds_functions(value)):
        return ChunkKind.CLASS
    if value.type == "call_expression":
        value = _child_of_type(value.child_by_field_name("arguments"), *_JS_FUNCTIONS)
    if value is not None and value.type in _JS_FUNCTIONS:
        return ChunkKind.FUNCTION
    return None


def _holds_functions(container: Node) -> bool:
    """Whether an object of JavaScript or a table of Lua has a function under one of its names."""
    for member in container.named_children:
        value = member.child_by_field_name("value")
        is_function = value is not None and value.type in (*_JS_FUNCTIONS, "function_definition")
        if is_function or member.type == "method_definition":
            return True
    return False


def js_value(name_field: str, value_field: str = "value") -> Recogniser:
    """Recognise a name that is given a function or a class: a variable, a field, a property."""

    def recognise(node: Node) -> Definition | None:
        kind = _js_kind(node.child_by_field_name(value_field))
        name = text_of(node.child_by_field_name(name_field)).strip("\"'")
        return _definition(kind, name) if kind is not None else None

    return recognise


def js_assignment(node: Node) -> Definition | None:
    """Recognise ``Type.prototype.name = function``, ``exports.name = …`` and their kin."""
    kind = _js_kind(node.child_by_field_name("right"))
    target = text_of(node.child_by_field_name("left"))
    if kind is None or not target:
        return None
    if ".prototype." in target:
        return Definition(ChunkKind.METHOD, target.replace(".prototype.", "."))
    return Definition(kind, target.removeprefix("module.").removeprefix("exports.").removeprefix("this."))


# --- Lua, Haskell, Elixir, Zig ----------------------------------------------------------------


def lua_function(node: Node) -> Definition | None:
    """Recognise ``function M.name`` as a function and ``function Type:name`` as a method."""
    name = node.child_by_field_name("name")
    is_method = name is not None and name.type == "method_index_expression"
    kind = ChunkKind.METHOD if is_method else ChunkKind.FUNCTION
    return _definition(kind, text_of(name).replace(":", "."))


def lua_assignment(node: Node) -> Definition | None:
    """Recognise ``M.name = function``, local or not, and a table that holds functions."""
    values = _child_of_type(node, "expression_list")
    name = text_of(_child_of_type(node, "variable_list"))
    if _child_of_type(values, "function_definition") is not None:
        return _definition(ChunkKind.FUNCTION, name)
    table = _child_of_type(values, "table_constructor")
    return _definition(ChunkKind.CLASS, name) if table is not None and _holds_functions(table) else None


def lua_field(node: Node) -> Definition | None:
    """Recognise a function in a table."""
    value = node.child_by_field_name("value")
    if value is None or value.type != "function_definition":
        return None
    return _definition(ChunkKind.FUNCTION, text_of(node.child_by_field_name("name")).strip("\"'"))


def haskell_function(node: Node) -> Definition | None:
    """Recognise an equation or a signature; an operator stands between its arguments."""
    name = node.child_by_field_name("name")
    if name is None:
        infix = _child_of_type(node, "infix")
        name = infix.child_by_field_name("operator") if infix is not None else None
    return _definition(ChunkKind.FUNCTION, text_of(name))


def haskell_instance(node: Node) -> Definition | None:
    """Recognise ``instance Class Type``; its name is both."""
    words = (text_of(node.child_by_field_name(field)) for field in ("name", "patterns"))
    return _definition(ChunkKind.CLASS, " ".join(word for word in words if word))


_ELIXIR_MODULES = frozenset({"defmodule", "defprotocol", "defimpl"})
_ELIXIR_FUNCTIONS = frozenset(
    {"def", "defp", "defmacro", "defmacrop", "defguard", "defguardp", "defdelegate", "defn", "defnp"}
)
_ELIXIR_LEADS = frozenset({"doc", "spec", "impl", "typedoc", "deprecated", "decorate", "tag"})


def elixir_call(node: Node) -> Definition | None:
    """Recognise ``defmodule`` and ``def``, which are ordinary calls in Elixir's syntax."""
    word = text_of(node.child_by_field_name("target"))
    if word not in _ELIXIR_MODULES and word not in _ELIXIR_FUNCTIONS and word != "test":
        return None
    arguments = _child_of_type(node, "arguments")
    subject = arguments.named_child(0) if arguments is not None and arguments.named_child_count else None
    if word in _ELIXIR_MODULES:
        return _definition(ChunkKind.CLASS, _elixir_module(subject, arguments))
    if word == "test":  # its name is a sentence
        is_named = subject is not None and subject.type == "string"
        return _definition(ChunkKind.FUNCTION, text_of(subject).strip('"')) if is_named else None
    if subject is not None and subject.type == "binary_operator":  # name(argument) when guard
        subject = subject.child_by_field_name("left")
    if subject is not None and subject.type == "call":
        subject = subject.child_by_field_name("target")
    return _definition(ChunkKind.FUNCTION, text_of(subject))


def _elixir_module(subject: Node | None, arguments: Node | None) -> str:
    """Return a module's name, which for ``defimpl Protocol, for: Type`` is ``Protocol.Type``."""
    pair = _child_of_type(_child_of_type(arguments, "keywords"), "pair")
    is_for = pair is not None and text_of(pair.child_by_field_name("key")).strip() == "for:"
    owner = text_of(pair.child_by_field_name("value")) if pair is not None and is_for else ""
    return f"{text_of(subject)}.{owner}".strip(".")


def is_elixir_lead(node: Node) -> bool:
    """Whether the node is a comment, or an attribute such as ``@doc`` that is about what follows."""
    if node.type != "unary_operator":
        return node.type == "comment"
    operand = node.child_by_field_name("operand")
    target = operand.child_by_field_name("target") if operand is not None else None
    return text_of(target) in _ELIXIR_LEADS


def zig_variable(node: Node) -> Definition | None:
    """Recognise ``const Name = struct { … }`` and the other containers."""
    containers = ("struct_declaration", "enum_declaration", "union_declaration", "opaque_declaration")
    if _child_of_type(node, *containers) is None:
        return None
    return _definition(ChunkKind.CLASS, text_of(_child_of_type(node, "identifier")))


def zig_test(node: Node) -> Definition | None:
    """Recognise a test, whose name is a sentence."""
    return _definition(ChunkKind.FUNCTION, text_of(_child_of_type(node, "string", "identifier")).strip('"'))
