"""The parts of `image_syncer.testing.FakeRegistry`: what it holds, and how it answers each kind of request."""
