//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "attack: the suite attacks what confines plugins on Linux, and runs there only")
	os.Exit(1)
}
