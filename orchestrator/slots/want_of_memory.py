"""What Ray says of a process that its memory monitor has ended, and what we say."""

import re

REASON = "Ray ended its process, for want of memory on its machine"


def ended_for_want_of_memory(error: BaseException | str) -> bool:
    """Whether this is Ray's account, or ours. What the kernel kills cannot be told from a crash."""
    text = str(error)
    return REASON in text or "OUT_OF_MEMORY" in text or "running low on memory" in text


def reason_of(error: BaseException | str) -> str:
    """A sentence for Ray's two pages, with how much was in use; ours as it is."""
    if (
        ours := re.search(re.escape(REASON) + r"(: [\d.]+ of [\d.]+ GB were in use)?", str(error))
    ) is not None:
        return ours[0]
    used = re.search(r"([\d.]+) ?GB used / ([\d.]+) ?GB limit", str(error))
    return REASON + (f": {float(used[1]):.1f} of {float(used[2]):.1f} GB were in use" if used else "")
