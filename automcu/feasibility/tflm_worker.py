"""The process in which tflite-micro plans memory; `automcu.feasibility.tflm` starts it."""

import os

from automcu.child import Answer, Frame, serve

_STDERR = 2
_REPORT_LIMIT_BYTES = 100_000


def load_answer() -> Answer:
    """Import tflite-micro; return the function that gives the recording allocator's report on a file."""
    from tflite_micro.python.tflite_micro import runtime

    # It unpacks the whole model into Python objects to count resource variables, which takes 40 times as long as all
    # else. A graph that AutoMCU has read holds none.
    runtime.count_resource_variables = lambda model: 0

    def answer(request: Frame) -> Frame:
        # The report is printed by C code. Descriptor 2 is this process's log, which holds one check's lines alone.
        os.ftruncate(_STDERR, 0)
        os.lseek(_STDERR, 0, os.SEEK_SET)
        tflite, arena_bytes = request.arrays["tflite"].tobytes(), request.header["arena_bytes"]
        runtime.Interpreter.from_bytes(tflite, arena_size=arena_bytes).print_allocations()
        return Frame({"report": os.pread(_STDERR, _REPORT_LIMIT_BYTES, 0).decode(errors="replace")}, {})

    return answer


if __name__ == "__main__":
    serve(load_answer)
