"""What only a GPU can show; skipped elsewhere. `make test-gpu`."""
