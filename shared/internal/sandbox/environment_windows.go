package sandbox

import (
	"os"
	"strings"
)

var (
	homeNames = []string{"HOME", "USERPROFILE"}
	tempNames = []string{"TMPDIR", "TEMP", "TMP"}
	// Without SystemRoot neither sockets nor random numbers work.
	platformInherited = []string{"SystemRoot", "SystemDrive", "windir", "ComSpec", "PATHEXT", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE"}
)

func defaultPath() string {
	root := os.Getenv("SystemRoot")
	return strings.Join([]string{root + `\System32`, root, root + `\System32\Wbem`, root + `\System32\WindowsPowerShell\v1.0`}, ";")
}
