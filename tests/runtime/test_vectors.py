"""The kernels in vector instructions: for which processors they compile, and that those of this one are exact."""

import re
from types import SimpleNamespace
from typing import Any

import llvmlite.binding as llvm
import pytest

from tests.runtime.emulated import PROCESSORS, Native, Processor, check, compiling_for, machine_of, module
from volcomp.runtime import vectors
from volcomp.runtime.vectors import AVX2, AVX512, AVX512_VNNI, AVX_VNNI, DOTPROD, NONE

# Features that a processor must have all of. The two encodings of one instruction are not told apart here: LLVM takes
# the one that the processor has.
NEEDS = {
    NONE: [[]],
    AVX2: [["avx2"]],
    AVX512: [["avx512bw", "avx512vl"]],
    AVX512_VNNI: [["avx512bw", "avx512vl", "avx512vnni"]],
    AVX_VNNI: [["avxvnni"], ["avx512vnni", "avx512vl"]],
}


def machine_or_skip(processor: Processor) -> Any:
    try:
        return machine_of(processor)
    except RuntimeError as error:
        pytest.skip(f"this LLVM does not compile for {processor.triple}: {error}")


@pytest.mark.parametrize("name", PROCESSORS)
def test_each_processor_gets_its_instructions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = PROCESSORS[name]
    machine_or_skip(processor)
    codegen = SimpleNamespace(magic_tuple=lambda: (processor.triple, processor.name, processor.features))
    target = SimpleNamespace(target_context=SimpleNamespace(codegen=lambda: codegen))
    monkeypatch.setattr(vectors, "cpu_target", target)
    assert vectors.instructions.__wrapped__() == processor.instructions


@pytest.mark.parametrize("name", PROCESSORS)
def test_kernels_compile_to_the_instructions_of_each_processor(name: str) -> None:
    processor = PROCESSORS[name]
    machine = machine_or_skip(processor)
    with compiling_for(processor.instructions):
        parsed, names = module(machine, processor.triple)
    assert ("multiply" in names) == (processor.instructions != NONE)
    text = machine.emit_assembly(parsed)
    assert re.search(processor.holds, text)
    assert processor.lacks is None or not re.search(processor.lacks, text)


@pytest.mark.parametrize("instructions", [*NEEDS, DOTPROD])
def test_kernels_give_the_numbers_of_numpy(instructions: str) -> None:
    """On this processor, in every set of instructions that it has."""
    here = llvm.get_host_cpu_features()
    arm = vectors.instructions() == DOTPROD
    has = arm if instructions == DOTPROD else any(all(map(here.get, needed)) for needed in NEEDS[instructions])
    if not has:
        pytest.skip(f"this processor lacks {instructions}")
    check(Native(instructions), instructions)
