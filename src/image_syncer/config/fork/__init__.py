"""The file of the daemon fork zxzixuanwang/image-syncer: `sync.yaml`."""
