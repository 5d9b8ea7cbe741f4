"""What the steps do that pretrain a model: the run itself, or a point of a sweep."""

from ..config.base import pretraining_files
from ..model.base import base_record
from ..user_paths import home
from ..workflow.step import Run
from .metrics import PRETRAINING
from .pretraining import PretrainingFiles, train
from .progress import RunResult

__all__ = ["pretrain"]


def pretrain(run: Run, writes: bool) -> RunResult:
    """Trains on the files of ``run``, from train.base where there is one, and vouches for the model
    where ``writes``, in the one process of several that does so.
    """
    f = run.files
    files = PretrainingFiles(
        f.train_bin, f.val_bin, f.val_overlap, f.tokenizer, f.run_root, f.output, f.logs
    )
    name = run.config.train.base
    base = pretraining_files(home(name)) if name else []
    if writes:
        run.check(base)

    result = train(run.config, files, run.log, run.most_threads)
    if writes:
        beside = [f.logs / PRETRAINING.csv, f.logs / PRETRAINING.samples]
        counts = {"result": result, **({"base": base_record(name)} if name else {})}
        run.vouch(f.output, inputs=[*run.inputs(), *base], files=beside, counts=counts)
    return result
