"""Files and folders that several steps read or write, and what is in them; the keys that decide a
pretrained model, whichever step trains it, and those that tuning shares with it.
"""

from .flags import File, Folder

__all__ = [
    "FILTER",
    "LOGS",
    "MANIFESTS",
    "PACKS",
    "PREFERENCE_PACKS",
    "PRETRAINING_KEYS",
    "RUN_ROOT",
    "TOKENIZER",
    "TOKEN_FILES",
    "TRAINING_LOG",
    "TUNING_KEYS",
]

TOKENIZER = Folder(
    "folder of the tokenizer", files=("meta.json", "ranks.tiktoken", "tokenizer.json")
)

TOKEN_FILES = Folder(
    "folder with train.bin, val.bin and val_overlap.npy",
    files=("train.bin", "train.idx", "val.bin", "val.idx", "val_overlap.npy"),
    vouched=("train.bin", "val.bin", "val_overlap.npy"),
)

PACKS = Folder(
    "folder with the packed conversations",
    files=(
        "train_sft_packed.bin",
        "train_sft_packed.idx",
        "val_sft_packed.bin",
        "val_sft_packed.idx",
    ),
    vouched=("train_sft_packed.bin", "val_sft_packed.bin"),
)

PREFERENCE_PACKS = Folder(
    "folder with the packed preferences",
    files=(
        "train_preferences.bin",
        "train_preferences.idx",
        "val_preferences.bin",
        "val_preferences.idx",
    ),
    vouched=("train_preferences.bin", "val_preferences.bin"),
)

FILTER = Folder(
    "folder of the trained filter",
    files=("filter.json", "head.safetensors", "static.safetensors", "model.safetensors"),
)

RUN_ROOT = Folder("folder of run folders, by fingerprint", at="checkpoints")
LOGS = Folder("folder for metrics, samples and TensorBoard", at="logs")

TRAINING_LOG = File("training.log; says where a run was resumed", optional=True)
MANIFESTS = File("files whose manifests are read", many=True, optional=True, verified=False)

# What tuning takes over from pretraining; the rest of `train` has its own keys in `sft` and in
# `preferences`.
TUNING_KEYS = (
    "device",
    "precision",
    "compile",
    "attention",
    "processes",
    "nodes",
    "sharding",
    "activation_checkpointing",
    "reproducible",
    "on_nan",
    "on_other_machine",
    "momentum",
    "beta1",
    "beta2",
    "eval_tokens",
    "sample_tokens",
    "sample_prompt",
)

PRETRAINING_KEYS = ("model", "train", "evaluate.clean_share", "evaluate.span")
