"""One frozen table per language: what its grammar calls definitions, and what belongs to them.

Adding a language is adding an entry here and a file to ``tests/fixtures/languages``. Grammars come as one
wheel each, so nothing is ever fetched at run time, and load when a file of their language comes up.
"""

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tree_sitter import Language, Node, Parser

from coding_assistant.domain import ChunkKind
from coding_assistant.project import definitions
from coding_assistant.project.definitions import Definition, Recogniser, called, named, with_body


def _is_comment(node: Node) -> bool:
    return node.type in _COMMENTS


_COMMENTS = frozenset(
    {"comment", "line_comment", "block_comment", "multiline_comment", "haddock"}
    | {"attribute_item", "decorator"}  # Rust's #[…] and TypeScript's @… stand beside what they are about
)


@dataclass(frozen=True, slots=True)
class Grammar:
    """How one language's syntax tree is read.

    ``definitions`` recognise nodes by type. ``through`` are nodes that are always looked into and give no
    name, such as namespaces. ``wrappers`` are looked into as well and belong to the definition they hold,
    such as decorators and ``export``. ``is_lead`` tells what belongs to a definition right below it.
    ``gathers``: definitions of one name that follow each other are one, as the equations of Haskell are.
    """

    module: str
    definitions: Mapping[str, Recogniser]
    entry: str = "language"
    through: frozenset[str] = field(default_factory=frozenset)
    wrappers: frozenset[str] = field(default_factory=frozenset)
    is_lead: Callable[[Node], bool] = _is_comment
    gathers: bool = False

    def definition(self, node: Node) -> Definition | None:
        """Return what the node defines, if it defines something with a name."""
        recognise = self.definitions.get(node.type)
        return recognise(node) if recognise is not None else None


_CLASS = named(ChunkKind.CLASS)
_FUNCTION = named(ChunkKind.FUNCTION)


def _types(names: str) -> frozenset[str]:
    return frozenset(names.split())


def _kinds(*, classes: str = "", functions: str = "") -> dict[str, Recogniser]:
    """Return recognisers for node types that keep their name in the field ``name``."""
    return dict.fromkeys(classes.split(), _CLASS) | dict.fromkeys(functions.split(), _FUNCTION)


_C = _kinds(functions="preproc_function_def") | {
    "function_definition": definitions.c_function,
    "type_definition": definitions.c_typedef,
    "struct_specifier": with_body(_CLASS),
    "union_specifier": with_body(_CLASS),
    "enum_specifier": with_body(_CLASS),
}
_C_THROUGH = _types(
    "preproc_if preproc_ifdef preproc_else preproc_elif linkage_specification declaration_list"
)
_JS = _kinds(
    classes="class_declaration",
    functions="function_declaration generator_function_declaration method_definition",
) | {
    "variable_declarator": definitions.js_value("name"),
    "assignment_expression": definitions.js_assignment,
    "field_definition": definitions.js_value("property"),
    "pair": definitions.js_value("key"),
}
_JS_WRAPPERS = _types("export_statement lexical_declaration variable_declaration expression_statement")
_TS = (
    _JS
    | _kinds(
        classes="abstract_class_declaration interface_declaration enum_declaration type_alias_declaration",
        functions="function_signature",
    )
    | {"public_field_definition": definitions.js_value("name")}
)
_TS_THROUGH = _types("internal_module module statement_block")
_TS_WRAPPERS = _JS_WRAPPERS | {"ambient_declaration"}

GRAMMARS: Mapping[str, Grammar] = MappingProxyType(
    {
        "bash": Grammar("tree_sitter_bash", _kinds(functions="function_definition")),
        "c": Grammar("tree_sitter_c", _C, through=_C_THROUGH),
        "cpp": Grammar(
            "tree_sitter_cpp",
            _C | {"class_specifier": with_body(_CLASS)},
            through=_C_THROUGH | {"namespace_definition"},
            wrappers=_types("template_declaration"),
        ),
        "csharp": Grammar(
            "tree_sitter_c_sharp",
            _kinds(
                classes="class_declaration struct_declaration interface_declaration enum_declaration"
                " record_declaration",
                functions="method_declaration constructor_declaration property_declaration event_declaration"
                " delegate_declaration local_function_statement",
            )
            | {
                "destructor_declaration": called(ChunkKind.METHOD, "Finalize"),
                "indexer_declaration": called(ChunkKind.METHOD, "this"),
                "operator_declaration": definitions.csharp_operator,
                "conversion_operator_declaration": definitions.csharp_operator,
            },
            through=_types("namespace_declaration file_scoped_namespace_declaration declaration_list"),
        ),
        "elixir": Grammar(
            "tree_sitter_elixir",
            {"call": definitions.elixir_call},
            is_lead=definitions.is_elixir_lead,
            gathers=True,
        ),
        "go": Grammar(
            "tree_sitter_go",
            _kinds(classes="type_spec type_alias", functions="function_declaration")
            | {"method_declaration": definitions.go_method},
            wrappers=_types("type_declaration"),
        ),
        "haskell": Grammar(
            "tree_sitter_haskell",
            _kinds(classes="data_type newtype class type_synonym type_family data_family")
            | {
                "function": definitions.haskell_function,
                "bind": definitions.haskell_function,
                "signature": definitions.haskell_function,
                "instance": definitions.haskell_instance,
            },
            through=_types("imports declarations"),
            gathers=True,
        ),
        "java": Grammar(
            "tree_sitter_java",
            _kinds(
                classes="class_declaration interface_declaration enum_declaration record_declaration"
                " annotation_type_declaration",
                functions="method_declaration constructor_declaration compact_constructor_declaration",
            ),
        ),
        "javascript": Grammar("tree_sitter_javascript", _JS, wrappers=_JS_WRAPPERS),
        "kotlin": Grammar(
            "tree_sitter_kotlin",
            _kinds(classes="class_declaration object_declaration")
            | {
                "function_declaration": definitions.kotlin_function,
                "secondary_constructor": called(ChunkKind.METHOD, "constructor"),
            },
            through=_types("companion_object class_body"),
        ),
        "lua": Grammar(
            "tree_sitter_lua",
            {
                "function_declaration": definitions.lua_function,
                "assignment_statement": definitions.lua_assignment,
                "field": definitions.lua_field,
            },
            wrappers=_types("variable_declaration"),
        ),
        "php": Grammar(
            "tree_sitter_php",
            _kinds(
                classes="class_declaration interface_declaration trait_declaration enum_declaration",
                functions="function_definition method_declaration",
            ),
            entry="language_php",
            through=_types("namespace_definition compound_statement"),
        ),
        "python": Grammar(
            "tree_sitter_python",
            _kinds(classes="class_definition", functions="function_definition"),
            wrappers=_types("decorated_definition"),
        ),
        "ruby": Grammar(
            "tree_sitter_ruby",
            _kinds(classes="class module", functions="method singleton_method")
            | {"call": definitions.ruby_call},
            through=_types("singleton_class body_statement"),
        ),
        "rust": Grammar(
            "tree_sitter_rust",
            _kinds(
                classes="struct_item enum_item union_item trait_item",
                functions="function_item macro_definition",
            )
            | {"impl_item": definitions.rust_impl},
            through=_types("mod_item foreign_mod_item declaration_list"),
        ),
        "scala": Grammar(
            "tree_sitter_scala",
            _kinds(
                classes="class_definition object_definition trait_definition enum_definition package_object",
                functions="function_definition function_declaration given_definition",
            ),
            through=_types("extension_definition package_clause template_body"),
        ),
        "swift": Grammar(
            "tree_sitter_swift",
            _kinds(classes="class_declaration protocol_declaration", functions="function_declaration")
            | {
                "init_declaration": called(ChunkKind.METHOD, "init"),
                "deinit_declaration": called(ChunkKind.METHOD, "deinit"),
                "subscript_declaration": called(ChunkKind.METHOD, "subscript"),
                "property_declaration": definitions.swift_property,
            },
        ),
        "tsx": Grammar(
            "tree_sitter_typescript",
            _TS,
            entry="language_tsx",
            through=_TS_THROUGH,
            wrappers=_TS_WRAPPERS,
            gathers=True,
        ),
        "typescript": Grammar(
            "tree_sitter_typescript",
            _TS,
            entry="language_typescript",
            through=_TS_THROUGH,
            wrappers=_TS_WRAPPERS,
            gathers=True,
        ),
        "zig": Grammar(
            "tree_sitter_zig",
            _kinds(functions="function_declaration")
            | {"variable_declaration": definitions.zig_variable, "test_declaration": definitions.zig_test},
        ),
    }
)


@functools.cache
def load(language: str) -> Language:
    """Return the loaded grammar of a language in ``GRAMMARS``; up to 6 ms the first time."""
    grammar = GRAMMARS[language]
    return Language(getattr(importlib.import_module(grammar.module), grammar.entry)())


def parse(language: str, source: bytes) -> Node:
    """Return the root of the syntax tree; source with errors gives a tree with error nodes."""
    return Parser(load(language)).parse(source).root_node
