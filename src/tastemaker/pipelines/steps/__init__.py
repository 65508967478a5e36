"""One file a step. Each reads storage, calls a capability, writes storage, and may be called twice."""
