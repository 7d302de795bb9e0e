"""Configuration files as domain objects. Packages below this one know no YAML, JSON or environment."""
