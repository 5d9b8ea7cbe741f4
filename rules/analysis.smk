# What looks at a finished model and its documents, and writes it down as people use it.


rule baseline:
    input:
        processed=files_of("data/processed", TOKEN_FILES),
        tokenizer=results("tokenizer/meta.json"),
        config=settings("baseline"),
    output:
        output=results("tables/baseline.json"),
    log:
        log("baseline"),
    benchmark:
        timing("baseline")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        # 32 bytes of the compressor's model for a byte of training text and held-out text, and room for the text
        mem_mb=growing(1000 + int(70 * CONFIG.evaluate.compressor_mb)),
        runtime=60,
    shell:
        command("baseline")


rule measure_tokenizer:
    input:
        processed=multiext(
            results("data/processed/"), "train.bin", "train.idx", "val.bin", "val.idx"
        ),
        tokenizer=results("tokenizer/meta.json"),
        documents=documents(),
        config=settings("measure_tokenizer"),
    output:
        output=results("tables/tokens.json"),
    log:
        log("measure_tokenizer"),
    benchmark:
        timing("measure_tokenizer")
    conda:
        "../envs/analysis.yaml"
    threads: 2
    resources:
        mem_mb=growing(2000),
        runtime=60,
    shell:
        command("measure_tokenizer")


rule export:
    input:
        model=results(LAST if TUNED else "final_model.pt"),
        tokenizer=results("tokenizer/meta.json"),
        evaluation=results("tables/evaluation.json"),
        config=settings("export"),
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
        mem_mb=growing(4000),
        runtime=60,
    params:
        artefacts=artefacts("preparation", "training"),
    shell:
        command("export")


rule export_gguf:
    input:
        model=results(LAST if TUNED else "final_model.pt"),
        tokenizer=results("tokenizer/meta.json"),
        config=settings("export_gguf"),
    output:
        output=results("models/final/model.gguf"),
        modelfile=results("models/final/Modelfile"),
    log:
        log("export_gguf"),
    benchmark:
        timing("export_gguf")
    conda:
        "../envs/training.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=60,
    shell:
        command("export_gguf")


rule loss:
    input:
        processed=files_of("data/processed", TOKEN_FILES),
        base=results("final_model.pt"),
        tuned=results(LAST) if TUNED else [],
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
        config=settings("loss"),
    output:
        output=results("tables/loss.json"),
        per_document=results("tables/loss_documents.parquet"),
    log:
        log("loss"),
    benchmark:
        timing("loss")
    conda:
        "../envs/training.yaml"
    threads: 8
    resources:
        mem_mb=growing(6000),
        runtime=240,
    shell:
        command("loss")


rule evaluate:
    input:
        processed=multiext(results("data/processed/"), "val.bin", "val.idx"),
        base=results("final_model.pt"),
        tuned=results(LAST) if TUNED else [],
        packs=(
            multiext(
                results("data/processed/"), "val_sft_packed.bin", "val_sft_packed.idx"
            )
            if TUNED
            else []
        ),
        tokenizer=results("tokenizer/meta.json"),
        loss=results("tables/loss.json"),
        awaited=awaited(*(task.path for task in CONFIG.tasks)),
        stamp=task_stamp,
        config=settings("evaluate"),
    output:
        output=results("tables/evaluation.json"),
        items_=results("tables/evaluation_items.jsonl"),
    log:
        log("evaluate"),
    benchmark:
        timing("evaluate")
    conda:
        "../envs/training.yaml"
    threads: 8
    resources:
        mem_mb=growing(6000),
        runtime=240,
    shell:
        command("evaluate")


rule generate_embeddings:
    input:
        documents=documents(),
        scores=results("data/filtered/scores.parquet") if CHECKS["filtered"] else [],
        model=results("final_model.pt"),
        tokenizer=results("tokenizer/meta.json"),
        val=results("data/processed/val.bin"),
        val_index=results("data/processed/val.idx"),
        config=settings("generate_embeddings"),
    output:
        output=results("embeddings/documents.parquet"),
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
        mem_mb=growing(4000),
        runtime=1440,
    shell:
        command("generate_embeddings")
