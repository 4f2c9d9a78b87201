"""A child process for the tests: it answers with what it was sent, or does what the header asks for."""

import os
import signal
import subprocess
import sys
import time

from automcu.child import Answer, Frame, serve
from automcu.errors import CandidateFailure, InfraFailure


def load_answer() -> Answer:
    print("noise on standard output")
    print("noise on standard error", file=sys.stderr, flush=True)
    return answer


def answer(frame: Frame) -> Frame:
    match frame.header:
        case {"do": "sleep"}:
            time.sleep(600)
        case {"do": "fork"}:
            grandchild = subprocess.Popen(["sleep", "600"])
            return Frame({"grandchild": grandchild.pid}, {})
        case {"do": "abort"}:
            print("this graph is bad", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGABRT)
        case {"do": "candidate"}:
            raise CandidateFailure("the candidate is bad; change it")
        case {"do": "infrastructure"}:
            raise InfraFailure("the disk is full; free some")
        case {"do": "unknown"}:
            raise RuntimeError("line one\nline two")
        case {"do": "memory"}:
            raise MemoryError
    return frame


if __name__ == "__main__":
    serve(load_answer)
