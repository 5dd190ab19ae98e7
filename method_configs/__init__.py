"""One file for each method: nerfstudio MethodSpecification objects, numbers with their source."""
