# Figures and tables. `snakemake --report` puts them into one HTML, in the order of their categories.


rule plot_metrics:
    input:
        model=results("final_model.pt"),
        metrics=results("logs/training_metrics.csv"),
        baseline=results("tables/baseline.json"),
        train_bin=results("data/processed/train.bin"),
        config=settings("plot_metrics"),
    output:
        bits_per_byte=reported(
            "figures/bits_per_byte.svg", "verdict", "2. Bits per byte"
        ),
        funnel=reported("figures/funnel.svg", "data", "1. Documents kept and dropped"),
        sources=reported("tables/sources.html", "data", "2. Sources and licences"),
        document_lengths=reported(
            "figures/document_lengths.svg", "data", "3. Document lengths"
        ),
        loss=reported("figures/loss.svg", "pretraining", "1. Loss"),
        learning_rate=reported(
            "figures/learning_rate.svg", "pretraining", "2. Learning rate"
        ),
        gradient_norm=reported(
            "figures/gradient_norm.svg", "pretraining", "3. Gradient norm"
        ),
        throughput=reported("figures/throughput.svg", "pretraining", "4. Speed"),
        samples=reported("tables/samples.html", "samples", "1. While pretraining"),
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
        samples=at("logs/samples.jsonl"),
        training_log=at("logs/training.log"),
        artefacts=artefacts("preparation", "training"),
        shown=shown("plot_metrics"),
    shell:
        command("plot_metrics")


rule plot_tokenizer:
    input:
        measured=results("tables/tokens.json"),
        config=settings("plot_tokenizer"),
    output:
        fertility=reported(
            "figures/fertility.svg", "tokenizer", "1. Bytes that a token stands for"
        ),
        frequencies=reported(
            "figures/token_frequencies.svg",
            "tokenizer",
            "2. How often tokens are used",
        ),
        table=reported("tables/tokenizer.html", "tokenizer", "3. Text in tokens"),
    log:
        log("plot_tokenizer"),
    benchmark:
        timing("plot_tokenizer")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    shell:
        command("plot_tokenizer")


rule plot_sft:
    input:
        model=results("sft_model.pt"),
        metrics=results("logs/sft_metrics.csv"),
        packs=results("data/processed/train_sft_packed.bin"),
        tokenizer=results("tokenizer/meta.json"),
        config=settings("plot_sft"),
    output:
        sft_loss=reported("figures/sft_loss.svg", "tuning", "2. Loss"),
        answers=reported("tables/answers.html", "tuning", "3. Answers before and after"),
        sft_packing=reported(
            "figures/sft_packing.svg", "tuning", "4. Packs and what is learned"
        ),
        conversations=reported(
            "tables/conversations.html", "tuning", "5. Conversations"
        ),
        sft_samples=reported("tables/sft_samples.html", "samples", "2. While tuning"),
        sft_learning_rate=reported(
            "figures/sft_learning_rate.svg", "tuning", "6. Learning rate"
        ),
        sft_gradient_norm=reported(
            "figures/sft_gradient_norm.svg", "tuning", "7. Gradient norm"
        ),
        sft_throughput=reported("figures/sft_throughput.svg", "tuning", "8. Speed"),
    log:
        log("plot_sft"),
    benchmark:
        timing("plot_sft")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        # Written by training beside its outputs; read where they are there.
        samples=at("logs/sft_samples.jsonl"),
        training_log=at("logs/sft_training.log"),
        artefacts=[at("sft_model.pt")],
    shell:
        command("plot_sft")


rule plot_preferences:
    input:
        model=results("preference_model.pt"),
        metrics=results("logs/preference_metrics.csv"),
        config=settings("plot_preferences"),
    output:
        preference_loss=reported(
            "figures/preference_loss.svg", "preferences", "1. Loss"
        ),
        preference_rewards=reported(
            "figures/preference_rewards.svg", "preferences", "2. Rewards"
        ),
        preferences=reported(
            "tables/preferences.html", "preferences", "3. Data and answers"
        ),
    log:
        log("plot_preferences"),
    benchmark:
        timing("plot_preferences")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        # Written by training beside its outputs; read where they are there.
        samples=at("logs/preference_samples.jsonl"),
        training_log=at("logs/preference_training.log"),
        artefacts=[
            at("data/processed/train_preferences.bin"),
            at("preference_model.pt"),
        ],
    shell:
        command("plot_preferences")


rule plot_compare:
    input:
        model=results("final_model.pt"),
        tuned=results("sft_model.pt") if TUNED else [],
        stamp=compared_stamp,
        config=settings("plot_compare"),
    output:
        compare_pretraining=reported(
            "figures/compare_pretraining.svg", "pretraining", "5. Runs side by side"
        ),
        compare_tuning=(
            [reported("figures/compare_tuning.svg", "tuning", "9. Runs side by side")]
            if TUNED
            else []
        ),
        table=reported("tables/compare.html", "verdict", "3. This run among others"),
    log:
        log("plot_compare"),
    benchmark:
        timing("plot_compare")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        results=lambda wildcards: PLACE,
    shell:
        command("plot_compare")


rule summarise:
    input:
        model=results("final_model.pt"),
        tuned_model=results(LAST) if TUNED else [],
        tuned=results("logs/sft_metrics.csv") if TUNED else [],
        metrics=results("logs/training_metrics.csv"),
        baseline=results("tables/baseline.json"),
        evaluation=results("tables/evaluation.json"),
        map=results("embeddings/map.parquet"),  # last of what is timed
        config=settings("summarise"),
    output:
        summary=reported("tables/summary.html", "verdict", "1. Verdict"),
        time=reported("figures/time.svg", "provenance", "1. Where the time went"),
        cost=reported("tables/cost.html", "provenance", "2. Time, energy, cost"),
        configuration=reported(
            "tables/configuration.html",
            "provenance",
            "3. Settings, versions, hashes, rerun",
        ),
    log:
        log("summarise"),
    benchmark:
        timing("summarise")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        # Written by earlier steps beside their outputs; read where they are there.
        training_log=at("logs/training.log"),
        artefacts=artefacts("preparation", "training", "analysis"),
        timings=timings,
        rerun=lambda wildcards, input: same_again(input.config),
        shown=shown("summarise"),
    shell:
        command("summarise")


rule plot_loss:
    input:
        loss=results("tables/loss.json"),
        evaluation=results("tables/evaluation.json"),
        stamp=evaluated_stamp,
        config=settings("plot_loss"),
    output:
        tasks=reported("figures/tasks.svg", "evaluation", "1. Tasks"),
        evaluation=reported(
            "tables/evaluation.html", "evaluation", "2. Tasks, item by item"
        ),
        loss_by_source=reported(
            "figures/loss_by_source.svg", "evaluation", "3. Loss by source"
        ),
        loss_documents=reported(
            "tables/loss_documents.html", "evaluation", "4. Loss in numbers and texts"
        ),
        loss_by_position=reported(
            "figures/loss_by_position.svg", "evaluation", "5. Loss by what is seen"
        ),
        loss_by_frequency=reported(
            "figures/loss_by_frequency.svg", "evaluation", "6. Loss by frequency"
        ),
        scaling_law=reported(
            "figures/scaling_law.svg", "evaluation", "7. The curve's law"
        ),
        tuning_change=(
            [
                reported(
                    "tables/tuning_change.html", "tuning", "1. Learned and forgotten"
                )
            ]
            if TUNED
            else []
        ),
        seeds=results("tables/seeds.json"),
    log:
        log("plot_loss"),
    benchmark:
        timing("plot_loss")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        results=lambda wildcards: PLACE,
    shell:
        command("plot_loss")


rule plot_filter:
    input:
        measured=results("tables/setfit_train.json"),
        documents=results("data/filtered/documents.parquet"),
        near=results("data/filtered/near_threshold.json"),
        config=settings("plot_filter"),
    output:
        figure=reported(
            "figures/filter_threshold.svg", "data", "4. The filter's threshold"
        ),
        table=reported(
            "tables/filter.html", "data", "5. Kept and dropped by the filter"
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
        command("plot_filter")


rule visualize_embeddings:
    input:
        embeddings=results("embeddings/documents.parquet"),
        config=settings("visualize_embeddings"),
    output:
        map=results("embeddings/map.parquet"),
        figures=[
            reported("figures/map_source.svg", "embeddings", "2. By source"),
            reported("figures/map_loss.svg", "embeddings", "3. By bits per byte"),
            reported("figures/map_tokens.svg", "embeddings", "4. By length"),
            *(
                [
                    reported(
                        "figures/map_score.svg",
                        "embeddings",
                        "5. By the filter's score",
                    )
                ]
                if CHECKS["filtered"]
                else []
            ),
        ],
    log:
        log("visualize_embeddings"),
    benchmark:
        timing("visualize_embeddings")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=1440,
    shell:
        command("visualize_embeddings")


rule plot_tsne_interactive:
    input:
        map=results("embeddings/map.parquet"),
        config=settings("plot_tsne_interactive"),
    output:
        # Chromium shows no data URI above 2 MB, so the report has the page with fewer documents.
        output=results("figures/map.html"),
        report=reported("figures/map_report.html", "embeddings", "1. The map"),
    log:
        log("plot_tsne_interactive"),
    benchmark:
        timing("plot_tsne_interactive")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    shell:
        command("plot_tsne_interactive")


# All that the report shows of this run; `rule all` asks for it.
DRAWN = [
    *rules.summarise.output,
    *rules.plot_metrics.output,
    *rules.plot_tokenizer.output,
    *rules.plot_loss.output,
    *rules.plot_tsne_interactive.output,
    *rules.visualize_embeddings.output[1:],
    *(rules.plot_filter.output if CHECKS["filtered"] else []),
    *(rules.plot_sft.output if TUNED else []),
    *(rules.plot_preferences.output if PREFERRED else []),
    *(rules.plot_compare.output if CONFIG.compare else []),
    *PLANNED,
]
UNMADE = [path for path in DRAWN if not Path(path).exists()]

if REPORTING and UNMADE and workflow.is_main_process:
    logger.warning(
        f"{'none' if len(UNMADE) == len(DRAWN) else len(DRAWN) - len(UNMADE)} of the report's {len(DRAWN)} figures and "
        f"tables are made; {UNMADE[0]} is among the missing. "
        f"To make them: {hints.snakemake()}; then {hints.snakemake('--report')} again"
    )
