"""Where a request leaves the process: LiteLLM for providers, llama.cpp for models on this machine."""
