# The public summary of training content: `snakemake training_summary`, a target of its own
# (docs/TRAINING_PROCESS.md, The training-content summary).


rule training_summary:
    input:
        model=results(LAST if TUNED else "final_model.pt"),
        config=settings("training_summary"),
    output:
        output=results("models/final/training_content_summary.md"),
    log:
        log("training_summary"),
    benchmark:
        timing("training_summary")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        artefacts=artefacts("preparation", "training"),
    shell:
        command("training_summary")
