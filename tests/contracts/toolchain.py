"""What every toolchain for Cortex-M must do with a project: real compilers, real links; the code runs on Unicorn."""

import pickle
import struct
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import unicorn
from unicorn.arm_const import UC_ARM_REG_LR, UC_ARM_REG_SP

from automcu.deploy.boards.emulator import CORES
from automcu.deploy.toolchain.objects import ObjectCache
from automcu.deploy.toolchain.toolchain import Image, ImageTooLarge, Project, Toolchain
from automcu.errors import CandidateFailure, InfraFailure

FLASH, RAM = 0x0800_0000, 0x2000_0000
TABLE_BYTES, ARENA_BYTES, STACK_BYTES = 1_000, 3_000, 512
MAIN_C = f"""
#include <stdint.h>
#include "table.h"
extern uint32_t stack_top[];
void reset(void);
__attribute__((section(".vectors"), used)) static const void *const vectors[] = {{stack_top, (void *)reset}};
__attribute__((section(".arena"))) static uint8_t arena[{ARENA_BYTES}];
uint32_t initialised = 0x12345678;
uint32_t zero;
void never_called(void) {{ zero = 3; }}
void reset(void)
{{
    for (uint32_t i = 0; i < TABLE_BYTES; i++) {{
        arena[i] = (uint8_t)(arena[i] + table[i] + initialised + zero);
    }}
    for (;;) {{
    }}
}}
"""
TABLE_H = f"#define TABLE_BYTES {TABLE_BYTES}\nextern const unsigned char table[TABLE_BYTES];\n"
TABLE_C = '#include "table.h"\nconst unsigned char table[TABLE_BYTES] = {1, 2, 3, 200};\n'


def link_script(flash_bytes: int = 65_536, ram_bytes: int = 16_384, ccm_bytes: int = 4_096) -> str:
    return f"""ENTRY(reset)
MEMORY
{{
  flash (rx) : ORIGIN = {FLASH:#x}, LENGTH = {flash_bytes}
  sram (rw) : ORIGIN = {RAM:#x}, LENGTH = {ram_bytes}
  ccm (rw) : ORIGIN = 0x10000000, LENGTH = {ccm_bytes}
}}
SECTIONS
{{
  .vectors : {{ KEEP(*(.vectors)) }} > flash
  .text : {{ *(.text .text.*) }} > flash
  .rodata : {{ *(.rodata .rodata.*) }} > flash
  .data : {{ data_start = .; *(.data .data.*) }} > sram AT> flash
  data_load = LOADADDR(.data);
  .bss (NOLOAD) : {{ *(.bss .bss.*) *(COMMON) }} > sram
  .stack (NOLOAD) : {{ . = ALIGN(8); . = . + {STACK_BYTES}; stack_top = .; }} > ccm
  .arena (NOLOAD) : {{ *(.arena) }} > sram
  /DISCARD/ : {{ *(.ARM.exidx*) *(.ARM.extab*) *(.comment) }}
}}
"""


def project(core: str = "cortex-m4f", **sources: str) -> Project:
    """A project of this suite; `sources` by name, with `__` for the dot, replace or join its own."""
    own = {"main.c": MAIN_C, "table.c": TABLE_C, "table.h": TABLE_H, "link.ld": link_script()}
    return Project({**own, **{name.replace("__", "."): text for name, text in sources.items()}}, core)


ARITHMETIC_C = """
#include <stdint.h>
#include <string.h>
int64_t multiply(int32_t a, int32_t b) { return (int64_t)a * b; }
uint64_t divide(uint64_t a, uint64_t b) { return a / b; }
int64_t remainder_of(int64_t a, int64_t b) { return a % b; }
int32_t divide_32(int32_t a, int32_t b) { return a / b; }
/* Bits in integer registers, so that the caller needs no floating-point calling convention. */
static float as_float(uint32_t bits) { float value; memcpy(&value, &bits, 4); return value; }
static uint32_t as_bits(float value) { uint32_t bits; memcpy(&bits, &value, 4); return bits; }
uint32_t multiply_add(uint32_t a, uint32_t b, uint32_t c) { return as_bits(as_float(a) * as_float(b) + as_float(c)); }
uint32_t quotient(uint32_t a, uint32_t b) { return as_bits(as_float(a) / as_float(b)); }
int32_t truncated(uint32_t a) { return (int32_t)as_float(a); }
uint32_t as_single(int32_t a) { return as_bits((float)a); }
int32_t wrapped(int32_t a) { return a + 1 > a; }
static void *const used[] = {(void *)multiply, (void *)divide, (void *)remainder_of, (void *)divide_32,
    (void *)multiply_add, (void *)quotient, (void *)truncated, (void *)as_single, (void *)wrapped};
extern uint32_t stack_top[];
void reset(void) { for (;;) { } }
__attribute__((section(".vectors"), used)) static const void *const vectors[] = {stack_top, (void *)reset, used};
"""


class Core:
    """A core with the image in its memory, of which functions are called."""

    def __init__(self, image: Image, core: str) -> None:
        self._emulator = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
        self._emulator.ctl_set_cpu_model(CORES[core])
        for address, size in ((FLASH, 65_536), (RAM, 16_384), (0x1000_0000, 4_096), (0xE000_E000, 4_096)):
            self._emulator.mem_map(address, size)
        self._emulator.mem_write(image.load_address, image.binary)
        self._emulator.mem_write(0xE000_ED88, struct.pack("<I", 0xF << 20))  # the FPU on
        self._image = image

    def call(self, name: str, *words: int) -> tuple[int, int]:
        """r0 and r1 after a call with the `words` in r0 to r3."""
        stop = FLASH + 65_534
        for register, word in enumerate(words):
            self._emulator.reg_write(unicorn.arm_const.UC_ARM_REG_R0 + register, word & 0xFFFF_FFFF)
        self._emulator.reg_write(UC_ARM_REG_SP, self._image.symbols["stack_top"])
        self._emulator.reg_write(UC_ARM_REG_LR, stop | 1)
        self._emulator.emu_start(self._image.symbols[name] | 1, stop, count=100_000)
        low, high = (self._emulator.reg_read(unicorn.arm_const.UC_ARM_REG_R0 + register) for register in (0, 1))
        return low, high


def bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


class ToolchainContract:
    """Inherit, and give `make`, which makes the toolchain."""

    @staticmethod
    def make(objects: ObjectCache | None = None) -> Toolchain:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def toolchain(cls) -> Toolchain:
        return cls.make()

    @pytest.fixture(scope="class")
    @classmethod
    def image(cls, toolchain: Toolchain) -> Image:
        return toolchain.build(project())

    def test_sizes_are_those_of_the_sections(self, image: Image, toolchain: Toolchain) -> None:
        assert image.constant_bytes == TABLE_BYTES
        assert image.ram_bytes == ARENA_BYTES + STACK_BYTES + 4 + 4
        assert image.flash_bytes == len(image.binary) > TABLE_BYTES + 4 + 8
        assert toolchain.version in image.toolchain and toolchain.version

    def test_the_binary_is_what_lies_in_flash(self, image: Image) -> None:
        assert image.load_address == FLASH
        stack, reset = struct.unpack_from("<II", image.binary)
        assert (stack, reset) == (image.symbols["stack_top"], image.symbols["reset"])
        assert image.binary[image.symbols["table"] - FLASH :][:TABLE_BYTES] == bytes([1, 2, 3, 200]) + bytes(996)
        initial = image.binary[image.symbols["data_load"] - FLASH :]
        assert initial == struct.pack("<I", 0x12345678)
        assert image.symbols["initialised"] == image.symbols["data_start"] == RAM

    def test_what_is_never_used_is_dropped(self, image: Image) -> None:
        assert "never_called" not in image.symbols and "zero" in image.symbols

    def test_the_elf_has_its_entry_and_no_debug_information(self, image: Image) -> None:
        assert struct.unpack_from("<I", image.elf, 24)[0] == image.symbols["reset"]
        assert b".debug" not in image.elf

    def test_the_same_project_gives_the_same_bytes(self, toolchain: Toolchain) -> None:
        """Compiled anew, and from objects that an earlier run may have kept."""
        said = project(main__c=MAIN_C + "const char *volatile where = __FILE__;\n")
        one, other = self.make(ObjectCache(None)).build(said), toolchain.build(said)
        assert one.elf == other.elf and one.binary == other.binary
        assert b"automcu-" not in one.elf and b"site-packages" not in one.elf  # folders of this machine
        assert b"main.c\0" in one.elf

    def test_a_changed_header_is_seen(self, toolchain: Toolchain) -> None:
        larger = TABLE_H.replace(str(TABLE_BYTES), str(TABLE_BYTES + 8))
        assert toolchain.build(project(table__h=larger)).constant_bytes == TABLE_BYTES + 8
        assert toolchain.build(project()).constant_bytes == TABLE_BYTES

    def test_flash_overflows_to_the_byte(self, toolchain: Toolchain, image: Image) -> None:
        fits = project(link__ld=link_script(flash_bytes=image.flash_bytes))
        assert toolchain.build(fits).binary == image.binary
        for small in (image.flash_bytes - 1, 8):
            with pytest.raises(ImageTooLarge) as caught:
                toolchain.build(project(link__ld=link_script(flash_bytes=small)))
            assert (caught.value.region, caught.value.over_bytes) == ("flash", image.flash_bytes - small)

    def test_ram_overflows_to_the_byte(self, toolchain: Toolchain) -> None:
        """An arena that fills its region links, one that is a byte larger does not."""
        room = 4_099

        def build(arena_bytes: int) -> Image:
            larger = MAIN_C.replace(f"arena[{ARENA_BYTES}]", f"arena[{arena_bytes}]")
            return toolchain.build(project(main__c=larger, link__ld=link_script(ram_bytes=room)))

        assert build(room - 8).ram_bytes == room + STACK_BYTES
        with pytest.raises(ImageTooLarge) as caught:
            build(room - 7)
        assert (caught.value.region, caught.value.over_bytes) == ("sram", 1)

    def test_of_several_overflows_the_largest_is_told(self, toolchain: Toolchain) -> None:
        with pytest.raises(ImageTooLarge) as caught:
            toolchain.build(project(link__ld=link_script(flash_bytes=900, ram_bytes=100, ccm_bytes=STACK_BYTES - 1)))
        assert (caught.value.region, caught.value.over_bytes) == ("sram", ARENA_BYTES + 8 - 100)
        assert pickle.loads(pickle.dumps(caught.value)).over_bytes == caught.value.over_bytes

    @pytest.mark.parametrize(
        ("broken", "said"),
        [
            ("int main(void) { return unknown_name; }", r"main\.c:1:\d+.*unknown_name"),
            ('#include "absent.h"\n', r"main\.c:1:\d+.*absent\.h"),
            ("\n#error no such kernel\n", r"main\.c:2:\d+.*no such kernel"),
            (
                MAIN_C.replace("{\n    for (uint32_t", "{\n    extern void gone(void); gone();\n    for (uint32_t"),
                "gone",
            ),
            (MAIN_C + "const unsigned char table[] = {1};\nconst unsigned char *volatile t = table;", "table"),
        ],
        ids=["name", "header", "error", "undefined", "twice"],
    )
    def test_a_broken_source_is_the_candidates_failure(self, toolchain: Toolchain, broken: str, said: str) -> None:
        with pytest.raises(CandidateFailure, match=said) as caught:
            toolchain.build(project(main__c=broken))
        assert not isinstance(caught.value, ImageTooLarge)
        assert "\n" not in str(caught.value) and "; report it" in str(caught.value)

    def test_a_failed_assertion_of_the_script_is_told(self, toolchain: Toolchain) -> None:
        script = link_script() + 'ASSERT(SIZEOF(.data) <= 3, "the data is more than its share")\n'
        with pytest.raises(CandidateFailure, match="the data is more than its share"):
            toolchain.build(project(link__ld=script))

    @pytest.mark.parametrize(
        "name",
        ["../main.c", "/tmp/x.c", "-o.c", "@file.c", "a/b.c", "x.S", "x.c\n", ".c", "é.c", "", "link.ld.ld", "a b.c"],
    )
    def test_names_that_are_not_plain_are_refused(self, toolchain: Toolchain, name: str) -> None:
        with pytest.raises(CandidateFailure, match="plain name"):
            toolchain.build(replace(project(), sources={**project().sources, name: ""}))

    def test_an_incomplete_project_is_refused(self, toolchain: Toolchain) -> None:
        with pytest.raises(CandidateFailure, match=r"cortex-a9.*cortex-m4f"):
            toolchain.build(project("cortex-a9"))
        with pytest.raises(CandidateFailure, match=r"link\.ld"):
            toolchain.build(Project({"main.c": MAIN_C}, "cortex-m4f"))
        with pytest.raises(CandidateFailure, match=r"no \.c file"):
            toolchain.build(Project({"link.ld": link_script()}, "cortex-m4f"))

    def test_it_travels_between_processes(self, toolchain: Toolchain, image: Image) -> None:
        assert pickle.loads(pickle.dumps(toolchain)).build(project()).elf == image.elf

    def test_arithmetic_of_a_core_with_everything(self, toolchain: Toolchain) -> None:
        self._arithmetic(toolchain, "cortex-m4f")

    def test_arithmetic_of_a_core_with_nothing(self, toolchain: Toolchain) -> None:
        self._arithmetic(toolchain, "cortex-m0+")

    @pytest.mark.slow
    @pytest.mark.parametrize("core", CORES)
    def test_arithmetic(self, toolchain: Toolchain, core: str) -> None:
        self._arithmetic(toolchain, core)

    def _arithmetic(self, toolchain: Toolchain, core: str) -> None:
        """Helpers that the core has no instruction for are linked and right, and no flag bends the arithmetic."""
        image = toolchain.build(Project({"main.c": ARITHMETIC_C, "link.ld": link_script()}, core))
        assert "memcpy" not in image.symbols  # four bytes are a load
        call = Core(image, core).call

        def wide(pair: tuple[int, int]) -> int:
            return pair[1] << 32 | pair[0]

        def words(value: int) -> tuple[int, int]:
            return value & 0xFFFF_FFFF, value >> 32 & 0xFFFF_FFFF

        assert wide(call("multiply", -123_456_789, 987_654_321)) == -123_456_789 * 987_654_321 % 2**64
        assert wide(call("divide", *words(2**63 + 12_345), *words(1_000_003))) == (2**63 + 12_345) // 1_000_003
        assert wide(call("remainder_of", *words(-(10**15) % 2**64), *words(77_777))) == -(10**15 % 77_777) % 2**64
        assert call("divide_32", -1_000_000_007, 13)[0] == -(1_000_000_007 // 13) % 2**32
        # Fused, the sum would be the part of the product that a float has no room for.
        factor = float(np.float32(1 + 2**-12))
        product = float(np.float32(factor) * np.float32(factor))
        assert call("multiply_add", bits(factor), bits(factor), bits(-product))[0] == bits(0.0)
        assert call("quotient", bits(1.0), bits(3.0))[0] == bits(float(np.float32(1) / np.float32(3)))
        assert call("truncated", bits(-1234.75))[0] == -1_234 % 2**32
        assert call("as_single", 16_777_217)[0] == bits(16_777_216.0)
        assert call("wrapped", 2**31 - 1)[0] == 0


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class ProgramFailureContract:
    """What it does when its program misbehaves. Inherit, and give `make_with`, whose program is a shell script."""

    def make_with(self, script: str, time_limit_seconds: float) -> Toolchain:
        raise NotImplementedError

    VERSION = 'case "$*" in *version*) echo "9.9.9 of a test"; exit 0;; esac\n'

    def build(self, script: str, time_limit_seconds: float = 20.0) -> Image:
        return self.make_with(self.VERSION + script, time_limit_seconds).build(project())

    def test_a_program_that_does_not_start_is_told_with_a_remedy(self) -> None:
        with pytest.raises(InfraFailure, match=r"; (re)?install|; check"):
            self.make_with("echo broken pipe; exit 127", 20.0)

    def test_one_that_hangs_is_killed_with_all_that_it_started(self, tmp_path: Path) -> None:
        with pytest.raises(InfraFailure, match=r"did not end within 0\.2 s; "):
            self.build(f"sleep 60 & echo $! >> {tmp_path}/pids; echo $$ >> {tmp_path}/pids; sleep 60\n", 0.2)
        pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
        assert len(pids) >= 2
        deadline = time.monotonic() + 5.0
        while (left := [pid for pid in pids if _runs(pid)]) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert left == []

    def test_one_that_crashes_says_nothing_against_the_candidate(self) -> None:
        with pytest.raises(InfraFailure, match="status -11"):
            self.build("echo 'main.c:3:1: error: half a line'; kill -SEGV $$\n")
        with pytest.raises(InfraFailure, match="No space left"):
            self.build("echo \"error: unable to create 'x': No space left on device\"; exit 1\n")
        with pytest.raises(InfraFailure, match="internal compiler error"):
            self.build("echo 'main.c:3:1: internal compiler error: Segmentation fault'; exit 1\n")

    def test_one_that_says_it_is_done_and_is_not(self) -> None:
        with pytest.raises(InfraFailure, match="not there"):
            self.build("exit 0\n")

    def test_one_that_writes_rubbish(self) -> None:
        rubbish = 'while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done; echo rubbish > "$out"\n'
        with pytest.raises(InfraFailure, match="not that of a firmware"):
            self.build(rubbish)

    def test_what_it_prints_besides_does_not_matter(self) -> None:
        noisy = "printf '\\377\\376 warning: cannot find its way\\n%s\\n' \"$FAKE_OUTPUT\"; exit 1\n"
        said = "ld.lld: error: section '.text' will not fit in region 'flash': overflowed by 12 bytes"
        with pytest.raises(ImageTooLarge) as caught:
            self.build(noisy.replace("$FAKE_OUTPUT", said))
        assert (caught.value.region, caught.value.over_bytes) == ("flash", 12)
