"""What the steps do that pretrain a model: the run itself, or a point of a sweep."""

from ..workflow.step import Run
from .metrics import PRETRAINING
from .pretraining import PretrainingFiles, train
from .progress import RunResult

__all__ = ["pretrain"]


def pretrain(run: Run, writes: bool) -> RunResult:
    """Trains on the files of ``run`` and vouches for the model where ``writes``, in the one process
    of several that does so.
    """
    f = run.files
    files = PretrainingFiles(
        f.train_bin, f.val_bin, f.val_overlap, f.tokenizer, f.run_root, f.output, f.logs
    )
    result = train(run.config, files, run.log, run.most_threads)
    if writes:
        beside = [f.logs / PRETRAINING.csv, f.logs / PRETRAINING.samples]
        run.vouch(f.output, files=beside, counts={"result": result})
    return result
