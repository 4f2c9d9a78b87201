"""What a part says of itself over its debug port: the device ID (`DEV_ID` of the register `DBGMCU_IDCODE`).

Sources: section "DBGMCU_IDCODE" of ST's reference manuals RM0091, RM0316, RM0351, RM0364, RM0367, RM0376, RM0377,
RM0383, RM0385, RM0386, RM0390, RM0394, RM0399, RM0410, RM0432, RM0433, RM0434, RM0440, RM0444, RM0451, RM0455, RM0456,
RM0477, RM0481, RM0038 and RM0368.
"""

from automcu.board import Board

_DEVICE_IDS = {
    "STM32F072": 0x448,
    "STM32F303RE": 0x446,  # its smaller parts have other numbers
    "STM32F401RE": 0x433,  # its smaller parts have other numbers
    "STM32F411": 0x431,
    "STM32F446": 0x421,
    "STM32F469": 0x434,
    "STM32F746": 0x449,
    "STM32F769": 0x451,
    "STM32G071": 0x460,
    "STM32G431": 0x468,
    "STM32G474": 0x469,
    "STM32H563": 0x484,
    "STM32H743": 0x450,
    "STM32H747": 0x450,
    "STM32H7A3": 0x480,
    "STM32H7S7": 0x485,
    "STM32L010RB": 0x447,  # its smaller parts have other numbers
    "STM32L011": 0x457,
    "STM32L053": 0x417,
    "STM32L151UC": 0x427,  # category 3; the other categories have other numbers
    "STM32L412": 0x464,
    "STM32L432": 0x435,
    "STM32L475": 0x415,
    "STM32L476": 0x415,
    "STM32L4R5": 0x470,
    "STM32L4R9": 0x470,
    "STM32U575": 0x482,
    "STM32U585": 0x482,
    "STM32WB55": 0x495,
}
"""By the beginning of a part's name."""
_IDCODE_ADDRESSES = {
    "STM32F0": 0x4001_5800,
    "STM32G0": 0x4001_5800,
    "STM32L0": 0x4001_5800,
    "STM32H7": 0x5C00_1000,
    "STM32H5": 0xE004_4000,
    "STM32U5": 0xE004_4000,
}
_IDCODE_ADDRESS = 0xE004_2000
"""Of every other series with a Cortex-M3, M4 or M7."""
_DEV_ID_MASK = 0xFFF


def device_id(board: Board) -> int | None:
    """The device ID of the board's part; parts that share one share a die. None when the part is not in the table."""
    return next((number for part, number in _DEVICE_IDS.items() if board.part.startswith(part)), None)


def idcode_address(board: Board) -> int:
    """Where the board's part has `DBGMCU_IDCODE`."""
    return _IDCODE_ADDRESSES.get(board.part[:7], _IDCODE_ADDRESS)


def device_id_of(idcode: str) -> int:
    """The device ID in the hexadecimal text of a number: the lowest 12 bits of `DBGMCU_IDCODE`."""
    return int(idcode, 16) & _DEV_ID_MASK
