"""What one call of a torch module does, noted as it runs: the operations, the lengths, and the author's lines."""
