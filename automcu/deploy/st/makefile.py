"""The project around C code of ST Edge AI: a Makefile for the board's core, and where ST's runtime is found."""

from collections.abc import Sequence

from automcu.board import Board
from automcu.deploy.toolchain.gcc import CORES
from automcu.errors import InfraFailure

_LIBRARIES = {
    "cortex-m0": "ARMCortexM0+",  # the same instructions
    "cortex-m0+": "ARMCortexM0+",
    "cortex-m4f": "ARMCortexM4",
    "cortex-m7f": "ARMCortexM7",
    "cortex-m33f": "ARMCortexM33",
}
"""The folder of ST's runtime by core, in `Middlewares/ST/AI/Lib/GCC` of an installation of ST Edge AI Core."""

_TEXT = """\
# {board}: written by AutoMCU. Makes network.o: the network of ST Edge AI with the parts of ST's runtime that it needs,
# for the {core} of the {part}. An application links it like any other object, with the C and math libraries.
#
# ST's runtime is not part of this folder; it comes with ST Edge AI Core, under ST's own licence:
#   make STEDGEAI_CORE_DIR=<where ST Edge AI Core is installed>
ST := $(STEDGEAI_CORE_DIR)/Middlewares/ST/AI
RUNTIME := $(wildcard $(ST)/Lib/GCC/{library}/NetworkRuntime*.a)
CC := arm-none-eabi-gcc
CFLAGS := -mthumb {flags} -O2 -ffunction-sections -fdata-sections -I. -I$(ST)/Inc
OBJECTS := {objects}

network.o: $(OBJECTS)
\t@test -n '$(RUNTIME)' || {{ echo 'no runtime for {library} in $(ST)/Lib/GCC: set STEDGEAI_CORE_DIR'; exit 1; }}
\t$(CC) $(CFLAGS) -nostdlib -r -o $@ $(OBJECTS) $(RUNTIME)

st_%.o: %.c $(wildcard *.h)
\t$(CC) $(CFLAGS) -c -o $@ $<

.PHONY: clean
clean:
\trm -f network.o $(OBJECTS)
"""


def makefile(board: Board, files: Sequence[str]) -> str:
    """The text of the Makefile for the C code in `files`. Raises `InfraFailure` for a core without a runtime of ST."""
    if board.core not in _LIBRARIES:
        raise InfraFailure(f"ST's runtime does not exist for {board.core}; use AutoMCU's own for {board.name}")
    return _TEXT.format(
        board=board.name,
        part=board.part,
        core=board.core,
        library=_LIBRARIES[board.core],
        flags=" ".join(CORES[board.core]),
        objects=" ".join(f"st_{name.removesuffix('.c')}.o" for name in files if name.endswith(".c")),
    )
