package atomicfile

// SyncDir has nothing to do here: a directory cannot be flushed on Windows, and
// NTFS journals names itself.
func SyncDir(string) error { return nil }
