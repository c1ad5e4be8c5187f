//go:build unix

package limits

import (
	"os"
	"syscall"
)

// nonblock keeps an open of a FIFO without a writer from waiting (open(2)).
const nonblock = syscall.O_NONBLOCK

func openNonblock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|nonblock, 0)
}
