# Token files to a model.


rule setfit_train:
    input:
        documents=documents("filtered"),
        labels=LABELS,
        preflight=results("tables/preflight.json"),
        config=settings("training/setfit_train", "classifier", "seed"),
    output:
        model=results("models/academic_filter/filter.json"),
        weights=multiext(
            results("models/academic_filter/"),
            "head.safetensors",
            "static.safetensors",
            "model.safetensors",
        ),
        table=results("tables/setfit_train.json"),
    log:
        log("setfit_train"),
    benchmark:
        timing("setfit_train")
    conda:
        "../envs/filter.yaml"
    threads: 8
    resources:
        mem_mb=6000,
        runtime=240,
    params:
        folder=subpath(output.model, parent=True),
    shell:
        'python "$SNAKELM"/scripts/training/setfit_train.py --config {input.config:q}'
        " --documents {input.documents:q} --output {params.folder:q} --table {output.table:q}"
        " --threads {threads} --log {log:q}"


rule train:
    input:
        processed=multiext(
            results("data/processed/"),
            "train.bin",
            "train.idx",
            "val.bin",
            "val.idx",
            "val_overlap.npy",
        ),
        tokenizer=results("tokenizer/meta.json"),
        baseline=results("tables/baseline.json"),
        config=settings("training/train", "model", "train", "evaluate", "seed"),
    output:
        # The run directory with the checkpoints is no output: Snakemake deletes outputs before a job and after a failed one.
        model=results("final_model.pt"),
        metrics=results("logs/training_metrics.csv"),
    log:
        log("train"),
    benchmark:
        timing("train")
    conda:
        "../envs/training.yaml"
    threads: 8
    resources:
        mem_mb=6000,
        runtime=1440,
    params:
        results=subpath(output.model, parent=True),
        shown=lambda wildcards: shown("training/train", "train"),
    shell:
        'python "$SNAKELM"/scripts/training/train.py --config {input.config:q} {params.shown:q}'
        " --results {params.results:q} --threads {threads} --log {log:q}"


rule train_sft:
    input:
        base=CONFIG.sft.base or results("final_model.pt"),
        processed=multiext(
            results("data/processed/"),
            "train_sft_packed.bin",
            "train_sft_packed.idx",
            "val_sft_packed.bin",
            "val_sft_packed.idx",
        ),
        tokenizer=results("tokenizer/meta.json"),
        # Of `train` it reads the device, the precision and the like; what else changes there makes no other run.
        config=settings("training/train_sft", "sft", "train", "seed"),
    output:
        model=results("sft_model.pt"),
        metrics=results("logs/sft_metrics.csv"),
    log:
        log("train_sft"),
    benchmark:
        timing("train_sft")
    conda:
        "../envs/training.yaml"
    threads: 8
    resources:
        mem_mb=6000,
        runtime=1440,
    params:
        results=subpath(output.model, parent=True),
        shown=lambda wildcards: shown("training/train_sft", "sft", "train"),
    shell:
        'python "$SNAKELM"/scripts/training/train_sft.py --config {input.config:q} {params.shown:q}'
        " --results {params.results:q} --base {input.base:q} --threads {threads} --log {log:q}"
