"""The command line: `kwise VERB ...`. Whatever goes wrong that a user can mend is one line on stderr and no
traceback.
"""

import os
import sys
from collections.abc import Sequence

from kwise.cli.parser import parse

FAILED, STOPPED = 2, 130  # exit codes: bad input or no room; Ctrl-C
DEBUG = "KWISE_TRACEBACK"  # environment variable: set it to see the whole traceback
STOPPED_ADVICE = {"train": "; the same command goes on from the last saved step"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0 where it did its work, 2 after bad input or a failed write, 130 after Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = next((word for word in words if not word.startswith("-")), "")
    try:
        run = parse(words)
        run()
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        _tell(f"{_doing(verb)}: stopped by Ctrl-C{STOPPED_ADVICE.get(verb, '')}")
        return STOPPED
    except BrokenPipeError:  # whoever read our output has had enough: no error, and nothing more to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        line = explain(error)
        if line is None or os.environ.get(DEBUG):
            raise
        _tell(f"{_doing(verb)}: {line}")
        return FAILED


def explain(error: Exception) -> str | None:
    """One line on what a user can mend; None for an error that is a defect of kwise."""
    text = " ".join(str(error).split())
    if _no_room(error, text):
        return f"{text}; wanted free space on the disk, nothing half-written was left"
    if isinstance(error, OSError) and error.filename is not None:
        return f"opening {error.filename}: got {error.strerror}; wanted a path that can be used"
    if isinstance(error, (ValueError, OSError)):
        return text
    if isinstance(error, MemoryError) or "out of memory" in text or "not enough memory" in text:
        return f"got too little memory ({text or 'MemoryError'}); wanted a smaller input, or a larger machine"
    return None


def _no_room(error: Exception, text: str) -> bool:
    """Full disks, also as the writers of tensors tell them: they do not raise OSError."""
    signs = ("No space left", "StorageFull", "PytorchStreamWriter failed")
    return not isinstance(error, ValueError) and any(sign in text for sign in signs)


def _doing(verb: str) -> str:
    return f"kwise {verb}" if verb.isalpha() else "kwise"


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


__all__ = ["explain", "main"]
