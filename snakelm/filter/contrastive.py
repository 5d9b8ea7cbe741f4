"""The contrastive phase of SetFit: texts of one class are drawn together, those of two classes
apart.

The library trains; here its work is bounded and seeded. Pairs grow with the square of the texts, so
`steps` times `batch` pairs are taken and no more, from at most `MOST_TEXTS` texts a class (the
pairs are listed before they are drawn). Its head is left out: it would be saved as a pickle.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..config import Classifier
from ..data.split import document_ids, mixed
from .base import offline
from .labels import Labels
from .sentence import SentenceModel, fast_products, load_body, quiet

__all__ = ["tune"]

MOST_TEXTS = 1024


def tune(
    base: Path, labels: Labels, rules: Classifier, seed: int, tell: Callable[[int], None]
) -> SentenceModel:
    """The model in ``base`` after ``rules.steps`` steps on pairs of ``labels``; ``tell`` hears of
    each step.
    """
    offline()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from setfit import SetFitModel, Trainer, TrainingArguments
        from sklearn.linear_model import LogisticRegression
        from transformers import PrinterCallback, TrainerCallback

    quiet()

    class Tell(TrainerCallback):
        def on_step_end(self, args, state, control, **more):
            tell(state.global_step)

    body = load_body(base, rules.max_tokens)
    some = labels.take(_balanced(labels, seed))
    examples = Dataset.from_dict({"text": some.texts, "label": some.academic.astype(int).tolist()})
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory(prefix="setfit-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = TrainingArguments(
            output_dir=scratch,
            batch_size=rules.batch,
            max_steps=rules.steps,
            body_learning_rate=rules.lr,
            sampling_strategy="oversampling",
            save_strategy="no",
            report_to="none",
            seed=seed,
            show_progress_bar=False,
            logging_strategy="no",
        )
        model = SetFitModel(model_body=body, model_head=LogisticRegression())
        trainer = Trainer(model=model, args=arguments, train_dataset=examples, callbacks=[Tell()])
        trainer.pop_callback(PrinterCallback)
        with fast_products(body.device):
            trainer.train_embeddings(
                *trainer.dataset_to_parameters(trainer.train_dataset), args=arguments
            )
    return SentenceModel(body, rules.max_tokens)


def _balanced(labels: Labels, seed: int) -> np.ndarray:
    """Places of at most `MOST_TEXTS` texts of each class, by hash, in their order: int64 [m]."""
    order = mixed(document_ids(text.encode() for text in labels.texts), seed, "pairs")
    classes = [np.flatnonzero(labels.academic == kind) for kind in (False, True)]
    return np.sort(
        np.concatenate([c[np.argsort(order[c], kind="stable")[:MOST_TEXTS]] for c in classes])
    )
