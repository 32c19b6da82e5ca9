from pathlib import Path

from coding_assistant.inference.processor import Processor, this_processor

X86 = """\
processor\t: 0
model name\t: Some Processor 9
flags\t\t: fpu hypervisor smep sme avx2 fma avx512f avx512_vnni rtm

processor\t: 1
model name\t: Another
flags\t\t: avx2
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm cpuid\n"


def processor_of(text: str, folder: Path) -> Processor:
    (folder / "proc").mkdir()
    (folder / "proc/cpuinfo").write_text(text)
    return this_processor(folder)


def test_it_names_the_processor_and_what_compilers_make_use_of(tmp_path: Path) -> None:
    assert processor_of(X86, tmp_path) == Processor(
        "Some Processor 9", ("avx2", "avx512_vnni", "avx512f", "fma")
    )


def test_it_reads_arms_features_too(tmp_path: Path) -> None:
    assert processor_of(ARM, tmp_path).features == ("asimd", "asimddp", "i8mm")


def test_where_nothing_tells_it_has_a_name_and_no_features(tmp_path: Path) -> None:
    processor = this_processor(tmp_path)

    assert processor.name
    assert processor.features == ()


def test_it_tells_what_it_lacks_of_what_a_build_needs() -> None:
    processor = Processor("old", ("avx2", "fma"))

    assert processor.lacks(("avx2", "avx512f")) == ("avx512f",)
    assert processor.lacks(("avx2",)) == ()
    assert Processor("unknown", ()).lacks(("avx512f",)) == ()


def test_it_tells_in_llama_cpps_words_what_an_engine_leaves_unused() -> None:
    processor = Processor("new", ("avx2", "avx512f", "avx512_vnni", "fma"))

    assert processor.left_unused(("AVX2", "FMA")) == ("AVX512", "AVX512_VNNI")
    assert processor.left_unused(("AVX2", "FMA", "AVX512", "AVX512_VNNI")) == ()
