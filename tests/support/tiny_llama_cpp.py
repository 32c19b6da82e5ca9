"""A source distribution like llama-cpp-python's, with a llama.cpp in it that compiles in a second."""

import hashlib
import io
import random
import tarfile
from collections.abc import Mapping
from pathlib import Path

from coding_assistant.inference.native_build.fetching import Pinned, SourcePackage
from support.origin_servers import OriginServer

VERSION = "0.5.0-dev (build 7, commit abcdef012)"

_PYPROJECT = '[build-system]\nrequires = ["tiny-back-end"]\nbuild-backend = "tiny_back_end.build"\n'

_CMAKE_LISTS = """\
cmake_minimum_required(VERSION 3.14...3.28)
project(tiny CXX)
if (GGML_VULKAN)
    find_package(AbsentToolkit REQUIRED)
endif()
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_custom_command(OUTPUT late.cpp DEPENDS early COMMAND sh -c "cat GATE > late.cpp" VERBATIM)
add_library(early OBJECT early.cpp)
add_executable(llama-server main.cpp late.cpp)
"""

MAIN = f"""\
#include <cstdio>
const char * late();
int main() {{
    std::puts("version: {VERSION}");
    return late() == nullptr;
}}
"""

# Not compiled; pip counts the bytes of what is larger than half a megabyte.
_VOCABULARY = random.Random(1).randbytes(600_000)  # noqa: S311  -- no secret, only incompressible

LATE = 'const char * late() { return "late"; }\n'


def offer_source(server: OriginServer, *, gate: Path, main: str = MAIN) -> SourcePackage:
    """Offer the source on the index; a part of it is read from ``gate`` in the middle of compiling."""
    archive = source_archive(
        {
            "pyproject.toml": _PYPROJECT,
            "PKG-INFO": "Metadata-Version: 2.1\nName: tiny-llama\nVersion: 1.0\n",
            "vendor/llama.cpp/CMakeLists.txt": _CMAKE_LISTS.replace("GATE", str(gate)),
            "vendor/llama.cpp/early.cpp": "int early() { return 1; }\n",
            "vendor/llama.cpp/main.cpp": main,
            "vendor/llama.cpp/models/vocabulary.gguf": _VOCABULARY,
        }
    )
    name = "tiny_llama-1.0.tar.gz"
    server.files[f"/sources/{name}"] = archive
    server.files["/simple/tiny-llama/"] = f'<a href="/sources/{name}">{name}</a>'.encode()
    pinned = Pinned("tiny-llama", "1.0", (hashlib.sha256(archive).hexdigest(),))
    return SourcePackage(pinned, commit="abcdef0123456789", build=7, back_end="tiny_back_end.build")


def source_archive(files: Mapping[str, str | bytes]) -> bytes:
    """Pack files as a source distribution does."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, given in files.items():
            content = given.encode() if isinstance(given, str) else given
            member = tarfile.TarInfo(f"tiny_llama-1.0/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
