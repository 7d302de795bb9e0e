"""The ways by which vendors bring images to their registries (`roles.VendorWay`)."""
