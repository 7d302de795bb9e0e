"""The commands below `image-syncer jobs`."""
