"""Looking into models: attention, tokens, training logs."""
