# Which source helped: proxies on mixtures of one train.bin, and what they show. `snakemake source_ablation` asks for
# all of it (snakelm/workflow/source_ablation.py); train_point trains the proxies.
MIXED = list(dict.fromkeys(point.train_bin for point in PROXIES.values()))


rule mix_sources:
    input:
        train_bin=results("data/processed/train.bin"),
        val_bin=results("data/processed/val.bin"),
        indices=[
            results("data/processed/train.idx"),
            results("data/processed/val.idx"),
        ],
        documents=documents(),
        tokenizer=files_of("tokenizer", TOKENIZER),
        config=settings("mix_sources"),
    output:
        output=results("source_ablation/mixtures.json"),
        mixtures=temp([results(file) for file in MIXED]),
        beside=temp(
            [
                results(f"{Path(file).with_suffix('')}.{kind}")
                for file in MIXED
                for kind in ("idx", "bin.manifest.json")
            ]
        ),
    log:
        log("mix_sources"),
    benchmark:
        timing("mix_sources")
    conda:
        "../envs/preparation.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=240,
    shell:
        command("mix_sources")


rule judge_sources:
    input:
        models=[results(f"source_ablation/{point}/final_model.pt") for point in PROXIES],
        mixtures=results("source_ablation/mixtures.json"),
        processed=files_of("data/processed", TOKEN_FILES),
        documents=documents(),
        tokenizer=results("tokenizer/meta.json"),
        config=settings("judge_sources"),
    output:
        output=results("tables/source_ablation.json"),
        table=results("tables/source_ablation.csv"),
        weights=results("source_ablation/weights.yaml"),
    log:
        log("judge_sources"),
    benchmark:
        timing("judge_sources")
    conda:
        "../envs/training.yaml"
    threads: 8
    resources:
        mem_mb=growing(6000),
        runtime=240,
    shell:
        command("judge_sources")


rule plot_source_ablation:
    input:
        measured=results("tables/source_ablation.json"),
        config=settings("plot_source_ablation"),
    output:
        figure=reported("figures/source_ablation.svg", "data", "6. Which source helped"),
        table=reported(
            "tables/source_ablation.html", "data", "7. Which source helped, in numbers"
        ),
    log:
        log("plot_source_ablation"),
    benchmark:
        timing("plot_source_ablation")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    shell:
        command("plot_source_ablation")
