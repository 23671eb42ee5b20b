"""What is used of Ultralytics, and the only place that imports it: once somebody has asked for it, and shut in before.

Left to itself it looks for newer versions of itself, tells Google Analytics what it runs, installs what it misses,
fetches fonts and weights, streams trainings to its makers' platform, hands them to whichever tracker is installed, and
keeps settings in the home folder.
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glowplug.workloads.torchvision_ops import ensure_torchvision

SWITCHES = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
TRACKERS = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
SETTINGS = {
    **dict.fromkeys(("sync", "vscode_msg", "openvino_msg", *TRACKERS), False),
    **dict.fromkeys(("api_key", "openai_api_key"), ""),
}


@contextmanager
def shut_in() -> Iterator[None]:
    """Set what Ultralytics reads while it is imported; its settings are in memory alone afterwards."""
    os.environ.update(SWITCHES)
    os.environ.pop("ULTRALYTICS_API_KEY", None)
    with tempfile.TemporaryDirectory(prefix="glowplug-ultralytics-") as folder:
        os.environ["YOLO_CONFIG_DIR"] = folder
        settings = Path(folder, "Ultralytics", "settings.json")
        settings.parent.mkdir()
        settings.write_text(json.dumps(SETTINGS))
        yield


ensure_torchvision()
with shut_in():
    # By their names, so that nobody takes it for a part of what Glowplug stands on.
    YOLO: Any = importlib.import_module("ultralytics").YOLO
    DetectionTrainer: Any = importlib.import_module("ultralytics.models.yolo.detect").DetectionTrainer
    DetectionModel: Any = importlib.import_module("ultralytics.nn.tasks").DetectionModel
    DEFAULT_CFG_DICT: Any = importlib.import_module("ultralytics.utils").DEFAULT_CFG_DICT
