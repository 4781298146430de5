"""The transformations, one family a file. `llm_experiments.stress.catalogue` lists them."""
