"""The worker: runs leased actions in the sandbox and reports what it holds."""
