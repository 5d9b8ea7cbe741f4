# Token files to a model.


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
