# What looks at a finished model and its documents, and writes it down as people use it.


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


rule measure_tokenizer:
    input:
        processed=multiext(
            results("data/processed/"), "train.bin", "train.idx", "val.bin", "val.idx"
        ),
        tokenizer=results("tokenizer/meta.json"),
        documents=documents(),
        config=settings("analysis/measure_tokenizer", "seed"),
    output:
        results("tables/tokens.json"),
    log:
        log("measure_tokenizer"),
    benchmark:
        timing("measure_tokenizer")
    conda:
        "../envs/analysis.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        tokenizer=subpath(input.tokenizer, parent=True),
        processed=subpath(input[0], parent=True),
    shell:
        'python "$SNAKELM"/scripts/analysis/measure_tokenizer.py --config {input.config:q}'
        " --documents {input.documents:q} --tokenizer {params.tokenizer:q} --processed {params.processed:q}"
        " --threads {threads} --output {output:q} --log {log:q}"


rule export:
    input:
        model=results("sft_model.pt" if CONFIG.export == "sft" else "final_model.pt"),
        tokenizer=results("tokenizer/meta.json"),
        evaluation=results("tables/evaluation.json"),
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
        # What the model card says of licences: a word there is no reason to export again.
        shown=lambda wildcards: shown("analysis/export", "sources", "sft_data"),
    shell:
        'python "$SNAKELM"/scripts/analysis/export.py --config {input.config:q} {params.shown:q} --model {input.model:q}'
        " --tokenizer {params.tokenizer:q} --artefacts {params.artefacts:q} --evaluation {input.evaluation:q}"
        " --output {params.folder:q} --log {log:q}"


rule export_gguf:
    input:
        model=results("sft_model.pt" if CONFIG.export == "sft" else "final_model.pt"),
        tokenizer=results("tokenizer/meta.json"),
        config=settings("analysis/export_gguf", "export", "seed"),
    output:
        results("models/final/model.gguf"),
    log:
        log("export_gguf"),
    benchmark:
        timing("export_gguf")
    conda:
        "../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        tokenizer=subpath(input.tokenizer, parent=True),
    shell:
        'python "$SNAKELM"/scripts/analysis/export_gguf.py --config {input.config:q} --model {input.model:q}'
        " --tokenizer {params.tokenizer:q} --output {output:q} --log {log:q}"


rule loss:
    input:
        processed=multiext(
            results("data/processed/"),
            "train.bin",
            "train.idx",
            "val.bin",
            "val.idx",
            "val_overlap.npy",
        ),
        base=results("final_model.pt"),
        tuned=results("sft_model.pt") if TUNED else [],
        packs=(
            multiext(
                results("data/processed/"), "val_sft_packed.bin", "val_sft_packed.idx"
            )
            if TUNED
            else []
        ),
        documents=documents(),
        tokenizer=results("tokenizer/meta.json"),
        metrics=results("logs/training_metrics.csv"),
        config=settings("analysis/loss", "evaluate", "seed"),
    output:
        table=results("tables/loss.json"),
        documents=results("tables/loss_documents.parquet"),
    log:
        log("loss"),
    benchmark:
        timing("loss")
    conda:
        "../envs/training.yaml"
    threads: 8
    resources:
        mem_mb=6000,
        runtime=240,
    params:
        tuned=lambda wildcards, input: ["--tuned", input.tuned] if input.tuned else [],
        processed=subpath(input[0], parent=True),
        tokenizer=subpath(input.tokenizer, parent=True),
    shell:
        'python "$SNAKELM"/scripts/analysis/loss.py --config {input.config:q} --base {input.base:q} {params.tuned:q}'
        " --processed {params.processed:q} --documents {input.documents:q} --tokenizer {params.tokenizer:q}"
        " --metrics {input.metrics:q} --output {output.table:q} --per-document {output.documents:q}"
        " --threads {threads} --log {log:q}"


rule evaluate:
    input:
        val=multiext(results("data/processed/"), "val.bin", "val.idx"),
        base=results("final_model.pt"),
        tuned=results("sft_model.pt") if TUNED else [],
        packs=(
            multiext(
                results("data/processed/"), "val_sft_packed.bin", "val_sft_packed.idx"
            )
            if TUNED
            else []
        ),
        tokenizer=results("tokenizer/meta.json"),
        loss=results("tables/loss.json"),
        files=task_files,
        config=settings("analysis/evaluate", "tasks", "seed"),
    output:
        table=results("tables/evaluation.json"),
        each=results("tables/evaluation_items.jsonl"),
    log:
        log("evaluate"),
    benchmark:
        timing("evaluate")
    conda:
        "../envs/training.yaml"
    threads: 8
    resources:
        mem_mb=6000,
        runtime=240,
    params:
        tuned=lambda wildcards, input: ["--tuned", input.tuned] if input.tuned else [],
        processed=subpath(input[0], parent=True),
        tokenizer=subpath(input.tokenizer, parent=True),
    shell:
        'python "$SNAKELM"/scripts/analysis/evaluate.py --config {input.config:q} --base {input.base:q} {params.tuned:q}'
        " --processed {params.processed:q} --tokenizer {params.tokenizer:q} --loss {input.loss:q}"
        " --output {output.table:q} --items {output.each:q} --threads {threads} --log {log:q}"


rule generate_embeddings:
    input:
        documents=documents(),
        scores=results("data/filtered/scores.parquet") if CHECKS["filtered"] else [],
        model=results("final_model.pt"),
        tokenizer=results("tokenizer/meta.json"),
        val=results("data/processed/val.bin"),
        val_index=results("data/processed/val.idx"),
        # Of `train` it reads the device and the precision.
        config=settings(
            "analysis/generate_embeddings",
            "embeddings",
            "train",
            "seed",
            *(["classifier"] if CONFIG.embeddings.by == "sentence" else []),
        ),
    output:
        results("embeddings/documents.parquet"),
    log:
        log("generate_embeddings"),
    benchmark:
        timing("generate_embeddings")
    conda:
        (
            "../envs/filter.yaml"
            if CONFIG.embeddings.by == "sentence"
            else "../envs/training.yaml"
        )
    threads: 8
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        tokenizer=subpath(input.tokenizer, parent=True),
        scores=lambda wildcards, input: (
            ["--scores", input.scores] if input.scores else []
        ),
    shell:
        'python "$SNAKELM"/scripts/analysis/generate_embeddings.py --config {input.config:q}'
        " --documents {input.documents:q} {params.scores:q} --model {input.model:q}"
        " --tokenizer {params.tokenizer:q} --val {input.val:q} --output {output:q}"
        " --threads {threads} --log {log:q}"
