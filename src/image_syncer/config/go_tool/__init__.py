"""The files of AliyunContainerService/image-syncer: auth and images."""
