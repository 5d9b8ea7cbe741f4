# What the models have by heart of some documents: `snakemake results/tables/memorisation.html`, a target of its own
# (docs/TRAINING_PROCESS.md, Forgetting documents).


rule memorisation:
    input:
        models=[
            results("final_model.pt"),
            *([results("sft_model.pt")] if TUNED else []),
            *([results(LAST)] if PREFERRED else []),
        ],
        processed=files_of("data/processed", TOKEN_FILES),
        tokenizer=results("tokenizer/meta.json"),
        sampled=expand(results("data/sampled/{source}.parquet"), source=SOURCES),
        stamp=asked_documents,
        before=before_stamps,
        config=settings("memorisation"),
    output:
        record=results("tables/memorisation.json"),
        by_document=results("tables/memorisation.csv"),
        table=reported("tables/memorisation.html", "evaluation", "8. Memorisation"),
    log:
        log("memorisation"),
    benchmark:
        timing("memorisation")
    conda:
        "../envs/training.yaml"
    threads: 8
    resources:
        mem_mb=growing(6000),
        runtime=240,
    shell:
        command("memorisation")
