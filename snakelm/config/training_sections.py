"""The sections that decide the weights: the network, pretraining, instruction tuning."""

from typing import TYPE_CHECKING, Literal

from pytorch_ext.dispatch import backends

from .section import MANY, Section, key

__all__ = ["Model", "Sft", "Train"]

if TYPE_CHECKING:
    AttentionBackend = str
else:
    AttentionBackend = Literal[("auto", *backends("attention"))]


class Model(Section):
    """A Qwen3-shaped decoder; Llama-shaped with qk_norm off."""

    layers: int = key(2, "transformer blocks", ge=1, le=200)
    width: int = key(256, "size of the residual stream", ge=8, le=65_536)
    heads: int = key(4, "query heads", ge=1, le=1024)
    kv_heads: int = key(4, "key and value heads; divides heads", ge=1, le=1024)
    head_dim: int = key(64, "size of a head; even, for rotary pairs", ge=2, le=512)
    hidden: int = key(512, "inner size of the SwiGLU block", ge=8, le=1_000_000)
    context: int = key(
        1024, "positions a query may look back over", unit="tokens", ge=8, le=1_048_576
    )
    rope_base: float = key(10_000.0, "base of the rotary frequencies", gt=1, le=1e10)
    tie_embeddings: bool = key(False, "one matrix for embedding and output head")
    qk_norm: bool = key(True, "RMS-norm of each query and key head, before the rotation")
    embedding_norm: bool = key(
        True, "RMS-norm right after the embedding; folds into the table at export when untied"
    )
    norm_eps: float = key(1e-6, "added under the root of every RMS-norm", ge=1e-12, le=0.1)

    @property
    def matrices(self) -> int:
        """Parameters in the matrices inside blocks."""
        heads = (self.heads + self.kv_heads) * self.head_dim
        return self.layers * self.width * (2 * heads + 3 * self.hidden)


class Train(Section):
    """Pretraining: Muon for matrices, AdamW for the rest; warm-up, flat, linear decay."""

    steps: int = key(1800, "optimizer steps", unit="steps", ge=1, le=MANY)
    batch_tokens: int = key(
        2048, "tokens in an optimizer step, over all devices", unit="tokens", ge=8, le=MANY
    )
    micro_batch: int = key(
        8, "rows of `context` tokens in one forward pass", unit="rows", ge=1, le=MANY
    )
    base: str | None = key(
        None,
        "model to go on from: an exported folder, a Qwen3's or Llama's that transformers saved "
        "(safetensors), or another run's final_model.pt; `model` and the tokenizer come from it",
    )
    start: Literal["auto", "induction", "bigrams", "random"] = key(
        "auto",
        "weights before the first step: bigrams sets embedding and head from counted pairs of "
        "tokens (untied head, embedding_norm), induction a pair of heads that copy as well (two "
        "layers, two key heads); auto takes the most that the shape allows",
    )
    bigram_steps: int = key(
        0,
        "gradient steps on the whole table of counted pairs after a start from bigrams; 20 cost "
        "what a few dozen training steps do, and pay in runs of a few hundred",
        unit="steps",
        ge=0,
        le=10_000,
    )
    sampled_softmax: Literal["auto", "on", "off"] = key(
        "auto",
        "train the head on the batch's targets, the commonest tokens and random others; auto does "
        "it on a CPU where that is at most half of the vocabulary",
    )
    sampled_common: int = key(
        1024, "commonest tokens in every sample", unit="tokens", ge=0, le=MANY
    )
    sampled_random: int = key(
        768, "random tokens in a sample, for all the rest", unit="tokens", ge=1, le=MANY
    )
    lr: float = key(
        0.025,
        "peak learning rate of Muon, the matrices inside blocks; an eighth of the steps want twice "
        "as much",
        gt=0,
        le=1,
    )
    embedding_lr: float = key(
        0.02,
        "peak learning rate of the embedding table (AdamW); a random start wants 0.4",
        gt=0,
        le=1,
    )
    head_lr: float = key(
        0.002,
        "peak learning rate of the output head (AdamW), where it isn't tied; a random start wants "
        "0.01",
        gt=0,
        le=1,
    )
    scalar_lr: float = key(0.02, "peak learning rate of the norms' gains (AdamW)", gt=0, le=1)
    regime: Literal["auto", "fresh", "repeated"] = key(
        "auto",
        "whether the run reads new text or the same again and again: what dropout and average are "
        "where they are null; auto takes repeated in a run of more than 4 epochs",
    )
    dropout: float | None = key(
        None,
        "share of the embedding's and of each sublayer's values that a step leaves out; null for "
        "what train.regime takes",
        ge=0,
        le=0.9,
    )
    weight_decay: float = key(
        0.0, "decoupled weight decay of the matrices, times their learning rate", ge=0, le=10
    )
    weight_decay_schedule: list[float] = key(
        [],
        "factors of the weight decay at even distances over the run, linear in between: "
        "[1, 0.1, 1.2] dips in the middle; empty for the same throughout",
    )
    average: float | None = key(
        None,
        "memory of an exponential average of the weights, as a share of the run's steps; the "
        "average is what is evaluated and written; null for what train.regime takes, 0 for none",
        ge=0,
        le=1,
    )
    keep_best: bool = key(
        False,
        "final_model.pt gets the weights of the best evaluation (of eval_tokens, every eval_every "
        "steps, which then count as settings) instead of the last ones",
    )
    momentum: float = key(
        0.95, "Muon's momentum once warmed up (from 0.85 over 300 steps)", ge=0, le=0.999
    )
    beta1: float = key(0.9, "AdamW's first-moment decay", ge=0, le=0.9999)
    beta2: float = key(0.95, "AdamW's second-moment decay", ge=0, le=0.9999)
    warmup: int = key(20, "steps from 0 to the peak learning rate", unit="steps", ge=0, le=MANY)
    decay: float = key(
        0.6, "last share of the run, over which the learning rate falls to 0", ge=0, le=1
    )
    clip: float | None = key(
        1.0, "gradient norm above which gradients are scaled down; null for never", gt=0
    )
    precision: Literal["auto", "bf16", "fp32"] = key(
        "auto", "auto takes bf16 where the device multiplies it natively"
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = key(
        "auto", "auto takes cuda, then mps, then cpu"
    )
    compile: Literal["auto", "on", "off"] = key(
        "auto", "torch.compile; auto decides by the length of the run"
    )
    activation_checkpointing: bool = key(
        False,
        "compute each block again on the way back instead of keeping what it computed: the same "
        "model for less memory and about a quarter more time",
        cosmetic=True,
    )
    attention: AttentionBackend = key("auto", "kernel behind pytorch_ext.attention")
    on_nan: Literal["error", "skip"] = key(
        "error", "a loss of NaN or infinity: stop, or skip the step (at most 3 in a row)"
    )
    on_other_machine: Literal["warn", "error"] = key(
        "warn",
        "a resume with another device, precision or kernels than the checkpoint was written with: "
        "say so and go on, or stop",
        cosmetic=True,
    )
    processes: int = key(
        1,
        "data-parallel processes on each host; a run may go on with another number",
        ge=1,
        le=1024,
        cosmetic=True,
    )
    nodes: int = key(
        1,
        "hosts of a Slurm job that train together (slurm/config.yaml)",
        ge=1,
        le=1024,
        cosmetic=True,
    )
    sharding: Literal["none", "fsdp"] = key(
        "none",
        "what each of several processes holds: all of the model, or a share of weights, gradients "
        "and optimizer state (torch's fully_shard), gathered block by block; not compiled, and of "
        "no effect on low-rank tuning",
        cosmetic=True,
    )
    reproducible: int = key(
        0,
        "parts of a batch whose gradients are added in a fixed order, so that any number of "
        "processes up to it ends with the same bits; 0 for whichever is fastest",
        ge=0,
        le=1024,
    )
    seed: int | None = key(
        None,
        "chance in training alone: first weights, order of the text, samples; null for the "
        "top-level seed. Runs that differ in it have the same held-out text and tokenizer",
        ge=0,
        le=2**32 - 1,
    )
    eval_every: int = key(
        200, "steps between evaluations", unit="steps", ge=1, le=MANY, cosmetic=True
    )
    eval_tokens: int | None = key(
        65_536,
        "held-out tokens of an evaluation along the way, from documents at even distances; the "
        "last one takes all",
        unit="tokens",
        ge=1,
        le=MANY,
        cosmetic=True,
    )
    save_every: int = key(
        200, "steps between checkpoints", unit="steps", ge=1, le=MANY, cosmetic=True
    )
    keep: int = key(
        3,
        "newest checkpoints kept, beside the last one before the decay; older ones go",
        ge=1,
        le=MANY,
        cosmetic=True,
    )
    log_every: int = key(
        10, "steps between lines of the metrics file", unit="steps", ge=1, le=MANY, cosmetic=True
    )
    sample_tokens: int = key(
        48,
        "tokens generated at each evaluation; 0 for none",
        unit="tokens",
        ge=0,
        le=MANY,
        cosmetic=True,
    )
    sample_prompt: str = key("The function returns", "what each sample continues", cosmetic=True)

    def decisive(self) -> frozenset[str]:
        """Which weights are the best depends on when and on what they are measured."""
        measured = frozenset({"eval_every", "eval_tokens"})
        return measured if self.__dict__.get("keep_best") else frozenset()


MIX = 0.4  # sft.mix of a run that tunes its own model


class Sft(Section):
    """Instruction tuning: packed conversations in, results/sft_model.pt out. No key of it touches
    the base model.
    """

    base: str | None = key(
        None,
        "model to start from, a file of ours or a folder that export or transformers wrote; null "
        "for results/final_model.pt",
    )
    epochs: float = key(2.0, "times each conversation is seen", gt=0, le=1000)
    mix: float | None = key(
        None,
        "share of the tokens that is pretraining text, so that the model goes on knowing it; null "
        f"for {MIX}, and for 0 with a `base` of your own, whose text may be another",
        ge=0,
        le=0.95,
    )
    batch_rows: int = key(
        1,
        "packed rows of `sft_data.context` tokens in an optimizer step; text comes beside them",
        unit="rows",
        ge=1,
        le=MANY,
    )
    micro_batch: int = key(8, "rows in one forward pass", unit="rows", ge=1, le=MANY)
    lr: float = key(
        0.01,
        "peak learning rate of the matrices (Muon); a base of a few hundred steps takes as much as "
        "pretraining",
        gt=0,
        le=1,
    )
    embedding_lr: float = key(
        0.002, "peak learning rate of the embedding table (AdamW)", gt=0, le=1
    )
    head_lr: float = key(0.001, "peak learning rate of the output head (AdamW)", gt=0, le=1)
    scalar_lr: float = key(0.002, "peak learning rate of the norms' gains (AdamW)", gt=0, le=1)
    weight_decay: float = key(
        0.0, "decoupled weight decay of the matrices; none of low-rank updates", ge=0, le=1
    )
    warmup: float = key(
        0.03, "first share of the steps, over which the learning rate rises", ge=0, le=1
    )
    clip: float | None = key(
        1.0, "gradient norm above which gradients are scaled down; null for never", gt=0
    )
    lora_rank: int = key(
        0,
        "rank of low-rank updates of the matrices inside blocks, which alone learn then, at "
        "lora_lr; 0 trains all weights",
        ge=0,
        le=4096,
    )
    lora_alpha: float = key(16.0, "scale of the low-rank updates: alpha / rank", gt=0)
    lora_lr: float = key(0.02, "peak learning rate of the low-rank updates (AdamW)", gt=0, le=1)
    seed: int | None = key(
        None,
        "chance in tuning: order of the packs, first low-rank factors; null for train.seed",
        ge=0,
        le=2**32 - 1,
    )
    eval_every: int = key(
        50, "steps between evaluations", unit="steps", ge=1, le=MANY, cosmetic=True
    )
    save_every: int = key(
        50, "steps between checkpoints", unit="steps", ge=1, le=MANY, cosmetic=True
    )
    keep: int = key(2, "newest checkpoints kept; older ones go", ge=1, le=MANY, cosmetic=True)
    log_every: int = key(
        10, "steps between lines of the metrics file", unit="steps", ge=1, le=MANY, cosmetic=True
    )
