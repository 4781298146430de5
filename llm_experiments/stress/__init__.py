"""Token-shift stress tests: the same meaning in other tokens, and other meanings in nearly the same ones."""
