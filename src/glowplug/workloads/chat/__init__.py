"""Chat: by a server that speaks OpenAI's protocol (Ollama, vLLM, llama.cpp …), or a GGUF model in this process."""
