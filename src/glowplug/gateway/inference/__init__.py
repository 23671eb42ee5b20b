"""The Open Inference Protocol (V2): named tensors in and out of a task. Pure."""
