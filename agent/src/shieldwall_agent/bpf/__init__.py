"""BPF programs: their C sources, the built objects, and the loader."""
