# Raw documents to token files.
if any(source.url for source in CONFIG.sources):
    from snakelm.workflow.fetching import AddressSecrets

    secrets = AddressSecrets(
        url for source in CONFIG.sources for url in as_list(source.url)
    )
    logger.addFilter(secrets.hide)

    storage http:
        provider="http",
        retries=5,
        auth=secrets,


# Before the first job of a run, every file is looked at once (onstart, below). No rule takes what is found as an input:
# a check of the whole must not be a reason to sample one source again.
rule preflight:
    input:
        awaited=awaited(*(source.path for source in CONFIG.sources)),
        stamp=own_stamps,
        forget=forget_lists,
        labels=label_stamp if CHECKS["filtered"] else [],
        config=settings("preflight"),
    output:
        output=results("tables/preflight.json"),
    log:
        log("preflight"),
    benchmark:
        timing("preflight")
    conda:
        # Where the filter is on, this looks whether its packages are there.
        "../envs/filter.yaml" if CHECKS["filtered"] else "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=30,
    shell:
        command("preflight")


onstart:
    end_with_jobs()
    hold_results()
    note_shared()
    look_first()


rule collect:
    input:
        files=fetched_files,
        config=settings("collect"),
    output:
        output=results("data/raw/{source}.parquet"),
    log:
        log("collect.{source}"),
    benchmark:
        timing("collect.{source}")
    conda:
        "../envs/preparation.yaml"
    threads: 2
    resources:
        mem_mb=growing(2000),
        runtime=120,
    shell:
        command("collect")


rule sample_data:
    input:
        files=collected_file,
        awaited=awaited_source,
        stamp=source_stamp,
        config=settings("sample_data"),
    output:
        output=results("data/sampled/{source}.parquet"),
    log:
        log("sample_data.{source}"),
    benchmark:
        timing("sample_data.{source}")
    conda:
        "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=240,
    shell:
        command("sample_data")


rule deduplicate:
    input:
        inputs=expand(results("data/sampled/{source}.parquet"), source=SOURCES),
        config=settings("deduplicate"),
    output:
        output=results("data/deduplicated/documents.parquet"),
    log:
        log("deduplicate"),
    benchmark:
        timing("deduplicate")
    conda:
        "../envs/preparation.yaml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=480,
    shell:
        command("deduplicate")


rule forget:
    input:
        documents=documents("not_forgotten"),
        sampled=(
            expand(results("data/sampled/{source}.parquet"), source=SOURCES)
            if CONFIG.forget.documents
            else []
        ),
        awaited=awaited(CONFIG.forget.documents),
        stamp=forgotten_documents,
        config=settings("forget"),
    output:
        output=results("data/not_forgotten/documents.parquet"),
        places=results("data/not_forgotten/places.json"),
    log:
        log("forget"),
    benchmark:
        timing("forget")
    conda:
        "../envs/preparation.yaml"
    threads: 2
    resources:
        mem_mb=growing(2000),
        runtime=480,
    shell:
        command("forget")


rule personal_data:
    input:
        documents=documents("personal_data"),
        config=settings("personal_data"),
    output:
        output=results("data/personal_data/documents.parquet"),
        places=results("data/personal_data/places.json"),
    log:
        log("personal_data"),
    benchmark:
        timing("personal_data")
    conda:
        "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=480,
    shell:
        command("personal_data")


rule languages:
    input:
        documents=documents("languages"),
        config=settings("languages"),
    output:
        output=results("data/languages/documents.parquet"),
        examples=results("data/languages/examples.json"),
    log:
        log("languages"),
    benchmark:
        timing("languages")
    conda:
        "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=480,
    shell:
        command("languages")


rule quality:
    input:
        documents=documents("quality"),
        config=settings("quality"),
    output:
        output=results("data/quality/documents.parquet"),
        examples=results("data/quality/examples.json"),
    log:
        log("quality"),
    benchmark:
        timing("quality")
    conda:
        "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=480,
    shell:
        command("quality")


rule filter_dataset:
    input:
        documents=documents("filtered"),
        model=files_of("models/academic_filter", FILTER),
        config=settings("filter_dataset"),
    output:
        output=results("data/filtered/documents.parquet"),
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
        mem_mb=growing(4000),
        runtime=1440,
    shell:
        command("filter_dataset")


rule decontaminate:
    input:
        documents=documents("decontaminated"),
        awaited=awaited(CONFIG.decontaminate.files),
        stamp=evaluation_stamp,
        config=settings("decontaminate"),
    output:
        output=results("data/decontaminated/documents.parquet"),
        examples=results("data/decontaminated/examples.json"),
    log:
        log("decontaminate"),
    benchmark:
        timing("decontaminate")
    conda:
        "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=480,
    shell:
        command("decontaminate")


rule train_tokenizer:
    input:
        documents=documents(),
        awaited=awaited(BROUGHT),
        stamp=tokenizer_stamp if BROUGHT else [],
        pretrained=pretrained_tokenizer_stamps,
        config=settings("train_tokenizer"),
    output:
        files_of("tokenizer", TOKENIZER),
    log:
        log("train_tokenizer"),
    benchmark:
        timing("train_tokenizer")
    conda:
        "../envs/preparation.yaml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=120,
    shell:
        command("train_tokenizer")


rule prepare_shard:
    input:
        documents=documents(),
        tokenizer=results("tokenizer/meta.json"),
        config=settings("prepare_shard"),
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
    threads: 4
    resources:
        mem_mb=growing(2000),
        runtime=240,
    shell:
        command("prepare_shard")


rule prepare_data:
    input:
        shards=shards_of(["bin"]),
        beside=shards_of(["idx", "bin.manifest.json"]),
        tokenizer=results("tokenizer/meta.json"),
        config=settings("prepare_data"),
    output:
        files_of("data/processed", TOKEN_FILES),
    log:
        log("prepare_data"),
    benchmark:
        timing("prepare_data")
    conda:
        "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=240,
    shell:
        command("prepare_data")


rule prepare_sft_data:
    input:
        awaited=awaited(*(source.path for source in CONFIG.sft_data.sources)),
        stamp=conversation_stamp,
        forget=forgotten_conversations,
        tokenizer=results("tokenizer/meta.json"),
        config=settings("prepare_sft_data"),
    output:
        files_of("data/processed", PACKS),
    log:
        log("prepare_sft_data"),
    benchmark:
        timing("prepare_sft_data")
    conda:
        "../envs/preparation.yaml"
    threads: 2
    resources:
        mem_mb=growing(2000),
        runtime=240,
    shell:
        command("prepare_sft_data")


rule prepare_preferences:
    input:
        awaited=awaited(*(source.path for source in CONFIG.preferences.sources)),
        stamp=preference_stamp,
        forget=forgotten_preferences,
        tokenizer=results("tokenizer/meta.json"),
        config=settings("prepare_preferences"),
    output:
        files_of("data/processed", PREFERENCE_PACKS),
    log:
        log("prepare_preferences"),
    benchmark:
        timing("prepare_preferences")
    priority: 1  # before hours of training: what it refuses is known soon
    conda:
        "../envs/preparation.yaml"
    threads: 2
    resources:
        mem_mb=growing(2000),
        runtime=240,
    shell:
        command("prepare_preferences")
