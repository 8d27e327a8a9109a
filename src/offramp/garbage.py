"""When garbage is collected: rarely, while a job runs.

A process that has loaded DSPy and LiteLLM has more than half a million objects that live as long as it does. Python
looks at all of them again and again, which took a third of a job's processor time.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_RARELY = (50_000, 10, 20)
_lock = threading.Lock()
_inside = 0
_before: tuple[int, int, int] = gc.get_threshold()
_frozen_before = 0


@contextmanager
def collected_rarely() -> Iterator[None]:
    """What is there now is not looked at within, and new garbage seldom. The last to leave puts it back as it was."""
    global _inside, _before, _frozen_before
    with _lock:
        if not _inside:
            _before, _frozen_before = gc.get_threshold(), gc.get_freeze_count()
        _inside += 1
        gc.freeze()
        if 0 < _before[0] < _RARELY[0]:  # 0 is never, and more is rarer still
            gc.set_threshold(*_RARELY)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                gc.set_threshold(*_before)
                if not _frozen_before:  # else somebody else keeps them so
                    gc.unfreeze()
