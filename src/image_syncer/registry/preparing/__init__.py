"""Creates what a push needs: repositories, projects and namespaces, by the vendors' own APIs."""
