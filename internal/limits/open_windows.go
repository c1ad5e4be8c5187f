package limits

import "os"

// nonblock has no meaning here: opening a named pipe by a file path does not wait.
const nonblock = 0

func openNonblock(path string) (*os.File, error) { return os.Open(path) }
