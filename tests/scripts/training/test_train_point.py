"""A point of a sweep is the training that `train` makes of the same settings, in its own folder."""

import importlib.util
from pathlib import Path

from snakelm.files import sha256_file

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts/training"


def main_of(name):
    spec = importlib.util.spec_from_file_location(f"{name}_script", SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_a_point_is_trained_as_a_run_is_in_a_folder_of_its_own(results):
    config = results.config(steps=6)
    assert main_of("train")(results.arguments(config)) == 0
    before = {file: sha256_file(file) for file in results.folder.rglob("*") if file.is_file()}

    point = results.folder / "sweep/train.steps~6"
    data = results.folder / "data/processed"
    given = ["--config", config, "--results", point, "--threads", 1]
    given += ["--train-bin", data / "train.bin", "--val-bin", data / "val.bin"]
    given += [
        "--val-overlap",
        data / "val_overlap.npy",
        "--tokenizer",
        results.folder / "tokenizer",
    ]
    assert main_of("train_point")(given) == 0

    assert sha256_file(point / "final_model.pt") == sha256_file(results.folder / "final_model.pt")
    assert (point / "logs/training_metrics.csv").is_file()
    assert {file: sha256_file(file) for file in before} == before
