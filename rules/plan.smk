# What to train with the time there is: `snakemake plan` says so from the run's documents and a few training steps
# (snakelm/evaluation/planner.py). A run that follows its plan has both side by side in the report.


rule plan:
    input:
        documents=planned_documents,
        config=settings("plan"),
    output:
        output=results("plan.json"),
    log:
        log("plan"),
    benchmark:
        timing("plan")
    conda:
        "../envs/training.yaml"
    threads: 8
    resources:
        mem_mb=growing(6000),
        runtime=30,
    shell:
        command("plan")


rule plot_plan:
    input:
        model=results("final_model.pt"),
        stamp=plan_stamp,
        config=settings("plot_plan"),
    output:
        output=reported("tables/plan.html", "pretraining", "6. Planned and found"),
    log:
        log("plot_plan"),
    benchmark:
        timing("plot_plan")
    conda:
        "../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        # No input, which would be made again where its settings changed; the stamp stands for it.
        plan=at("plan.json"),
    shell:
        command("plot_plan")


# What the report has of it.
PLANNED = (
    rules.plot_plan.output if or_stop(planned_for, at("plan.json"), CONFIG) else []
)
