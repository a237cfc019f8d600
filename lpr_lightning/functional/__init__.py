"""Pure tensor functions: what the papers' equations say, batched, without state."""
