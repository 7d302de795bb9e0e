"""Find the images that charts, Compose files, Kubernetes manifests, text files and clusters name."""
