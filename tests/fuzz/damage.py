"""Ways in which files go bad."""

import os

import hypothesis.strategies as st

INTERESTING = [b"", b"\0", b"\xff" * 4, b"\0" * 64, b"\x7f\xff\xff\xff", b"<html>", b"PK\x03\x04", b"\n"]


def examples(count: int) -> int:
    """`count`, times $EQUIPOISE_FUZZ: `make chaos` tries more."""
    return count * int(os.environ.get("EQUIPOISE_FUZZ", "1"))


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` cut off, overwritten, shifted, with holes, doubled, or with something put in: one to three times."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 32))
        match draw(st.sampled_from(["cut", "flip", "hole", "insert", "drop", "double"])):
            case "cut":
                del content[at:]
            case "flip":
                if content:
                    content[at] ^= 1 << draw(st.integers(0, 7))
            case "hole":
                content[at : at + length] = bytes(len(content[at : at + length]))
            case "insert":
                content[at:at] = draw(st.sampled_from(INTERESTING))
            case "drop":
                del content[at : at + length]
            case _:
                content += content[at:]
    return bytes(content)
