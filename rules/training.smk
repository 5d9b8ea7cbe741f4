# Token files to a model.


rule setfit_train:
    input:
        documents=documents("filtered"),
        awaited=awaited(LABELS),
        stamp=label_stamp,
        config=settings("setfit_train"),
    output:
        **by_stem(files_of("models/academic_filter", FILTER)),
        table=results("tables/setfit_train.json"),
    log:
        log("setfit_train"),
    benchmark:
        timing("setfit_train")
    conda:
        "../envs/filter.yaml"
    threads: 8
    resources:
        mem_mb=growing(6000),
        runtime=240,
    shell:
        command("setfit_train")


rule train:
    input:
        processed=files_of("data/processed", TOKEN_FILES),
        tokenizer=results("tokenizer/meta.json"),
        baseline=results("tables/baseline.json"),
        pretrained=pretrained_stamps,
        config=settings("train"),
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
        mem_mb=growing(6000),
        runtime=1440,
    params:
        results=lambda wildcards: PLACE,
        shown=shown("train"),
    shell:
        command("train")


rule train_sft:
    input:
        base=[] if BASE else results("final_model.pt"),
        awaited=awaited(BASE),
        stamp=base_stamp if BASE else [],
        processed=files_of("data/processed", PACKS),
        text=(
            [results("data/processed/train.bin"), results("data/processed/train.idx")]
            if CONFIG.sft.mix
            else []
        ),
        tokenizer=results("tokenizer/meta.json"),
        config=settings("train_sft"),
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
        mem_mb=growing(6000),
        runtime=1440,
    params:
        results=lambda wildcards: PLACE,
        shown=shown("train_sft"),
    shell:
        command("train_sft")


rule train_preferences:
    input:
        base=results("sft_model.pt"),
        processed=files_of("data/processed", PREFERENCE_PACKS),
        tokenizer=results("tokenizer/meta.json"),
        config=settings("train_preferences"),
    output:
        model=results("preference_model.pt"),
        metrics=results("logs/preference_metrics.csv"),
    log:
        log("train_preferences"),
    benchmark:
        timing("train_preferences")
    conda:
        "../envs/training.yaml"
    threads: 8
    resources:
        mem_mb=growing(6000),
        runtime=1440,
    params:
        results=lambda wildcards: PLACE,
        shown=shown("train_preferences"),
    shell:
        command("train_preferences")


# Weeks of training are not thrown away over an edit of the code; a word about it must be enough.
if workflow.is_main_process:
    for declared, step in in_this_run(["training"]):
        if not step.code_triggers:
            for message in changed_since(declared.output.model, step):
                logger.warning(message)
