# What a run is judged by: the baseline, figures and tables. `snakemake --report` puts them into one HTML.
# What has a manifest beside it: counts for the funnel, hashes and versions for the provenance.
COLLECTED = [name for name, source in SOURCES.items() if not source.path]
DOCUMENTED = [
    *expand(results("data/raw/{source}.parquet"), source=COLLECTED),
    *expand(results("data/sampled/{source}.parquet"), source=SOURCES),
    results("data/deduplicated/documents.parquet"),
    *(results(f"data/{name}/documents.parquet") for name in CHECKS if CHECKS[name]),
    results("tokenizer/meta.json"),
    results("data/processed/train.bin"),
    results("data/processed/val.bin"),
    results("data/processed/val_overlap.npy"),
    results("tables/baseline.json"),
    results("final_model.pt"),
]
TIMED = [
    timing("preflight"),
    *(timing(f"collect.{source}") for source in COLLECTED),
    *(timing(f"sample_data.{source}") for source in SOURCES),
    timing("deduplicate"),
    *map(timing, ["quality"] if CHECKS["quality"] else []),
    *map(timing, ["setfit_train", "filter_dataset"] if CHECKS["filtered"] else []),
    *map(timing, ["decontaminate"] if CHECKS["decontaminated"] else []),
    timing("train_tokenizer"),
    *(timing(f"prepare_shard.{shard}-of-{SHARDS}") for shard in range(SHARDS)),
    timing("prepare_data"),
    timing("baseline"),
    timing("train"),
]


rule baseline:
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
        config=settings("analysis/baseline", "evaluate", "seed"),
    output:
        results("tables/baseline.json"),
    log:
        log("baseline"),
    benchmark:
        timing("baseline")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        # 32 bytes of the compressor's model for a byte of training text and held-out text, and room for the text
        mem_mb=1000 + int(70 * CONFIG.evaluate.compressor_mb),
        runtime=60,
    params:
        processed=subpath(input[0], parent=True),
        tokenizer=subpath(input.tokenizer, parent=True),
    shell:
        'python "$SNAKELM"/scripts/analysis/baseline.py --config {input.config:q}'
        " --processed {params.processed:q} --tokenizer {params.tokenizer:q} --output {output:q} --log {log:q}"


rule plot_metrics:
    input:
        model=results("final_model.pt"),
        metrics=results("logs/training_metrics.csv"),
        baseline=results("tables/baseline.json"),
        train_bin=results("data/processed/train.bin"),
        config=settings("analysis/plot_metrics"),
    output:
        summary=report(
            results("tables/summary.html"),
            caption="../report/summary.rst",
            category="1. Verdict",
            labels={"what": "1. Verdict and cost"},
        ),
        bits_per_byte=report(
            results("figures/bits_per_byte.svg"),
            caption="../report/bits_per_byte.rst",
            category="1. Verdict",
            labels={"what": "2. Bits per byte"},
        ),
        samples=report(
            results("tables/samples.html"),
            caption="../report/samples.rst",
            category="1. Verdict",
            labels={"what": "3. Samples"},
        ),
        funnel=report(
            results("figures/funnel.svg"),
            caption="../report/funnel.rst",
            category="2. Data",
            labels={"what": "1. Documents kept and dropped"},
        ),
        document_lengths=report(
            results("figures/document_lengths.svg"),
            caption="../report/document_lengths.rst",
            category="2. Data",
            labels={"what": "2. Document lengths"},
        ),
        loss=report(
            results("figures/loss.svg"),
            caption="../report/loss.rst",
            category="3. Pretraining",
            labels={"what": "1. Loss"},
        ),
        learning_rate=report(
            results("figures/learning_rate.svg"),
            caption="../report/learning_rate.rst",
            category="3. Pretraining",
            labels={"what": "2. Learning rate"},
        ),
        gradient_norm=report(
            results("figures/gradient_norm.svg"),
            caption="../report/gradient_norm.rst",
            category="3. Pretraining",
            labels={"what": "3. Gradient norm"},
        ),
        throughput=report(
            results("figures/throughput.svg"),
            caption="../report/throughput.rst",
            category="3. Pretraining",
            labels={"what": "4. Speed"},
        ),
        configuration=report(
            results("tables/configuration.html"),
            caption="../report/configuration.rst",
            category="4. Provenance",
            labels={"what": "Settings, versions, hashes"},
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


rule export:
    input:
        model=results("sft_model.pt" if CONFIG.export == "sft" else "final_model.pt"),
        tokenizer=results("tokenizer/meta.json"),
        config=settings("analysis/export", "export", "seed"),
    output:
        multiext(
            results("models/final/"),
            "model.safetensors",
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "model.pt",
            "README.md",
        ),
    log:
        log("export"),
    benchmark:
        timing("export")
    conda:
        "../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        tokenizer=subpath(input.tokenizer, parent=True),
        folder=subpath(output[0], parent=True),
        artefacts=DOCUMENTED,
    shell:
        'python "$SNAKELM"/scripts/analysis/export.py --config {input.config:q} --model {input.model:q}'
        " --tokenizer {params.tokenizer:q} --artefacts {params.artefacts:q} --output {params.folder:q} --log {log:q}"


rule plot_filter:
    input:
        measured=results("tables/setfit_train.json"),
        documents=results("data/filtered/documents.parquet"),
        near=results("data/filtered/near_threshold.json"),
        config=settings("analysis/plot_filter"),
    output:
        figure=report(
            results("figures/filter_threshold.svg"),
            caption="../report/filter_threshold.rst",
            category="2. Data",
            labels={"what": "3. The filter's threshold"},
        ),
        table=report(
            results("tables/filter.html"),
            caption="../report/filter.rst",
            category="2. Data",
            labels={"what": "4. Kept and dropped by the filter"},
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
