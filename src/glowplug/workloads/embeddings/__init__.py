"""Sentence embeddings from a real pretrained model, such as all-MiniLM-L6-v2, in ONNX Runtime."""
