"""What the extension is compiled of, beside what is written by hand in `host`."""

import hashlib

from . import rows, text


def files() -> dict[str, str]:
    """Texts by the names of their files."""
    digest_of_all = f'#define DIGEST "{digest()}"\n'
    return {**_kernels(), "digest.h": digest_of_all}


def digest() -> str:
    """What tells whether the extension is of these formulas."""
    return hashlib.sha256("".join(_kernels().values()).encode()).hexdigest()[:16]


def _kernels() -> dict[str, str]:
    return {"kernels.inc": text.source(), "row_kernels.inc": rows.source()}
