"""Parts of tools/train_models.py: tokenizer, packed data, model folders, batched answers. Needs PyTorch."""
