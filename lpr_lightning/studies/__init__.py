"""What experiments are made of: models fitted once and kept, and compared."""
