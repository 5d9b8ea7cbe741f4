"""Maps to draw: `make_map(positions, **columns)`, with plausible columns where none are given, and
strings that attack.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from snakelm.evaluation.embeddings.map import DocumentMap, read_map, write_map
from snakelm.evaluation.embeddings.table import BESIDE_VECTORS, documents_schema

__all__ = ["ATTACKS", "make_map", "scattered"]

CALLS = "window.hit=(window.hit||0)+1;alert(1)"
ATTACKS = [
    f"<script>{CALLS}</script>",
    f"</script><script>{CALLS}</script>",
    f"--><script>{CALLS}</script>",
    f"]]><script>{CALLS}</script>",
    f"</textarea><script>{CALLS}</script>",
    f"</title><script>{CALLS}</script>",
    f"</style><script>{CALLS}</script>",
    f"<ScRiPt>{CALLS}</sCrIpT>",
    "<script src=https://example.org/x.js></script>",
    "<script src=data:text/javascript,alert(1)></script>",
    f'<img src=x onerror="{CALLS}">',
    f"<img src=x onerror={CALLS}>",
    f'"><img src=x onerror="{CALLS}">',
    f"'><img src=x onerror='{CALLS}'>",
    f"<svg onload={CALLS}>",
    f"<svg><script>{CALLS}</script></svg>",
    f"<svg><animate onbegin={CALLS} attributeName=x dur=1s>",
    f"<body onload={CALLS}>",
    f"<iframe srcdoc='<script>parent.{CALLS}</script>'></iframe>",
    f"<iframe src=javascript:{CALLS}></iframe>",
    f"<object data=javascript:{CALLS}></object>",
    f"<embed src=javascript:{CALLS}>",
    f"<details open ontoggle={CALLS}>",
    f"<input autofocus onfocus={CALLS}>",
    f"<video><source onerror={CALLS}></video>",
    f"<marquee onstart={CALLS}>",
    f"<math><mtext><img src=x onerror={CALLS}></mtext></math>",
    f"<template><script>{CALLS}</script></template>",
    f"<style>@import 'https://example.org/x.css'</style><img src=x onerror={CALLS}>",
    "<link rel=stylesheet href=https://example.org/x.css>",
    "<meta http-equiv=refresh content='0;url=https://example.org/'>",
    "<base href=https://example.org/>",
    f"<form action=javascript:{CALLS}><button autofocus>x</button></form>",
    f'<a href="javascript:{CALLS}">x</a>',
    f'<a href="jav&#x09;ascript:{CALLS}">x</a>',
    f'<a href="data:text/html,<script>{CALLS}</script>" target=_top>x</a>',
    f"<b onmouseover={CALLS}>x</b><i onclick={CALLS}>x</i>",
    f'<span style="background:url(javascript:{CALLS})">x</span>',
    f"&lt;script&gt;{CALLS}&lt;/script&gt;",
    f"\\u003cscript\\u003e{CALLS}\\u003c/script\\u003e",
    f"%3Cscript%3E{CALLS}%3C/script%3E",
    f"';{CALLS};//",
    f'";{CALLS};//',
    f"`;{CALLS};//",
    "${alert(1)}{{constructor.constructor('alert(1)')()}}",
    f"\u2028{CALLS}\u2029",
    "%{customdata}%{x}<extra></extra>",
    f"\x00<\x00script>{CALLS}</script>",
    f"\u202e>tpircs<{CALLS}\u2066",
    "__proto__",
    "constructor",
    ']}\',{"x":[1e999]}',
]


def make_map(path: Path, positions: np.ndarray, **columns: list) -> DocumentMap:
    """Writes and reads a map of documents at ``positions`` [n, 2]."""
    n = len(positions)
    plain = {
        "id": list(range(n)),
        "source": [f"source{i % 3}" for i in range(n)],
        "origin_file": [f"folder{i % 4}/f.py" for i in range(n)],
        "bytes": [100 + i for i in range(n)],
        "tokens": [10 + i * i for i in range(n)],
        "held_out": [i % 5 == 0 for i in range(n)],
        "loss": [1 + i / max(1, n) for i in range(n)],
        "score": [None] * n,
        "excerpt": [f"document {i}" for i in range(n)],
    }
    kinds = documents_schema(1)
    values = {**plain, **columns}
    table = pa.table(
        [pa.array(values[k], kinds.field(k).type) for k in BESIDE_VECTORS], list(BESIDE_VECTORS)
    )
    write_map(path, np.asarray(positions, np.float32).reshape(n, 2), table)
    return read_map(path)


def scattered(n: int) -> np.ndarray:
    """Places [n, 2] on a grid, none nearer than 0.1 to another for up to 400."""
    side = max(1, int(np.ceil(np.sqrt(n))))
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, side)] * 2), -1).reshape(-1, 2)
    return grid[:n].astype(np.float32)
