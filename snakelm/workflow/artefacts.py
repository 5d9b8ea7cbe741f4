"""Files and folders that several steps read or write, and what is in them; the keys that decide a
pretrained model, whichever step trains it.
"""

from .flags import File, Folder

__all__ = [
    "FILTER",
    "LOGS",
    "MANIFESTS",
    "PACKS",
    "PRETRAINING_KEYS",
    "RUN_ROOT",
    "TOKENIZER",
    "TOKEN_FILES",
    "TRAINING_LOG",
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

FILTER = Folder(
    "folder of the trained filter",
    files=("filter.json", "head.safetensors", "static.safetensors", "model.safetensors"),
)

RUN_ROOT = Folder("folder of run folders, by fingerprint", at="checkpoints")
LOGS = Folder("folder for metrics, samples and TensorBoard", at="logs")

TRAINING_LOG = File("training.log; says where a run was resumed", optional=True)
MANIFESTS = File("files whose manifests are read", many=True, optional=True, verified=False)

PRETRAINING_KEYS = ("model", "train", "evaluate.clean_share", "evaluate.span")
