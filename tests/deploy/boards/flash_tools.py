"""Fake flashing tools: real programs on PATH that print what the real ones print, or behave as badly as they are told.

The texts are those of logs that users of the tools published; without a probe, of the tools themselves.
"""

import json
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.processes import gone_within

_SCRIPT = """#!{python} -IS
import json, os, pathlib, sys, time
arguments = sys.argv[1:]
firmware = pathlib.Path("firmware.bin")
with open({log!r}, "a") as file:
    entry = dict(pid=os.getpid(), arguments=arguments, stdin=sys.stdin.read(), environment=sorted(os.environ))
    file.write(json.dumps(entry | dict(firmware=firmware.read_bytes().hex())) + "\\n")
def child():
    import subprocess
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open({log!r}, "a") as file:
        file.write(json.dumps(dict(pid=process.pid)) + "\\n")
text = " ".join(arguments)
if {writing}:
{write}
else:
{identify}
"""


@dataclass(frozen=True, slots=True)
class Texts:
    """What a tool prints: `identified` has the device ID at `{id}`."""

    programs: tuple[str, ...]
    writing: str
    identified: str
    written: str
    no_probe: str
    no_probe_status: int


BANNER = """      -------------------------------------------------------------------
                        STM32CubeProgrammer v2.19.0
      -------------------------------------------------------------------

"""
CONNECTED = (
    BANNER
    + """ST-LINK SN  : 066DFF485550755187121723
ST-LINK FW  : V2J42M27
Board       : NUCLEO-F446RE
Voltage     : 3.26V
SWD freq    : 4000 KHz
Connect mode: Under Reset
Reset mode  : Hardware reset
Device ID   : 0x{id:03x}
Revision ID : Rev A
Device name : STM32F446xx
Flash size  : 512 KBytes
Device type : MCU
Device CPU  : Cortex-M4
BL Version  : 0x90

"""
)
OPENOCD = """Open On-Chip Debugger 0.12.0
Licensed under GNU GPL v2
For bug reports, read
\thttp://openocd.org/doc/doxygen/bugs.html
Info : The selected transport took over low-level target control. The results might differ compared to plain JTAG/SWD
srst_only separate srst_nogate srst_open_drain connect_deassert_srst

Info : clock speed 2000 kHz
"""
HALTED = """Info : STLINK V2J42M27 (API v2) VID:PID 0483:374B
Info : Target voltage: 3.260317
Info : [stm32f4x.cpu] Cortex-M4 r0p1 processor detected
Info : [stm32f4x.cpu] target has 6 breakpoints, 4 watchpoints
[stm32f4x.cpu] halted due to debug-request, current mode: Thread
xPSR: 0x01000000 pc: 0x080362e8 msp: 0x20020000
"""
TOOLS = {
    "stm32_programmer_cli": Texts(
        ("STM32_Programmer_CLI",),
        "'-w' in arguments",
        CONNECTED,
        CONNECTED.format(id=0x421)
        + "\nMemory Programming ...\nOpening and parsing file: firmware.bin\n  File          : firmware.bin\n"
        "  Size          : 57.51 KB\n  Address       : 0x08000000\n\n\nErasing memory corresponding to segment 0:\n"
        "Erasing internal memory sectors [0 3]\nDownload in Progress:\n"
        "[==================================================] 100%\n\nFile download complete\n"
        "Time elapsed during download operation: 00:00:01.977\n\n\n\nVerifying ...\n\n\nRead progress:\n"
        "[==================================================] 100%\n\n"
        "Time elapsed during verifying operation: 00:00:00.412\n\n\nDownload verified successfully\n\n\nMCU Reset\n\n"
        "Software reset is performed\n",
        BANNER + "Error: No ST-Link detected!\n",
        1,
    ),
    "openocd": Texts(
        ("openocd",),
        "'program ' in text",
        OPENOCD + HALTED + "0xe0042000: 1000{id:04x}\n\nshutdown command invoked\n",
        OPENOCD + HALTED + "** Programming Started **\nInfo : device id = 0x10000421\nInfo : flash size = 512 KiB\n"
        "** Programming Finished **\n** Verify Started **\n** Verified OK **\n** Resetting Target **\n"
        "shutdown command invoked\n",
        OPENOCD + "Error: open failed\nin procedure 'program'\n** OpenOCD init failed **\nshutdown command invoked\n\n",
        1,
    ),
    "pyocd": Texts(
        ("pyocd",),
        "arguments[0] == 'load' or 'compare' in text",
        "e0042000:  1000{id:04x}    |..{{!|\n",
        "0001482 I Loading /tmp/x/firmware.bin at 0x08000000 [load_cmd]\n"
        "0003315 I Erased 65536 bytes (4 sectors), programmed 57344 bytes (56 pages), skipped 0 bytes (0 pages) at "
        "30.52 kB/s [loader]\nComparing 3 bytes @ 0x08000000\nAll 3 bytes match.\nResetting target\n",
        "No connected debug probes\n0000369 E No target device available [load_cmd]\n",
        0,
    ),
    "st-flash": Texts(
        ("st-flash", "st-info"),
        "'write' in arguments",
        "Found 1 stlink programmers\n  version:    V2J42S27\n  serial:     066DFF485550755187121723\n"
        "  flash:      524288 (pagesize: 16384)\n  sram:       131072\n  chipid:     0x0{id:03x}\n  descr:      F446\n",
        "st-flash 1.7.0\n2026-04-19T15:42:24 INFO common.c: F446: 128 KiB SRAM, 512 KiB flash\n"
        "file firmware.bin md5 checksum: c4d75f11a1e81b63c97b961b6b98e3f7, stlink checksum: 0x000d386f\n"
        "2026-04-19T15:42:24 INFO common.c: Attempting to write 57512 (0xe0a8) bytes to stm32 address: 134217728\n"
        "2026-04-19T15:42:24 INFO flash_loader.c: Successfully loaded flash loader in sram\n"
        "2026-04-19T15:42:24 INFO common.c: Starting verification of write complete\n"
        "2026-04-19T15:42:24 INFO common.c: Flash written and verified! jolly good!\n",
        "Found 0 stlink programmers\n",
        0,
    ),
}


class Bench:
    """A folder that is all of PATH, with fake tools in it, and what these log of themselves."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self._log = folder / "log"

    def install(self, name: str, *, write: str = "", identify: str = "") -> None:
        """Put the tool `name` on PATH; `write` and `identify` are what it does (Python), empty for success."""
        texts = TOOLS[name]
        fill = {
            "python": sys.executable,
            "log": str(self._log),
            "writing": texts.writing,
            "write": _indented(write or f"print({texts.written!r})"),
            "identify": _indented(identify or f"print({texts.identified.format(id=0x421)!r})"),
        }
        for program in texts.programs:
            path = self.bin / program
            path.write_text(_SCRIPT.format(**fill))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    @property
    def runs(self) -> list[dict[str, object]]:
        """What each run of a tool was given."""
        return [entry for entry in self._entries() if "arguments" in entry]

    def left_behind(self) -> list[int]:
        """Processes of the tools that still run, half a second after they should not."""
        return [int(str(entry["pid"])) for entry in self._entries() if not gone_within(int(str(entry["pid"])))]

    def _entries(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []


def _indented(code: str) -> str:
    return "\n".join("    " + line for line in code.splitlines())
