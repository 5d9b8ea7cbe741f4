# Figures and tables. `snakemake --report` puts them into one HTML, in the order of their categories.


rule plot_metrics:
    input:
        model=results("final_model.pt"),
        metrics=results("logs/training_metrics.csv"),
        baseline=results("tables/baseline.json"),
        train_bin=results("data/processed/train.bin"),
        config=settings("analysis/plot_metrics"),
    output:
        summary=reported("tables/summary.html", "verdict", "1. Verdict and cost"),
        bits_per_byte=reported(
            "figures/bits_per_byte.svg", "verdict", "2. Bits per byte"
        ),
        samples=reported("tables/samples.html", "verdict", "3. Samples"),
        funnel=reported("figures/funnel.svg", "data", "1. Documents kept and dropped"),
        document_lengths=reported(
            "figures/document_lengths.svg", "data", "2. Document lengths"
        ),
        loss=reported("figures/loss.svg", "pretraining", "1. Loss"),
        learning_rate=reported(
            "figures/learning_rate.svg", "pretraining", "2. Learning rate"
        ),
        gradient_norm=reported(
            "figures/gradient_norm.svg", "pretraining", "3. Gradient norm"
        ),
        throughput=reported("figures/throughput.svg", "pretraining", "4. Speed"),
        configuration=reported(
            "tables/configuration.html", "provenance", "Settings, versions, hashes"
        ),
    log:
        log("plot_metrics"),
    benchmark:
        timing("plot_metrics")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        # Written by earlier steps beside their outputs; read where they are there.
        samples=results("logs/samples.jsonl"),
        training_log=results("logs/training.log"),
        artefacts=DOCUMENTED,
        timings=TIMED,
        rerun=lambda wildcards, input: same_again(input.config),
        shown=lambda wildcards: shown("analysis/plot_metrics", "train", "prepare"),
        figures=subpath(output.loss, parent=True),
        tables=subpath(output.summary, parent=True),
    shell:
        'python "$SNAKELM"/scripts/analysis/plot_metrics.py --config {input.config:q} {params.shown:q}'
        " --metrics {input.metrics:q} --samples {params.samples:q} --training-log {params.training_log:q}"
        " --baseline {input.baseline:q} --train-bin {input.train_bin:q} --artefacts {params.artefacts:q}"
        " --timings {params.timings:q} --rerun {params.rerun:q}"
        " --figures {params.figures:q} --tables {params.tables:q} --log {log:q}"


rule plot_filter:
    input:
        measured=results("tables/setfit_train.json"),
        documents=results("data/filtered/documents.parquet"),
        near=results("data/filtered/near_threshold.json"),
        config=settings("analysis/plot_filter"),
    output:
        figure=reported(
            "figures/filter_threshold.svg", "data", "3. The filter's threshold"
        ),
        table=reported(
            "tables/filter.html", "data", "4. Kept and dropped by the filter"
        ),
    log:
        log("plot_filter"),
    benchmark:
        timing("plot_filter")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    shell:
        'python "$SNAKELM"/scripts/analysis/plot_filter.py --measured {input.measured:q}'
        " --documents {input.documents:q} --near {input.near:q} --figure {output.figure:q}"
        " --table {output.table:q} --log {log:q}"
