"""Files to domain objects: nobody below this package knows YAML, JSON or the environment."""
