"""What compilers and linkers say, as captured, beside what it is taken for."""

import pytest

from automcu.deploy.toolchain.compiler import Compiler, complaint
from automcu.deploy.toolchain.toolchain import ImageTooLarge
from automcu.errors import CandidateFailure, InfraFailure

COMPILER = Compiler("gcc 12.2.1", ("gcc",), (), (), "install it again", 20.0)

LLD_OVERFLOW = """\
ld.lld: error: section '.rodata' will not fit in region 'flash': overflowed by 70812 bytes
ld.lld: error: section '.data' will not fit in region 'flash': overflowed by 70856 bytes
ld.lld: error: section '.bss' will not fit in region 'sram': overflowed by 3756 bytes
"""
GNU_OVERFLOW = """\
/usr/lib/gcc/arm-none-eabi/12.2.1/../../../arm-none-eabi/bin/ld: image.elf section `.bss' will not fit in region `sram'
/usr/lib/gcc/arm-none-eabi/12.2.1/../../../arm-none-eabi/bin/ld: region `sram' overflowed by 239624 bytes
/usr/lib/gcc/arm-none-eabi/12.2.1/../../../arm-none-eabi/bin/ld: region `flash' overflowed by 7 bytes
collect2: error: ld returned 1 exit status
"""
GNU_UNDEFINED = """\
/usr/lib/gcc/arm-none-eabi/12.2.1/../../../arm-none-eabi/bin/ld: warning: x has a LOAD segment with RWX permissions
/usr/lib/gcc/arm-none-eabi/12.2.1/../../../arm-none-eabi/bin/ld: main.o: in function `reset':
main.c:(.text.reset+0x1c): undefined reference to `gone'
collect2: error: ld returned 1 exit status
"""


@pytest.mark.parametrize(
    ("output", "region", "over_bytes"),
    [
        (LLD_OVERFLOW, "flash", 70_856),
        (GNU_OVERFLOW, "sram", 239_624),
        ("ld: region `sram' overflowed by 1 byte\n", "sram", 1),
    ],
)
def test_overflows(output: str, region: str, over_bytes: int) -> None:
    error = complaint(COMPILER, 1, output)
    assert isinstance(error, ImageTooLarge)
    assert (error.region, error.over_bytes) == (region, over_bytes)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (GNU_UNDEFINED, "main.c:(.text.reset+0x1c): undefined reference to `gone'"),
        ("ld.lld: error: undefined symbol: gone\n>>> referenced by main.c\n", "ld.lld: error: undefined symbol: gone"),
        (
            "In file included from a.c:31:\n./b.h:10:10: fatal error: 'c.h' file not found\n",
            "./b.h:10:10: fatal error: 'c.h'",
        ),
        ("a.c:1:2: warning: w\nb.c:3:4: error: e\nc.c:1:1: error: f\n", "b.c:3:4: error: e"),
        (
            "/usr/bin/ld:link.ld:3: syntax error\ncollect2: error: ld returned 1 exit status\n",
            "link.ld:3: syntax error",
        ),
    ],
)
def test_complaints_about_the_sources(output: str, said: str) -> None:
    error = complaint(COMPILER, 1, output)
    assert isinstance(error, CandidateFailure) and said in str(error)


@pytest.mark.parametrize(
    "output",
    [
        "",
        "error: unable to create compilation: NoSpaceLeft\n",
        "ld.lld: error: cannot open output file image.elf: No space left on device\n",
        "ld.lld: error: failed to write output 'image.elf': No space left on device\n",
        "ld.lld: error: /home/u/.cache/automcu/zig/o/a2f9/libcompiler_rt.a: unknown file type\n",
        "/usr/bin/ld: cannot find -lgcc: No such file or directory\ncollect2: error: ld returned 1 exit status\n",
        "/usr/bin/ld: final link failed: No space left on device\ncollect2: error: ld returned 1 exit status\n",
        "gcc: fatal error: cannot execute 'cc1': execvp: No such file or directory\n",
        "main.c:3:1: internal compiler error: Segmentation fault\n",
    ],
)
def test_complaints_about_the_machine(output: str) -> None:
    assert isinstance(complaint(COMPILER, 1, output), InfraFailure)


def test_a_program_that_was_killed_says_nothing_about_the_sources() -> None:
    assert isinstance(complaint(COMPILER, -9, "b.c:3:4: error: e\n"), InfraFailure)
