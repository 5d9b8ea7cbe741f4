# From raw parquet to a trained small language model.
#
#   snakemake --cores 8 results/final_model.pt      the default run (config/config.yaml)
#   snakemake --cores 8                             all of it: tuned, tested, exported, with figures and tables
#   snakemake --report                              one HTML with all of it (report.html)
#   snakemake --profile slurm                       on a cluster (slurm/config.yaml)
#   … --configfile my.yaml                          your own data and settings on top
import os

from snakemake.utils import min_version

min_version("9.27")

# The default run of the folder one is in; in a folder without one, that of this checkout.
DEFAULT = "config/config.yaml"


configfile: DEFAULT if os.path.exists(DEFAULT) else workflow.source_path(DEFAULT)


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/target_inputs.smk"
include: "rules/preparation.smk"
include: "rules/training.smk"
include: "rules/analysis.smk"
include: "rules/plan.smk"
include: "rules/report.smk"
include: "rules/sweep.smk"
include: "rules/sharing.smk"
include: "rules/memorisation.smk"
include: "rules/source_ablation.smk"
include: "rules/training_summary.smk"


rule all:
    default_target: FIRST
    input:
        results("final_model.pt"),
        rules.export.output,
        rules.export_gguf.output,
        DRAWN,
        THERE,


rule sweep:
    input:
        rules.plot_sweep.output if SWEPT else [],


rule source_ablation:
    input:
        [rules.plot_source_ablation.output, rules.judge_sources.output]
        if PROXIES
        else [],


check_targets()


onsuccess:
    print(what_next(Path(PLACE)), end="", file=sys.stderr)
