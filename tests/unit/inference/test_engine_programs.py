import os
from pathlib import Path

import pytest

from coding_assistant.inference import engine_programs
from coding_assistant.inference.engine_programs import (
    BUNDLED,
    BUNDLED_PROGRAM,
    NAMED,
    NATIVE,
    PATH,
    Choice,
    EngineProgram,
    ProgramSearch,
)
from coding_assistant.inference.gpu import Device

TELLS = """
case "$1" in
  --version) echo 'version: 0.0.1 (build 11549, commit abc1234)' >&2;;
  --list-devices) printf 'Available devices:\\n  CUDA0: NVIDIA X (100 MiB, 50 MiB free)\\n';;
  *) echo "0.00.1 I system_info: n_threads = 2 | CPU : AVX2 = 1 | AVX512 = 0 | REPACK = 1 | " >&2; exit 1;;
esac
"""

GOOD = EngineProgram(NATIVE, Path("/engines/native/llama-server"), "b1 (abc)")
BAD = EngineProgram(NATIVE, Path("/engines/native/llama-server"), "", fault="It dies at once (signal 4).")
NOT_THERE = EngineProgram(NAMED, Path("/opt/llama-server"), "", fault="There is no such file.")
ON_PATH = EngineProgram(PATH, Path("/usr/bin/llama-server"), "b1 (abc)")
BY_NAME = EngineProgram(NAMED, Path("/opt/llama-server"), "b1 (abc)")


def program(folder: Path, script: str = TELLS, *, mode: int = 0o755) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "llama-server"
    file.write_text(f"#!/bin/sh\n{script}", encoding="utf-8")
    file.chmod(mode)
    return file


def native(engines: Path, facts: str) -> Choice:
    file = program(engines / "native")
    (file.parent / "build.json").write_text(facts, encoding="utf-8")
    return ProgramSearch("auto", engines).choose()


def test_a_program_is_what_it_says_itself(tmp_path: Path) -> None:
    file = program(tmp_path)
    named, bundled = engine_programs.find_programs(tmp_path / "engines", str(file), "")

    assert named == EngineProgram(
        NAMED,
        file,
        "b11549 (abc1234)",
        features=("AVX2", "REPACK"),
        devices=(Device("CUDA0", 100 * 2**20, 50 * 2**20),),
    )
    assert (bundled.kind, bundled.file, bundled.fault) == (BUNDLED, None, "")
    assert bundled.version.startswith("b")
    assert "REPACK" in bundled.features


def test_each_kind_of_program_is_found_where_it_lies(tmp_path: Path) -> None:
    kinds = (NATIVE, NAMED, PATH)
    files = [program(tmp_path / "engines" / "native"), program(tmp_path / "opt"), program(tmp_path / "bin")]
    found = engine_programs.find_programs(tmp_path / "engines", str(files[1]), str(tmp_path / "bin"))

    assert [(each.kind, each.file) for each in found[:-1]] == list(zip(kinds, files, strict=True))
    assert found[-1].kind == BUNDLED


@pytest.mark.parametrize("entry", ["", ".", "bin"])
def test_the_working_directory_is_no_place_for_programs(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "touch $0.was-run")
    program(tmp_path / "bin", "touch $0.was-run")
    monkeypatch.chdir(tmp_path)

    assert ProgramSearch(PATH, search_path=entry).choose().program == BUNDLED_PROGRAM
    assert not list(tmp_path.rglob("*.was-run"))


def test_a_program_is_asked_outside_of_the_working_directory_and_without_the_users_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = program(tmp_path / "opt", 'echo "version: 1 ($(basename $PWD)${LLAMA_ARG_HOST})"')
    monkeypatch.setenv("LLAMA_ARG_HOST", "everywhere")
    monkeypatch.chdir(tmp_path)

    assert ProgramSearch(str(file)).choose().program.version == "b1 (opt)"


@pytest.mark.parametrize(
    ("script", "mode", "says"),
    [
        ("kill -ILL $$", 0o755, "dies at once (signal 4)"),
        ("exit 3", 0o755, "exit code 3"),
        ("echo hello", 0o755, "does not tell which llama.cpp"),
        (TELLS, 0o644, "cannot be run: Permission denied"),
        (
            "echo 'x: error while loading shared libraries: libcudart.so.12: cannot open' >&2; exit 127",
            0o755,
            "library is missing: libcudart.so.12",
        ),
    ],
)
def test_a_program_that_does_not_work_is_replaced_and_the_user_told_why(
    script: str, mode: int, says: str, tmp_path: Path
) -> None:
    if mode != 0o755 and os.geteuid() == 0 and os.access(program(tmp_path, script, mode=mode), os.X_OK):
        pytest.skip("this user may run anything")
    choice = ProgramSearch(str(program(tmp_path, script, mode=mode))).choose()

    assert choice.program == BUNDLED_PROGRAM
    assert "llama-server is not used" in choice.warning
    assert says in choice.warning


def test_a_program_that_was_named_and_is_not_there_is_told(tmp_path: Path) -> None:
    choice = ProgramSearch(str(tmp_path / "absent")).choose()

    assert choice.program == BUNDLED_PROGRAM
    assert "absent is not used: There is no such file." in choice.warning


@pytest.mark.parametrize("facts", ["", "not json", "[]", "{}", '{"cpu_features": []}', '{"compiler": "gcc"}'])
def test_a_build_that_says_nothing_of_its_processor_is_tried(facts: str, tmp_path: Path) -> None:
    assert native(tmp_path, facts).program.kind == NATIVE


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux tells what a processor has")
def test_a_build_for_another_processor_is_not_run(tmp_path: Path) -> None:
    choice = native(tmp_path, '{"cpu_features": ["avx9000", "sse2"]}')

    assert choice.program == BUNDLED_PROGRAM
    assert "avx9000, which this one lacks" in choice.warning
    assert "engine build" in choice.warning


def test_without_a_build_the_bundled_program_runs_and_nobody_is_bothered(tmp_path: Path) -> None:
    choice = ProgramSearch("auto", tmp_path, "").choose()

    assert (choice.program, choice.warning) == (BUNDLED_PROGRAM, "")
    assert "engine build" in choice.reason


def test_a_strangers_program_is_not_even_run_unasked(tmp_path: Path) -> None:
    file = program(tmp_path, "touch $0.was-run")
    for wanted in ("auto", "native", "bundled"):
        ProgramSearch(wanted, tmp_path / "engines", str(tmp_path)).choose()

    assert not file.with_name("llama-server.was-run").exists()


@pytest.mark.parametrize(
    ("wanted", "programs", "chosen"),
    [
        ("auto", [GOOD, ON_PATH], GOOD),
        ("auto", [ON_PATH, BY_NAME], BUNDLED_PROGRAM),
        ("native", [GOOD, ON_PATH], GOOD),
        ("path", [GOOD, ON_PATH], ON_PATH),
        ("bundled", [GOOD, ON_PATH], BUNDLED_PROGRAM),
        ("/opt/llama-server", [GOOD, BY_NAME, ON_PATH], BY_NAME),
    ],
)
def test_the_setting_chooses_among_what_there_is(
    wanted: str, programs: list[EngineProgram], chosen: EngineProgram
) -> None:
    choice = engine_programs.choose_program([*programs, BUNDLED_PROGRAM], wanted)

    assert (choice.program, choice.warning) == (chosen, "")
    assert choice.reason


@pytest.mark.parametrize(
    ("wanted", "programs", "says"),
    [
        ("auto", [BAD], "The native engine is not used: It dies at once"),
        ("native", [], "asks for native, but nothing was built here"),
        ("path", [], "no llama-server on the search path"),
        ("/opt/llama-server", [NOT_THERE, BAD], "There is no such file. The bundled engine runs instead"),
    ],
)
def test_what_was_wanted_and_cannot_be_had_is_told(
    wanted: str, programs: list[EngineProgram], says: str
) -> None:
    choice = engine_programs.choose_program([*programs, BUNDLED_PROGRAM], wanted)

    assert choice.program == BUNDLED_PROGRAM
    assert says in choice.warning
    assert choice.advice


@pytest.mark.parametrize(("wanted", "programs"), [("path", [GOOD]), ("/opt/llama-server", [NOT_THERE, GOOD])])
def test_the_native_program_stands_in_before_the_bundled_one(
    wanted: str, programs: list[EngineProgram]
) -> None:
    choice = engine_programs.choose_program([*programs, BUNDLED_PROGRAM], wanted)

    assert choice.program == GOOD
    assert "The native engine runs instead." in choice.warning


def test_a_search_finds_what_stands_in_for_a_program_that_is_not_there(tmp_path: Path) -> None:
    program(tmp_path / "native")

    assert ProgramSearch("/absent/llama-server", tmp_path).choose().program.kind == NATIVE
    assert ProgramSearch("path", tmp_path, "").choose().program.kind == NATIVE
    assert ProgramSearch("bundled", tmp_path, "").choose().program.kind == BUNDLED


def test_of_programs_that_fail_to_load_a_model_each_has_the_next(tmp_path: Path) -> None:
    program(tmp_path / "native")
    search = ProgramSearch("/opt/llama-server", tmp_path)

    assert search.stand_in_for(BY_NAME).kind == NATIVE
    assert search.stand_in_for(GOOD) == BUNDLED_PROGRAM


def test_the_advice_for_a_broken_native_program_names_the_build_and_the_setting() -> None:
    choice = engine_programs.choose_program([BAD, BUNDLED_PROGRAM], "auto")

    assert "coding-assistant engine build" in choice.advice
    assert 'llama_server = "bundled"' in choice.advice


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("version: 0.0.1 (build 11549, commit abc1234)\nbuilt with GNU 12", "b11549 (abc1234)"),
        ("ggml_cuda_init: found 1 CUDA devices\nversion: 5234 (0a1b2c3)\n", "b5234 (0a1b2c3)"),
        ("version: 0 (unknown)", "b0 (unknown)"),
        ("ls (GNU coreutils) 9.1", ""),
        ("", ""),
    ],
)
def test_the_version_is_read_in_old_and_new_words(text: str, version: str) -> None:
    assert engine_programs.parse_version(text) == version


def test_the_features_of_every_backend_are_read() -> None:
    text = " CUDA : ARCHS = 890 | USE_GRAPHS = 1 | CPU : SSE3 = 1 | AVX512 = 0 | REPACK = 1 | "

    assert engine_programs.parse_features(text) == ("CUDA", "SSE3", "REPACK")
    assert engine_programs.parse_features("") == ()
