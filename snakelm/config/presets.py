"""Presets: model, training and data sizes that fit together; the user's own keys go on top.

Plain data, because each is a layer of the configuration like a file; the sections have the keys and
their reasons.
"""

from typing import Any

__all__ = ["PRESETS"]

PRESETS: dict[str, dict[str, Any]] = {
    # Under a minute on two cores: shows that everything works, not that anything is learned.
    "smoke": {
        "sources": [{"builtin": "synthetic", "limit": 1500}],
        "tokenizer": {"vocab_size": 512, "train_mb": 4.0},
        "prepare": {"val_fraction": 0.05},
        "model": {
            "layers": 2,
            "width": 64,
            "heads": 2,
            "kv_heads": 1,
            "head_dim": 32,
            "hidden": 192,
            "context": 64,
        },
        "train": {
            "steps": 60,
            "batch_tokens": 1024,
            "micro_batch": 16,
            "sampled_softmax": "off",
            "lr": 0.045,
            "warmup": 5,
            "eval_every": 20,
            "save_every": 20,
            "log_every": 5,
            "sample_tokens": 24,
            "compile": "off",
        },
        "sft_data": {"sources": [{"builtin": "docs", "limit": 1000}]},
        "sft": {
            "epochs": 1.0,
            "batch_rows": 8,
            "lr": 0.04,
            "embedding_lr": 0.006,
            "head_lr": 0.003,
            "scalar_lr": 0.006,
        },
        "embeddings": {"documents": 500},
    },
    # About seven minutes on two cores, corpus and tokenizer included.
    "default": {},
    # One GPU of 24 GB or more; GPT-2 small's size on a corpus of your own (2.5 billion tokens).
    "gpt2-124m": {
        "tokenizer": {"vocab_size": 32_768, "train_mb": 512.0},
        "prepare": {"val_fraction": 0.001, "shards": 16},
        "model": {
            "layers": 12,
            "width": 768,
            "heads": 12,
            "kv_heads": 12,
            "head_dim": 64,
            "hidden": 2048,
            "context": 1024,
        },
        "train": {
            "steps": 4800,
            "batch_tokens": 524_288,
            "micro_batch": 32,
            "start": "random",
            "sampled_softmax": "off",
            "lr": 0.02,
            "embedding_lr": 0.3,
            "head_lr": 0.004,
            "warmup": 100,
            "eval_every": 250,
            "save_every": 250,
        },
        "sft": {"batch_rows": 8},
    },
    # One GPU of 80 GB (7 billion tokens).
    "350m": {
        "tokenizer": {"vocab_size": 32_768, "train_mb": 512.0},
        "prepare": {"val_fraction": 0.001, "shards": 32},
        "model": {
            "layers": 24,
            "width": 1024,
            "heads": 16,
            "kv_heads": 16,
            "head_dim": 64,
            "hidden": 2816,
            "context": 1024,
        },
        "train": {
            "steps": 13_400,
            "batch_tokens": 524_288,
            "micro_batch": 16,
            "start": "random",
            "sampled_softmax": "off",
            "lr": 0.02,
            "embedding_lr": 0.2,
            "head_lr": 0.003,
            "warmup": 200,
            "eval_every": 500,
            "save_every": 500,
        },
        "sft": {"batch_rows": 8},
    },
    # Eight GPUs of 80 GB (20 billion tokens).
    "1b": {
        "tokenizer": {"vocab_size": 49_152, "train_mb": 1024.0},
        "prepare": {"val_fraction": 0.0005, "shards": 64},
        "model": {
            "layers": 22,
            "width": 2048,
            "heads": 16,
            "kv_heads": 8,
            "head_dim": 128,
            "hidden": 5632,
            "context": 2048,
        },
        "train": {
            "steps": 19_100,
            "batch_tokens": 1_048_576,
            "micro_batch": 8,
            "start": "random",
            "sampled_softmax": "off",
            "lr": 0.015,
            "embedding_lr": 0.1,
            "head_lr": 0.002,
            "warmup": 400,
            "processes": 8,
            "eval_every": 500,
            "save_every": 500,
        },
        "sft": {"batch_rows": 8},
    },
}
