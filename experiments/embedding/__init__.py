"""Image embedding (Asperti et al. 2023): its verbs, figures, page sections and claims."""
