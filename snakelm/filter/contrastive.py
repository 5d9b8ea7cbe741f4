"""The contrastive phase of SetFit (Tunstall et al., 2022, arXiv:2209.11055): texts of one class are
drawn together, those of two classes apart.

The library trains; here its work is bounded and seeded. Pairs grow with the square of the texts, so
`steps` times `batch` pairs are taken and no more, from at most `MOST_TEXTS` texts a class (the
pairs are listed before they are drawn). Its head is left out: it would be saved as a pickle.
"""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    base: Path,
    labels: Labels,
    classifier: Classifier,
    seed: int,
    on_step: Callable[[int], None],
) -> SentenceModel:
    """The model in ``base`` after ``classifier.steps`` steps on pairs of ``labels``; ``on_step``
    gets the number of each.
    """
    offline()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from datasets import Dataset
        from setfit import SetFitModel, Trainer, TrainingArguments
        from sklearn.linear_model import LogisticRegression
        from transformers import PrinterCallback, TrainerCallback

    quiet()

    class OnStep(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            on_step(state.global_step)

    body = load_body(base, classifier.max_tokens)
    chosen = labels.take(_balanced(labels, seed))
    classes = chosen.academic.astype(int).tolist()
    examples = Dataset.from_dict({"text": chosen.texts, "label": classes})

    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory(prefix="setfit-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = TrainingArguments(
            output_dir=scratch,
            batch_size=classifier.batch,
            max_steps=classifier.steps,
            body_learning_rate=classifier.lr,
            sampling_strategy="oversampling",
            save_strategy="no",
            report_to="none",
            seed=seed,
            show_progress_bar=False,
            logging_strategy="no",
        )
        model = SetFitModel(model_body=body, model_head=LogisticRegression())
        trainer = Trainer(model=model, args=arguments, train_dataset=examples, callbacks=[OnStep()])
        trainer.pop_callback(PrinterCallback)
        pairs = trainer.dataset_to_parameters(trainer.train_dataset)
        with fast_products(body.device):
            trainer.train_embeddings(*pairs, args=arguments)

    return SentenceModel(body, classifier.max_tokens)


def _balanced(labels: Labels, seed: int) -> np.ndarray:
    """Places of at most `MOST_TEXTS` texts of each class, by hash, in their order: int64 [m]."""
    order = mixed(document_ids(text.encode() for text in labels.texts), seed, "pairs")
    places = []
    for academic in (False, True):
        own = np.flatnonzero(labels.academic == academic)
        places.append(own[np.argsort(order[own], kind="stable")[:MOST_TEXTS]])
    return np.sort(np.concatenate(places))
