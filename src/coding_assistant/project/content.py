"""Tells source from what only looks like it: binary, minified and generated files.

Everything is judged by a file's name or by its bytes, never by where it lies. The limits are wide on
purpose: a file that is left out cannot be found, a file too many costs a little disk.
"""

import codecs
from pathlib import PurePosixPath

from coding_assistant.domain import SkipReason
from coding_assistant.project.notebooks import NOTEBOOK_SUFFIX

# Above this a file is data, a bundle or a concatenation: of Django's 2,800 Python files the longest has
# 375 KB. It also bounds what one file can cost the parser.
LARGEST_FILE_BYTES = 1 << 20

# The code of a notebook is small beside the pictures of its outputs, which are left out; what is left has the
# limit above. At this size it is told from them in half a second.
LARGEST_NOTEBOOK_BYTES = 16 << 20

# No one reads a line of 10,000 characters, and a chunk, being whole lines, could not be shorter.
LONGEST_LINE_CHARACTERS = 10_000
# Filled lines of hand-written code average 26 to 53 characters (Django), of minified code thousands.
HIGHEST_MEAN_LINE_CHARACTERS = 250
# A short text does no harm, whatever its lines look like: it is one chunk.
_SHORTEST_MINIFIED_CHARACTERS = 500
# Prose with a paragraph a line, and tables, have long lines by nature.
_LONG_LINED = frozenset({"markdown", "rst", "asciidoc", "text", "csv", "html", "xml", "json"})

# A generator says so in the head of its output, in a comment.
_HEAD_LINES = 20
_HEAD_CHARACTERS = 4_000
_COMMENT_OPENERS = ("#", "//", "/*", "*", "--", ";", "<!--", "%", '"""', "'''", "{-", "(*", "@generated")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_LOCK_FILES = _words(
    """
    bun.lock bun.lockb cargo.lock composer.lock deno.lock flake.lock gemfile.lock go.sum gradle.lockfile
    mix.lock npm-shrinkwrap.json package-lock.json package.resolved packages.lock.json pdm.lock
    pipfile.lock pixi.lock pnpm-lock.yaml podfile.lock poetry.lock pubspec.lock pylock.toml uv.lock
    yarn.lock
    """
)
_MINIFIED_SUFFIXES = (".min.js", ".min.mjs", ".min.cjs", ".min.css", ".map")
_GENERATED_SUFFIXES = (".pb.go", "_pb2.py", "_pb2_grpc.py", "_pb2.pyi", ".g.dart", ".designer.cs")

# Their bytes would tell as well, but every update would read them again: what is not in the index has no
# stamp to compare.
_BINARY_SUFFIXES = _words(
    """
    .7z .a .aac .avi .avif .bin .bmp .bz2 .class .dat .db .deb .dll .dmg .doc .docx .dylib .ear .eot
    .exe .flac .gguf .gif .gz .heic .ico .iso .jar .jpeg .jpg .lib .mkv .mo .mov .mp3 .mp4 .npy .npz .o
    .obj .odt .ogg .onnx .otf .parquet .pdf .pickle .pkl .png .ppt .pptx .psd .pt .pth .pyc .pyd .pyo
    .rar .rpm .safetensors .so .sqlite .sqlite3 .tar .tgz .tif .tiff .ttf .wasm .war .wav .webm .webp
    .whl .woff .woff2 .xls .xlsx .xz .zip .zst
    """
)


def reason_by_name(path: PurePosixPath) -> SkipReason | None:
    """Return why a file with this name is passed over unread, if it is."""
    name = path.name.lower()
    if name in _LOCK_FILES or name.endswith(_GENERATED_SUFFIXES):
        return SkipReason.GENERATED
    if name.endswith(_MINIFIED_SUFFIXES):
        return SkipReason.MINIFIED
    return SkipReason.BINARY if path.suffix.lower() in _BINARY_SUFFIXES else None


def largest_bytes(path: PurePosixPath) -> int:
    """Return the size up to which a file with this name is read."""
    return LARGEST_NOTEBOOK_BYTES if path.suffix == NOTEBOOK_SUFFIX else LARGEST_FILE_BYTES


def decode(data: bytes) -> str | SkipReason:
    """Return the text of UTF-8 without its byte order mark, or why it is none.

    No byte of a text is NUL. git looks for one in the first 8,000 bytes only; looking at all costs 20 µs
    for the largest file and spares everybody above the question.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return SkipReason.ENCODING
    if b"\0" in data:
        return SkipReason.BINARY
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return SkipReason.ENCODING


def reason_by_text(text: str, language: str | None) -> SkipReason | None:
    """Return why a text is passed over, if it is."""
    if len(text) > LARGEST_FILE_BYTES:
        return SkipReason.TOO_LARGE
    if _is_minified(text, language):
        return SkipReason.MINIFIED
    return SkipReason.GENERATED if _is_generated(text) else None


def _is_minified(text: str, language: str | None) -> bool:
    if len(text) < _SHORTEST_MINIFIED_CHARACTERS:
        return False
    lengths = [len(line) for line in text.split("\n") if line.strip()]
    if not lengths:
        return False
    has_long_lines = sum(lengths) / len(lengths) > HIGHEST_MEAN_LINE_CHARACTERS
    return max(lengths) > LONGEST_LINE_CHARACTERS or (has_long_lines and language not in _LONG_LINED)


def _is_generated(text: str) -> bool:
    """Whether the head's comments say so: ``@generated``, or "generated" together with "do not edit"."""
    head = text[:_HEAD_CHARACTERS].split("\n")[:_HEAD_LINES]
    comments = " ".join(line for line in head if line.lstrip().startswith(_COMMENT_OPENERS)).lower()
    if "generated" not in comments:
        return False
    return "@generated" in comments or "do not edit" in comments or "do not modify" in comments
