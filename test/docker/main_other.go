//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "docker-test: the images are for Linux, and are tested there only")
	os.Exit(1)
}
