"""A trained filter on labels and documents it never saw: quality, agreement with SetFit, documents
per CPU-second.

    python benchmarks/filter.py --model results/filtered/models/academic_filter \
        --labels config/labels/academic_test.jsonl \
        --documents results/filtered/data/deduplicated/documents.parquet
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> int:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument(
        "--model", default="results/filtered/models/academic_filter", help="folder of setfit_train"
    )
    arguments.add_argument("--labels", nargs="+", default=["config/labels/academic_test.jsonl"])
    arguments.add_argument(
        "--documents", help="parquet file, for agreement and speed on documents of the run"
    )
    arguments.add_argument(
        "--sample", type=int, default=1000, help="documents to take, drawn by another hash"
    )
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--json", help="file to write the numbers to")
    given = arguments.parse_args()

    from snakelm.filter.base import offline

    offline()
    import torch

    torch.set_num_threads(given.threads)
    from snakelm.filter.cascade import Filter

    filters = {kind: Filter.load(given.model, kind) for kind in ("setfit", "static", "cascade")}
    results = {name: on_labels(filters, name) for name in given.labels}
    if given.documents:
        results[given.documents] = on_documents(filters, given.documents, given.sample)
    for name, rows in results.items():
        print(f"\n{name}")
        for kind, numbers in rows.items():
            shown = (f"{key} {value:.4g}" for key, value in numbers.items() if value is not None)
            print(f"  {kind:8}", "  ".join(shown))
    if given.json:
        Path(given.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


def on_labels(filters, file):
    """Quality of each kind, and of the untuned base with a head fitted on the project's own
    labels.
    """
    from snakelm.config import Classifier
    from snakelm.filter.base import base_folder
    from snakelm.filter.labels import read_labels
    from snakelm.filter.measure import agreement, quality
    from snakelm.filter.sentence import SentenceModel
    from snakelm.filter.train import logistic_head

    labels, rules = read_labels(file), Classifier()
    threshold = filters["setfit"].meta.threshold
    training, _ = read_labels(rules.labels).split(rules.held_out, 1337)
    base = SentenceModel.load(base_folder(rules), rules.max_tokens)
    frozen = logistic_head(base.encode(training.texts), training.academic).score(
        base.encode(labels.texts)
    )
    scores = {
        "frozen": frozen,
        **{kind: one.score(labels.texts)[0] for kind, one in filters.items()},
    }
    by_setfit = {"cascade": float(filters["cascade"].score(labels.texts)[1].mean())}
    return {
        kind: {
            **quality(some, labels.academic, threshold).as_json(),
            "agreement": agreement(some, scores["setfit"], threshold),
            "asked": by_setfit.get(kind),
        }
        for kind, some in scores.items()
    }


def on_documents(filters, file, count):
    """Agreement with SetFit and speed on documents drawn by a hash of their own; each kind's speed
    by itself.
    """
    from snakelm.filter.measure import agreement, rate
    from snakelm.filter.train import drawn

    texts = drawn(Path(file), filters["setfit"].meta.max_tokens, "benchmark", 1, count)
    scores = {kind: one.score(texts) for kind, one in filters.items()}
    threshold, setfit = filters["setfit"].meta.threshold, scores["setfit"][0]
    return {
        kind: {
            "documents": len(texts),
            "kept": float((scores[kind][0] >= threshold).mean()),
            "asked": float(scores[kind][1].mean()),
            "agreement": agreement(scores[kind][0], setfit, threshold),
            "documents_per_cpu_second": rate(one.score, texts),
        }
        for kind, one in filters.items()
    }


if __name__ == "__main__":
    raise SystemExit(main())
