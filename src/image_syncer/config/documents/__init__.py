"""Located documents: JSON and YAML with line numbers, and the problems found in them."""
