"""Importing a workload's model costs nothing but its signatures: the libraries come with the load."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numpy", "onnxruntime", "onnx", "tokenizers", "safetensors", "huggingface_hub", "sklearn", "torch", "PIL")
SPEECH = ("av", "ctranslate2", "faster_whisper", "hibari", "xllamacpp")


@pytest.mark.parametrize(
    "module",
    [
        "glowplug.workloads.chat.model",
        "glowplug.workloads.diffusion.model",
        "glowplug.workloads.digits.model",
        "glowplug.workloads.embeddings.model",
        "glowplug.workloads.speech.stt",
        "glowplug.workloads.speech.tts",
    ],
    ids=["chat", "diffusion", "digits", "embeddings", "stt", "tts"],
)
def test_importing_the_model_imports_none_of_its_libraries(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {HEAVY + SPEECH} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
