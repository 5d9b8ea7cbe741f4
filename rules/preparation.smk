# Raw documents to token files.
if any(source.url for source in CONFIG.sources):

    storage http:
        provider="http",
        retries=5,


rule preflight:
    input:
        files=[file for source in CONFIG.sources for file in local_files(source)],
        labels=LABELS if CHECKS["filtered"] else [],
        config=settings(
            "preparation/preflight", "sources", "on_bad_file", "filter", "classifier"
        ),
    output:
        results("tables/preflight.json"),
    log:
        log("preflight"),
    benchmark:
        timing("preflight")
    conda:
        # Where the filter is on, this looks whether its packages are there.
        "../envs/filter.yaml" if CHECKS["filtered"] else "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    shell:
        'python "$SNAKELM"/scripts/preparation/preflight.py --config {input.config:q}'
        " --output {output:q} --log {log:q}"


rule collect:
    input:
        files=fetched_files,
        config=settings("preparation/collect", "sources", "on_bad_file", "seed"),
    output:
        results("data/raw/{source}.parquet"),
    log:
        log("collect.{source}"),
    benchmark:
        timing("collect.{source}")
    conda:
        "../envs/preparation.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=120,
    shell:
        'python "$SNAKELM"/scripts/preparation/collect.py --config {input.config:q}'
        " --source {wildcards.source:q} --files {input.files:q} --output {output:q} --log {log:q}"


rule sample_data:
    input:
        files=source_files,
        preflight=results("tables/preflight.json"),
        config=settings("preparation/sample_data", "sources", "on_bad_file", "seed"),
    output:
        results("data/sampled/{source}.parquet"),
    log:
        log("sample_data.{source}"),
    benchmark:
        timing("sample_data.{source}")
    conda:
        "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    shell:
        'python "$SNAKELM"/scripts/preparation/sample_data.py --config {input.config:q}'
        " --source {wildcards.source:q} --files {input.files:q} --output {output:q} --log {log:q}"


rule deduplicate:
    input:
        sampled=expand(results("data/sampled/{source}.parquet"), source=SOURCES),
        config=settings("preparation/deduplicate", "sources", "deduplicate", "seed"),
    output:
        results("data/deduplicated/documents.parquet"),
    log:
        log("deduplicate"),
    benchmark:
        timing("deduplicate")
    conda:
        "../envs/preparation.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=480,
    shell:
        'python "$SNAKELM"/scripts/preparation/deduplicate.py --config {input.config:q}'
        " --inputs {input.sampled:q} --output {output:q} --threads {threads} --log {log:q}"


rule quality:
    input:
        documents=documents("quality"),
        config=settings("preparation/quality", "quality", "seed"),
    output:
        documents=results("data/quality/documents.parquet"),
        examples=results("data/quality/examples.json"),
    log:
        log("quality"),
    benchmark:
        timing("quality")
    conda:
        "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=480,
    shell:
        'python "$SNAKELM"/scripts/preparation/quality.py --config {input.config:q}'
        " --documents {input.documents:q} --output {output.documents:q} --examples {output.examples:q} --log {log:q}"


rule filter_dataset:
    input:
        documents=documents("filtered"),
        model=results("models/academic_filter/filter.json"),
        weights=multiext(
            results("models/academic_filter/"),
            "head.safetensors",
            "static.safetensors",
            "model.safetensors",
        ),
        config=settings("preparation/filter_dataset", "filter", "seed"),
    output:
        documents=results("data/filtered/documents.parquet"),
        scores=results("data/filtered/scores.parquet"),
        near=results("data/filtered/near_threshold.json"),
    log:
        log("filter_dataset"),
    benchmark:
        timing("filter_dataset")
    conda:
        "../envs/filter.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        model=subpath(input.model, parent=True),
    shell:
        'python "$SNAKELM"/scripts/preparation/filter_dataset.py --config {input.config:q}'
        " --documents {input.documents:q} --model {params.model:q} --output {output.documents:q}"
        " --threads {threads} --log {log:q}"


rule decontaminate:
    input:
        documents=documents("decontaminated"),
        evaluation=evaluation_files(),
        config=settings("preparation/decontaminate", "decontaminate", "seed"),
    output:
        documents=results("data/decontaminated/documents.parquet"),
        examples=results("data/decontaminated/examples.json"),
    log:
        log("decontaminate"),
    benchmark:
        timing("decontaminate")
    conda:
        "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=480,
    shell:
        'python "$SNAKELM"/scripts/preparation/decontaminate.py --config {input.config:q}'
        " --documents {input.documents:q} --evaluation {input.evaluation:q}"
        " --output {output.documents:q} --examples {output.examples:q} --log {log:q}"


rule train_tokenizer:
    input:
        documents=documents(),
        brought=[CONFIG.tokenizer.file] if CONFIG.tokenizer.kind == "tiktoken" else [],
        config=settings("preparation/train_tokenizer", "tokenizer", "prepare", "seed"),
    output:
        multiext(results("tokenizer/"), "ranks.tiktoken", "tokenizer.json", "meta.json"),
    log:
        log("train_tokenizer"),
    benchmark:
        timing("train_tokenizer")
    conda:
        "../envs/preparation.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        folder=subpath(output[0], parent=True),
    shell:
        'python "$SNAKELM"/scripts/preparation/train_tokenizer.py --config {input.config:q}'
        " --documents {input.documents:q} --output {params.folder:q} --threads {threads} --log {log:q}"


rule prepare_shard:
    input:
        documents=documents(),
        tokenizer=results("tokenizer/meta.json"),
        config=settings("preparation/prepare_shard", "sources", "prepare", "seed"),
    output:
        temp(
            expand(
                results("data/processed/shards/{{shards}}/{split}-{{shard}}.{kind}"),
                split=["train", "val"],
                kind=["bin", "idx", "bin.manifest.json"],
            )
        ),
    log:
        log("prepare_shard.{shard}-of-{shards}"),
    benchmark:
        timing("prepare_shard.{shard}-of-{shards}")
    conda:
        "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        tokenizer=subpath(input.tokenizer, parent=True),
        folder=subpath(output[0], parent=True),
    shell:
        'python "$SNAKELM"/scripts/preparation/prepare_shard.py --config {input.config:q}'
        " --documents {input.documents:q} --tokenizer {params.tokenizer:q}"
        " --shard {wildcards.shard} --of {wildcards.shards} --output-dir {params.folder:q} --log {log:q}"


rule prepare_data:
    input:
        shards=expand(
            results(f"data/processed/shards/{SHARDS}/{{split}}-{{shard}}.{{kind}}"),
            split=["train", "val"],
            shard=range(SHARDS),
            kind=["bin", "idx", "bin.manifest.json"],
        ),
        tokenizer=results("tokenizer/meta.json"),
        config=settings("preparation/prepare_data", "prepare", "evaluate", "seed"),
    output:
        multiext(
            results("data/processed/"),
            "train.bin",
            "train.idx",
            "val.bin",
            "val.idx",
            "val_overlap.npy",
        ),
    log:
        log("prepare_data"),
    benchmark:
        timing("prepare_data")
    conda:
        "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        tokenizer=subpath(input.tokenizer, parent=True),
        shards=subpath(input[0], parent=True),
        folder=subpath(output[0], parent=True),
    shell:
        'python "$SNAKELM"/scripts/preparation/prepare_data.py --config {input.config:q}'
        " --shards {params.shards:q} --tokenizer {params.tokenizer:q} --output-dir {params.folder:q} --log {log:q}"


rule prepare_sft_data:
    input:
        files=conversation_files,
        tokenizer=results("tokenizer/meta.json"),
        config=settings(
            "preparation/prepare_sft_data", "sft_data", "on_bad_file", "seed"
        ),
    output:
        multiext(
            results("data/processed/"),
            "train_sft_packed.bin",
            "train_sft_packed.idx",
            "val_sft_packed.bin",
            "val_sft_packed.idx",
        ),
    log:
        log("prepare_sft_data"),
    benchmark:
        timing("prepare_sft_data")
    conda:
        "../envs/preparation.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        tokenizer=subpath(input.tokenizer, parent=True),
        folder=subpath(output[0], parent=True),
    shell:
        'python "$SNAKELM"/scripts/preparation/prepare_sft_data.py --config {input.config:q}'
        " --tokenizer {params.tokenizer:q} --output-dir {params.folder:q} --threads {threads} --log {log:q}"
