# Trainings on the same token files that differ in the keys of `sweep`, and what they show. `snakemake sweep` asks for
# all of it (snakelm/workflow/sweep.py). A source ablation's proxies are trained by the same rule, each on its mixture.


rule train_point:
    input:
        train_bin=point_bin,
        val_bin=results("data/processed/val.bin"),
        val_overlap=results("data/processed/val_overlap.npy"),
        indices=beside_point_bins,
        tokenizer=files_of("tokenizer", TOKENIZER),
        pretrained=pretrained_stamps,
        config=settings("train_point"),
    output:
        model=results("{study}/{point}/final_model.pt"),
        metrics=results("{study}/{point}/logs/training_metrics.csv"),
    log:
        log("train_point.{study}/{point}"),
    benchmark:
        timing("train_point.{study}/{point}")
    conda:
        "../envs/training.yaml"
    threads: 8
    resources:
        mem_mb=growing(6000),
        runtime=1440,
    params:
        results=lambda wildcards: point_place(wildcards.point),
        shown=lambda wildcards: shown_file(
            point_place(wildcards.point),
            POINTS[wildcards.point].config,
            STEPS["train_point"],
        ),
    shell:
        command("train_point")


rule plot_sweep:
    input:
        models=[results(f"sweep/{point}/final_model.pt") for point in SWEPT],
        metrics=[results(f"sweep/{point}/logs/training_metrics.csv") for point in SWEPT],
        config=settings("plot_sweep"),
    output:
        figure=reported("figures/sweep.svg", "verdict", "4. The sweep"),
        table=reported("tables/sweep.html", "verdict", "5. The sweep in numbers"),
        record=results("tables/sweep.json"),
    log:
        log("plot_sweep"),
    benchmark:
        timing("plot_sweep")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    shell:
        command("plot_sweep")
