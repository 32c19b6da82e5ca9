"""What is fetched to build an engine: each package in one version, with the hashes of its files.

A new version of llama.cpp is a change of this file alone, with `commit` and `build` out of the package's
change log, and of the options in `build` that it has renamed.
"""

from typing import Final

from coding_assistant.inference.native_build.fetching import Pinned, SourcePackage

LLAMA_CPP: Final = SourcePackage(
    Pinned(
        "llama-cpp-python",
        "0.3.36",
        ("832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",),
    ),
    commit="0c1e57098bba43ac29e6e3b677cdceebdd22334f",
    build=11312,
    back_end="scikit_build_core.build",
)

# For systems without them: Linux on x86 and on ARM, both with glibc; Linux on x86 with musl; macOS.
TOOLS: Final = (
    Pinned(
        "cmake",
        "4.4.3",
        (
            "bae3c4954623ec4d62e62c70443f0da7988b733111c2871fcc6a31ead5137e20",
            "520ff2ba3afb7a1e34a0ab222c0f4e89ad334dc7462814886e099bdf6ba8cbb3",
            "ad3b88073f215841ef3eb45e7c7bab4ee3e7f33b7001e1d1b5454ed3f4eb9c9c",
            "6c95b37116bb5c714656e4f76931ebdcb739209a1aee91cf51408ccfe137694e",
        ),
    ),
    Pinned(
        "ninja",
        "1.13.2",
        (
            "65a24341b5ac09fcadcc37082660be40a94174e51a937fabf6e2cae26225fa2c",
            "d775a5e43e9088f507a6250d57fcf5678eb31268c545feb5064ffeee33735622",
            "915bd482c4be41c75120fd67a22e0bb3f0fbb3bbc5f95b89787deadd59e27ef2",
            "fd82e26c0706ad4ab88e5fdd26f3fab0a987a90f810160f6c322e752c6af298b",
        ),
    ),
)
