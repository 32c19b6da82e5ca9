"""Names the language of a file by its name, or by its first line where the name says nothing.

A language's name is what a chunk carries and what a Markdown fence takes. Whether there is a grammar
for it is ``grammars``' business.
"""

from pathlib import PurePosixPath
from types import MappingProxyType

# ``.h`` is called C: which of the two it is cannot be seen from outside, and the C++ grammar, which reads
# both, is used for it in any case. Dialects without a grammar of their own (Cython, Vue) keep their name.
_SUFFIXES_BY_LANGUAGE: tuple[tuple[str, str], ...] = (
    ("bash", ".sh .bash .zsh .ksh .bats"),
    ("c", ".c .h"),
    ("cpp", ".cc .cpp .cxx .c++ .hh .hpp .hxx .h++ .ipp .inl .tpp .cu .cuh .ino"),
    ("csharp", ".cs .csx"),
    ("elixir", ".ex .exs"),
    ("go", ".go"),
    ("haskell", ".hs"),
    ("java", ".java"),
    ("javascript", ".js .jsx .mjs .cjs"),
    ("kotlin", ".kt .kts"),
    ("lua", ".lua .rockspec"),
    ("php", ".php .phtml .php5"),
    ("python", ".py .pyi .pyw"),
    ("ruby", ".rb .rake .gemspec .ru .podspec"),
    ("rust", ".rs"),
    ("scala", ".scala .sc .sbt"),
    ("swift", ".swift"),
    ("tsx", ".tsx"),
    ("typescript", ".ts .mts .cts"),
    ("zig", ".zig .zon"),
    ("markdown", ".md .markdown .mdx .mkd"),
    ("rst", ".rst"),
    ("asciidoc", ".adoc .asciidoc"),
    ("text", ".txt"),
    ("assembly", ".s .asm"),
    ("batch", ".bat .cmd"),
    ("clojure", ".clj .cljs .cljc .edn"),
    ("cmake", ".cmake"),
    ("crystal", ".cr"),
    ("css", ".css"),
    ("csv", ".csv .tsv"),
    ("cython", ".pyx .pxd .pxi"),
    ("dart", ".dart"),
    ("dockerfile", ".dockerfile"),
    ("erlang", ".erl .hrl"),
    ("fish", ".fish"),
    ("fortran", ".f .f90 .f95 .f03"),
    ("fsharp", ".fs .fsi .fsx"),
    ("graphql", ".graphql .gql"),
    ("groovy", ".groovy .gradle"),
    ("hcl", ".tf .tfvars .hcl"),
    ("html", ".html .htm .xhtml .jinja .jinja2 .j2 .erb .ejs .hbs .mustache"),
    ("ini", ".ini .cfg .conf .properties .editorconfig"),
    ("json", ".json .jsonc .json5 .jsonl .ipynb .webmanifest"),
    ("julia", ".jl"),
    ("less", ".less"),
    ("lisp", ".lisp .el .scm .rkt"),
    ("make", ".mk .mak"),
    ("nim", ".nim"),
    ("nix", ".nix"),
    ("objective-c", ".m .mm"),
    ("ocaml", ".ml .mli"),
    ("pascal", ".pas .pp"),
    ("perl", ".pl .pm .t"),
    ("powershell", ".ps1 .psm1 .psd1"),
    ("proto", ".proto"),
    ("r", ".r"),
    ("sass", ".scss .sass"),
    ("solidity", ".sol"),
    ("sql", ".sql"),
    ("starlark", ".bzl .star"),
    ("svelte", ".svelte"),
    ("tcl", ".tcl"),
    ("thrift", ".thrift"),
    ("toml", ".toml"),
    ("verilog", ".v .sv"),
    ("vhdl", ".vhd .vhdl"),
    ("vim", ".vim"),
    ("vue", ".vue"),
    ("xml", ".xml .xsd .xsl .svg .plist .csproj .props .targets"),
    ("yaml", ".yaml .yml"),
)

_LANGUAGE_BY_SUFFIX = MappingProxyType(
    {suffix: language for language, suffixes in _SUFFIXES_BY_LANGUAGE for suffix in suffixes.split()}
)

_LANGUAGE_BY_NAME = MappingProxyType(
    {
        ".bashrc": "bash",
        ".bash_profile": "bash",
        ".profile": "bash",
        ".zshrc": "bash",
        "build": "starlark",
        "build.bazel": "starlark",
        "cmakelists.txt": "cmake",
        "containerfile": "dockerfile",
        "dockerfile": "dockerfile",
        "gemfile": "ruby",
        "gnumakefile": "make",
        "jenkinsfile": "groovy",
        "justfile": "make",
        "makefile": "make",
        "pkgbuild": "bash",
        "podfile": "ruby",
        "rakefile": "ruby",
        "vagrantfile": "ruby",
        "workspace": "starlark",
    }
)

_LANGUAGE_BY_INTERPRETER = MappingProxyType(
    {
        "ash": "bash",
        "bash": "bash",
        "dash": "bash",
        "deno": "typescript",
        "elixir": "elixir",
        "fish": "fish",
        "ksh": "bash",
        "lua": "lua",
        "luajit": "lua",
        "node": "javascript",
        "perl": "perl",
        "php": "php",
        "pypy": "python",
        "python": "python",
        "ruby": "ruby",
        "runghc": "haskell",
        "runhaskell": "haskell",
        "scala": "scala",
        "sh": "bash",
        "swift": "swift",
        "zsh": "bash",
    }
)


# Names that the kernels of notebooks give to languages, where they are not ours.
_OTHER_NAMES = MappingProxyType(
    {
        "c++": "cpp",
        "c#": "csharp",
        "f#": "fsharp",
        "ipython": "python",
        "pyspark": "python",
        "shell": "bash",
    }
)
_LANGUAGES = frozenset(language for language, _ in _SUFFIXES_BY_LANGUAGE)


def language_named(name: str) -> str | None:
    """Return the language that somebody calls so, whatever its case; None for one that is not known here."""
    name = name.lower()
    name = _OTHER_NAMES.get(name, name)
    return name if name in _LANGUAGES else None


def language_of(path: PurePosixPath) -> str | None:
    """Return the language that the file's name tells, whatever its case; None when it tells none."""
    name = path.name.lower()
    if name.startswith("dockerfile."):
        return "dockerfile"
    return _LANGUAGE_BY_NAME.get(name) or _LANGUAGE_BY_SUFFIX.get(PurePosixPath(name).suffix)


def language_of_shebang(text: str) -> str | None:
    """Return the language that a ``#!`` line at the top of the text names, if there is one."""
    if not text.startswith("#!"):
        return None
    words = [word for word in text.partition("\n")[0][2:].split() if not word.startswith("-")]
    if words and PurePosixPath(words[0]).name == "env":
        words = [word for word in words[1:] if "=" not in word]
    if not words:
        return None
    interpreter = PurePosixPath(words[0]).name.rstrip("0123456789.")
    return _LANGUAGE_BY_INTERPRETER.get(interpreter)
